"""The trained networks of a shot in its `Decision`: text, rounded to 16 bits, with its hash."""

import base64
import copy
import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.zssr import ZSSRNet
from vsr_pipeline.timeline import Decision

_WEIGHTS, _SHA256, _COUNT = "weights", "sha256", "networks"


def decision_with(nets: Sequence[ZSSRNet], description: str) -> Decision:
    """Return a decision that holds networks of one shape, none or several."""
    values = [
        parameter.detach().cpu().numpy().astype("<f2").tobytes() for net in nets for parameter in net.parameters()
    ]
    data = b"".join(values)
    kept: dict[str, str | int | float] = {
        _COUNT: len(nets),
        _SHA256: hashlib.sha256(data).hexdigest(),
        _WEIGHTS: base64.b64encode(data).decode("ascii"),
    }
    return Decision(kept, description)


def sha256_in(decision: Decision) -> str:
    """Return the hash of a decision's networks; empty where it has none written in it."""
    return str(decision.values.get(_SHA256, ""))


def load_networks(decision: Decision, empty: ZSSRNet) -> list[ZSSRNet]:
    """Return the networks of a decision, on the CPU.

    Args:
        decision: made by `decision_with`.
        empty: a network of their shape, on the CPU.

    Raises:
        ModelError: they are damaged, or of another shape.
    """
    count = int(decision.values[_COUNT])
    data = base64.b64decode(str(decision.values[_WEIGHTS]))
    found = hashlib.sha256(data).hexdigest()
    size = 2 * sum(parameter.numel() for parameter in empty.parameters())
    if found != sha256_in(decision) or len(data) != count * size:
        raise ModelError(
            f"the network of a shot is damaged: {len(data)} bytes with SHA-256 {found[:8]}..., recorded were "
            f"{count * size} with {sha256_in(decision)[:8]}...: give --fresh to train it again"
        )
    nets, place = [], 0
    values = np.frombuffer(data, "<f2").astype(np.float32)
    for _ in range(count):
        net = copy.deepcopy(empty)
        for parameter in net.parameters():
            part = values[place : place + parameter.numel()].reshape(parameter.shape)
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(part))
            place += parameter.numel()
        nets.append(net)
    return nets
