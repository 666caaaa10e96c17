"""State dicts of RealBasicVSR and BasicVSR: read without running code, renamed to the official names, checked.

Two dialects and plain state dicts are read. mmedit saves `state_dict` with `generator.`, and `generator_ema.` where a
moving average was kept; BasicSR saves `params` or `params_ema` and has other names for some modules (`_RENAMES`).
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vsr_pipeline.errors import ModelError
from vsr_pipeline.runtime.progress import counted

Family = Literal["realbasicvsr", "basicvsr"]

# Where a checkpoint keeps the weights, and the prefix of the generator's keys; the first that is there is taken.
_CONTAINERS = ("state_dict", "params_ema", "params")
_GENERATOR_PREFIXES = ("generator_ema.", "generator.")
_COUNTERS = frozenset({"step_counter"})

# BasicSR's name -> the official one. Its SPyNet levels are sequences in which ReLUs count, hence the halved index.
_RENAMES = (
    (r"\b(backward|forward)_trunk\.", r"\1_resblocks."),
    (r"\bupconv([12])\.", r"upsample\1.upsample_conv."),
    *((rf"(\bspynet\.basic_module\.\d+\.basic_module)\.{2 * n}\.(weight|bias)$", rf"\1.{n}.conv.\2") for n in range(5)),
)

_SPYNET_LEVELS = 6
_SPYNET_CHANNELS = (8, 32, 64, 32, 16, 2)
_RECONSTRUCTION_CHANNELS = 64

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class NetSizes:
    """What distinguishes one network from another of its kind."""

    family: Family
    mid_channels: int
    num_propagation_blocks: int
    num_cleaning_blocks: int | None
    cleaning_channels: int | None
    reconstruction_channels: tuple[int, int]
    flow_levels: int


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's generator under the names that the file uses.

    Raises:
        ModelError: the file is damaged, has no tensors or wants to run code.
        OSError: the file cannot be read.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} is no checkpoint: it holds a {type(content).__name__}, not named tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(str(key) for key in list(content)[:3]) or "nothing"
        raise ModelError(f"{path} is no checkpoint: it has no tensors, neither directly nor in state_dict (has {keys})")
    for prefix in _GENERATOR_PREFIXES:
        if any(name.startswith(prefix) for name in tensors):
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return tensors


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in float32 under the official names, without counters."""
    return {_official_name(name): value.float() for name, value in tensors.items() if name not in _COUNTERS}


def infer_sizes(state_dict: Mapping[str, Tensor]) -> NetSizes:
    """Read the sizes of the network from names and shapes; where they do not tell, those of the released models."""
    is_real = any(name.startswith(("image_cleaning.", "basicvsr.")) for name in state_dict)
    prefix = "basicvsr." if is_real else ""
    mid = _width(state_dict, f"{prefix}backward_resblocks.main.0.weight", 64)
    return NetSizes(
        family="realbasicvsr" if is_real else "basicvsr",
        mid_channels=mid,
        num_propagation_blocks=_count_blocks(state_dict, f"{prefix}backward_resblocks.main.2.", 20 if is_real else 30),
        num_cleaning_blocks=_count_blocks(state_dict, "image_cleaning.0.main.2.", 20) if is_real else None,
        cleaning_channels=_width(state_dict, "image_cleaning.0.main.0.weight", mid) if is_real else None,
        reconstruction_channels=(
            _width(state_dict, f"{prefix}upsample1.upsample_conv.weight", 4 * mid) // 4,
            _width(state_dict, f"{prefix}conv_hr.weight", _RECONSTRUCTION_CHANNELS),
        ),
        flow_levels=min(_count_blocks(state_dict, f"{prefix}spynet.basic_module.", _SPYNET_LEVELS), _SPYNET_LEVELS),
    )


def expected_shapes(sizes: NetSizes) -> Shapes:
    """Return every name and shape of a network of these sizes."""
    prefix = "basicvsr." if sizes.family == "realbasicvsr" else ""
    shapes = {prefix + name: shape for name, shape in _basicvsr_shapes(sizes).items()}
    if sizes.num_cleaning_blocks is not None and sizes.cleaning_channels is not None:
        shapes |= _residual_blocks("image_cleaning.0", 3, sizes.cleaning_channels, sizes.num_cleaning_blocks)
        shapes |= _conv("image_cleaning.1", sizes.cleaning_channels, 3, 3)
    return shapes


def check_keys(state_dict: Mapping[str, Tensor], sizes: NetSizes, path: Path) -> None:
    """Check that a state dict has exactly the tensors of a network of these sizes.

    Raises:
        ModelError: it has not; one line names what is missing, unexpected or of another shape.
    """
    expected = expected_shapes(sizes)
    found = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    problems = [
        _listed("missing", [name for name in expected if name not in found]),
        _listed("unexpected", [name for name in found if name not in expected]),
        _listed(
            "of another shape",
            [
                f"{name} {list(found[name])}, not {list(shape)}"
                for name, shape in expected.items()
                if found.get(name, shape) != shape
            ],
        ),
    ]
    if any(problems):
        raise ModelError(
            f"{path} is no RealBasicVSR or BasicVSR checkpoint: {'; '.join(filter(None, problems))} "
            f"(compared with {_describe(sizes)})"
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path} is no safetensors file or is damaged: {error}") from error


def _read_pickle(path: Path) -> Any:  # noqa: ANN401
    with path.open("rb") as file:
        start = file.read(512)
    try:
        with warnings.catch_warnings():
            # torch warns of pickle protocols that it may not know; those end in an error of ours or load well.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what a parser raises on foreign bytes has no common base
        raise ModelError(_why_unreadable(path, start, error)) from error


def _why_unreadable(path: Path, start: bytes, error: Exception) -> str:
    wanted = re.search(r"\bGLOBAL (\S+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and (wanted or start.startswith((b"PK", b"\x80"))):
        what = f" ({wanted[1]})" if wanted else ""
        return f"refused {path}: it holds more than tensors{what}, and loading that could run code; nothing was run"
    if not start:
        return f"{path} is empty: get it again"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"{path} is a web page, not a checkpoint: the download went wrong, get it again"
    if start.startswith((b"PK", b"\x80")):
        return f"{path} is damaged or no PyTorch checkpoint: get it again"
    return f"{path} is no checkpoint: neither a PyTorch file nor named .safetensors"


def _official_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _width(state_dict: Mapping[str, Tensor], name: str, default: int) -> int:
    """Return the output channels of a convolution, or `default` where it is missing."""
    weight = state_dict.get(name)
    return weight.shape[0] if weight is not None and weight.ndim == 4 else default


def _count_blocks(state_dict: Mapping[str, Tensor], prefix: str, default: int) -> int:
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    indices = [int(match[1]) for name in state_dict if (match := pattern.match(name))]
    # A file cannot have more blocks than tensors; a name that says so would have us list names without end.
    return min(max(indices) + 1, len(state_dict)) if indices else default


def _basicvsr_shapes(sizes: NetSizes) -> Shapes:
    mid = sizes.mid_channels
    shapes: Shapes = {"spynet.mean": (1, 3, 1, 1), "spynet.std": (1, 3, 1, 1)}
    for level in range(sizes.flow_levels):
        for n, (inputs, outputs) in enumerate(pairwise(_SPYNET_CHANNELS)):
            shapes |= _conv(f"spynet.basic_module.{level}.basic_module.{n}.conv", inputs, outputs, 7)
    for branch in ("backward_resblocks", "forward_resblocks"):
        shapes |= _residual_blocks(branch, mid + 3, mid, sizes.num_propagation_blocks)
    shapes |= _conv("fusion", 2 * mid, mid, 1)
    twice, whole = sizes.reconstruction_channels
    shapes |= _conv("upsample1.upsample_conv", mid, 4 * twice, 3)
    shapes |= _conv("upsample2.upsample_conv", twice, 4 * whole, 3)
    shapes |= _conv("conv_hr", whole, whole, 3)
    shapes |= _conv("conv_last", whole, 3, 3)
    return shapes


def _residual_blocks(name: str, inputs: int, outputs: int, count: int) -> Shapes:
    shapes = _conv(f"{name}.main.0", inputs, outputs, 3)
    for n in range(count):
        for conv in ("conv1", "conv2"):
            shapes |= _conv(f"{name}.main.2.{n}.{conv}", outputs, outputs, 3)
    return shapes


def _conv(name: str, inputs: int, outputs: int, kernel_size: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, kernel_size, kernel_size), f"{name}.bias": (outputs,)}


def _listed(what: str, names: list[str]) -> str:
    """Return the number of names and the first three, or nothing."""
    if not names:
        return ""
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _describe(sizes: NetSizes) -> str:
    name = "RealBasicVSR" if sizes.family == "realbasicvsr" else "BasicVSR"
    text = f"a {name} of {sizes.mid_channels} channels, {counted(sizes.num_propagation_blocks, 'propagation block')}"
    if sizes.num_cleaning_blocks is None:
        return text
    width = "" if sizes.cleaning_channels == sizes.mid_channels else f" of {sizes.cleaning_channels} channels"
    return f"{text}, {counted(sizes.num_cleaning_blocks, 'cleaning block')}{width}"
