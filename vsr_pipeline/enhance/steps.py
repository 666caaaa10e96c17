"""What is done to HR frames on the device after the model: blending with the input, the size that is asked for.

HR frames stay tensors from the model to the end of the chain; `transfer.download` then makes integers of them, once.
Only frames that are on their way load torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vsr_pipeline.clip.geometry import Geometry, Size
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.spec import Frame, Identity
from vsr_pipeline.media.images import Pixels

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Enlarged:
    """A frame on its way through the steps.

    Attributes:
        hr: the HR frame (1, 3, H, W), RGB, float32, 1.0 is white, not clipped.
        lq: the frame that went into the model, (H, W, 3).
    """

    hr: Tensor
    lq: Pixels


class Step(Protocol):
    """One change of HR frames: as many come out as go in, in the same order. Plain data, that workers are sent."""

    @property
    def identity(self) -> Identity:
        """All that its pixels depend on, by the names of the settings."""
        ...

    def __call__(self, frames: Iterator[Enlarged]) -> Iterator[Enlarged]:
        """Yield the frames, changed."""
        ...


@dataclass(frozen=True, slots=True)
class Resize:
    """Scale HR frames to the size that is asked for: Lanczos, antialiased, once."""

    size: Size

    @property
    def identity(self) -> Identity:
        """The size."""
        return {"output_size": f"{self.size[0]}x{self.size[1]}"}

    def __call__(self, frames: Iterator[Enlarged]) -> Iterator[Enlarged]:
        """Yield the frames in that size."""
        from vsr_pipeline.enhance.resize import lanczos_resize

        for one in frames:
            yield Enlarged(lanczos_resize(one.hr, self.size[::-1]), one.lq)


@dataclass(frozen=True, slots=True)
class Blend:
    """Mix HR frames with the bicubically interpolated input.

    Attributes:
        strength: the share of the HR frame, 0 to 1.
    """

    strength: float

    @property
    def identity(self) -> Identity:
        """The share."""
        return {"strength": self.strength}

    def __call__(self, frames: Iterator[Enlarged]) -> Iterator[Enlarged]:
        """Yield the mixed frames."""
        import torch
        from torch.nn.functional import interpolate

        from vsr_pipeline.enhance.transfer import to_tensor

        for one in frames:
            frame = one.hr
            lq = to_tensor(one.lq, frame.device)
            plain = interpolate(lq, frame.shape[-2:], mode="bicubic", align_corners=False, antialias=True)
            # What overshoots white or black on one side must not darken or lighten the other.
            yield Enlarged(torch.lerp(plain.clamp(0, 1), frame.clamp(0, 1), self.strength), one.lq)


def steps_for(geometry: Geometry, settings: UpscaleConfig) -> tuple[Step, ...]:
    """Return the steps that the settings ask for; none where the model's frames are what is written."""
    resize = (Resize(geometry.output_size),) if geometry.model_size != geometry.output_size else ()
    blend = (Blend(settings.strength),) if settings.strength < 1 else ()
    return (*resize, *blend)


def through(
    steps: Sequence[Step], enlarge: Callable[[Iterable[Pixels]], Iterator[Frame]], frames: Iterable[Pixels], skip: int
) -> Iterator[Frame]:
    """Yield the HR frames that `enlarge` makes of LQ frames, after all steps.

    Args:
        steps: what is done to them; nothing is touched where there are none.
        enlarge: the model.
        frames: what it is given.
        skip: how many frames at the front have no HR frame: they only prepare the model.
    """
    if not steps:
        return enlarge(frames)
    import torch

    from vsr_pipeline.enhance.transfer import to_tensor

    cpu = torch.device("cpu")
    waiting: deque[Pixels] = deque()

    def noted() -> Iterator[Pixels]:
        for index, pixels in enumerate(frames):
            if index >= skip:
                waiting.append(pixels)
            yield pixels

    def paired() -> Iterator[Enlarged]:
        for frame in enlarge(noted()):
            lq = waiting.popleft()
            yield Enlarged(to_tensor(frame, cpu) if isinstance(frame, np.ndarray) else frame, lq)

    chain = paired()
    for step in steps:
        chain = step(chain)
    return (one.hr for one in chain)
