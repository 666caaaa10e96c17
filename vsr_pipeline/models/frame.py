"""What all networks that see one frame at a time have in common. Loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

MAX_EXACT_RADIUS = 64
"""Largest receptive radius, in LQ pixels, for which tiles with that overlap are worth their cost."""


class FrameNet(Protocol):
    """A network for single frames.

    Attributes:
        scale: what it multiplies sides by.
        multiple_of: tiles must begin at multiples of it; the network itself takes frames of any size.
    """

    scale: int
    multiple_of: int

    def __call__(self, frames_NCHW: Tensor) -> Tensor:
        """Map frames (N, C, H, W), 0 to 1, float32, to (N, C, scale * H, scale * W), float32, not clipped."""
        ...

    def receptive_radius(self) -> int | None:
        """Return how far one output pixel sees, in LQ pixels; None: farther than `MAX_EXACT_RADIUS`."""
        ...

    def memory_bytes(self, height: int, width: int, *, bytes_per_value: int = 4) -> int:
        """Estimate the peak of the memory for one frame or tile, without the weights.

        Args:
            height: LQ pixels.
            width: LQ pixels.
            bytes_per_value: of the features: 4 in fp32, 2 in fp16 and bf16.
        """
        ...


def radius_or_none(radius: int) -> int | None:
    """Return the radius where tiles can be exact, else None."""
    return radius if radius <= MAX_EXACT_RADIUS else None


def pad_to_multiple(frames_NCHW: Tensor, multiple: int) -> Tensor:
    """Extend frames at the bottom and right until both sides are multiples.

    The frame is mirrored, as Real-ESRGAN's script does it; where it is smaller than what is missing, its border is
    repeated instead.
    """
    height, width = frames_NCHW.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not (below or right):
        return frames_NCHW
    import torch.nn.functional as F  # noqa: N812

    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(frames_NCHW, (0, right, 0, below), mode=mode)
