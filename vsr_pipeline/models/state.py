"""Sizes of a network from its tensors' shapes, and a state dict that fits the network exactly or is refused."""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from vsr_pipeline.errors import ModelError

Net = TypeVar("Net", bound=nn.Module)


def conv_channels(state: Mapping[str, Tensor], name: str, *, what: str) -> tuple[int, int]:
    """Return the output and input channels of a convolution.

    Args:
        state: tensors by name.
        name: of the convolution, without `.weight`.
        what: which network is expected, for the message.

    Raises:
        ModelError: the tensor is missing or is no convolution's.
    """
    weight = state.get(f"{name}.weight")
    if weight is None or weight.ndim != 4:
        found = "no such tensor" if weight is None else f"shape {list(weight.shape)}"
        raise ModelError(f"the weights are not those of {what}: {name}.weight must be a convolution, found {found}")
    return weight.shape[0], weight.shape[1]


def count_indices(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many different numbers follow `prefix` in the names.

    A gap in the numbers shows when the names are compared; a large number costs nothing.
    """
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({match[1] for name in state if (match := pattern.match(name))})


def load_exactly(build: Callable[[], Net], state: Mapping[str, Tensor], *, what: str) -> Net:
    """Build a network with the weights of a state dict, ready for inference, without gradients.

    Args:
        build: makes the network; it is called on the `meta` device, which holds shapes only.
        state: tensors by the network's own names.
        what: the network, for the message.

    Raises:
        ModelError: names or shapes differ; one line names how many, and the first.
    """
    with torch.device("meta"):
        net = build()
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    problems = [
        *(f"{name} is missing" for name in expected if name not in found),
        *(f"{name} is unexpected" for name in found if name not in expected),
        *(
            f"{name} has shape {list(found[name])} instead of {list(shape)}"
            for name, shape in expected.items()
            if found.get(name, shape) != shape
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more differences)" if len(problems) > 1 else ""
        raise ModelError(f"the weights are not those of {what}: {problems[0]}{more}")
    net.load_state_dict(dict(state), strict=True, assign=True)
    return net.eval().requires_grad_(False)


def mixed(state: Mapping[str, Tensor], other: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Mix the weights of two networks of the same sizes, of which one was trained from the other.

    The method is network interpolation (Wang et al., "ESRGAN", ECCV Workshops 2018, section 3.4).

    Args:
        state: one network.
        other: the other one.
        share: how much of the second, 0 to 1.

    Raises:
        ModelError: the networks differ in their tensors' names or shapes.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the second network must be 0 to 1, not {share}")
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in other.items()}:
        raise ModelError("the two networks to be mixed differ in their tensors: they must be of one size")
    return {name: other[name] * share + value * (1 - share) for name, value in state.items()}
