"""The values that go from capture to the model and from there to the sinks."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame

from vsr_pipeline.media.images import Pixels


@dataclass(frozen=True, slots=True)
class Captured:
    """A decoded frame."""

    number: int
    """Counts all frames that were captured, from 0."""
    arrived_seconds: float
    """On the monotonic clock; its age counts from here."""
    time: Fraction
    """Seconds since the first frame was captured; increases strictly."""
    connection: int
    """Counts how often the source was opened: nothing is carried from one to the next."""
    picture: VideoFrame


@dataclass(frozen=True, slots=True)
class Shown:
    """What sinks get: the views of one captured frame, all of one size."""

    number: int
    arrived_seconds: float
    time: Fraction
    views: tuple[Pixels, ...]
    """(H, W, 3), uint8; the model's is the last one."""
    is_stalled: bool = False
    """Whether it is the last frame, greyed, because the source gives nothing."""

    @property
    def picture(self) -> Pixels:
        """The views side by side."""
        joined: Pixels = np.hstack(self.views)  # type: ignore[assignment]
        return joined
