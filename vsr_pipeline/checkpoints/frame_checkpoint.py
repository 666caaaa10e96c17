"""A network for single frames as it was read from its file. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vsr_pipeline.models.opencv_net import OpenCVNet

if TYPE_CHECKING:
    from torch import nn

    from vsr_pipeline.models.frame import FrameNet

_PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCheckpoint:
    """A network for single frames with its weights, on the CPU, in float32.

    Attributes:
        name: of the model, or of the file.
        net: the network.
        sha256: of its file.
        precisions: what it may compute in.
    """

    name: str
    net: FrameNet
    sha256: str
    precisions: tuple[str, ...] = _PRECISIONS

    @property
    def module(self) -> nn.Module | None:
        """What PyTorch moves to a device; None: PyTorch does not compute it."""
        if isinstance(self.net, OpenCVNet):
            return None
        net: Any = self.net
        module: nn.Module = getattr(net, "network", net)  # what spandrel reads has a class of ours around it
        return module

    @property
    def can_tile(self) -> bool:
        """Whether the network may be given parts of a frame."""
        return bool(getattr(self.net, "can_tile", True))

    @property
    def channels(self) -> int:
        """Of its widest features, for measurements."""
        return int(getattr(self.net, "channels", 64))

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights in float32."""
        return 4 * sum(p.numel() for p in self.module.parameters()) if self.module is not None else 0
