"""One segment as plain data: what it is made from, what came of it, and who makes segments."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vsr_pipeline.clip.footage import Footage
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.enhance.steps import Step
from vsr_pipeline.jobs.part import Encoding
from vsr_pipeline.media.write.writer import track_suffix
from vsr_pipeline.plan import Schedule
from vsr_pipeline.timeline import ClipSize, Decision, Segment


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """What a worker needs to make one segment; plain data."""

    footage: Footage
    geometry: Geometry
    schedule: Schedule
    segment: Segment
    encode: EncodeConfig
    decision: Decision | None
    """None: not made yet for this shot."""
    decision_frames: int
    """How many frames of the shot it is made from."""
    folder: Path
    """Where the segment's file goes, on a file system that driver and worker share."""
    steps: tuple[Step, ...] = ()
    """What is done to HR frames after the model."""
    identity: Mapping[str, str | int | float] | None = None
    """As that of `ModelSpec`: what a worker on another machine has to be; None: what it is."""
    kept_frames: int = 0
    """Frames in parts that were there when the task was made: they are no work."""
    following: Segment | None = None
    """The segment that this process makes next, as far as is known: its first frames are decoded early."""

    @property
    def encoding(self) -> Encoding:
        """How its frames become a file."""
        return Encoding(self.footage, self.geometry, self.schedule, self.encode)

    @property
    def path(self) -> Path:
        """The segment's file."""
        return self.folder / segment_name(self.segment, self.encode)

    @property
    def clip_size(self) -> ClipSize:
        """What the model sees of the clip, for its memory."""
        return self.geometry.of_model(self.footage.clip_size)


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """A segment's file, as it was published."""

    segment: Segment
    path: Path
    size_bytes: int
    sha256: str
    decision: Decision
    elapsed_seconds: float
    notes: tuple[str, ...]


class Executor(Protocol):
    """Computes independent segments, in any order and anywhere."""

    def run(self, tasks: Iterable[SegmentTask], record: Callable[[SegmentResult], None]) -> None:
        """Make every task's segment, and call `record` for each when it is published, in the caller's thread."""
        ...


def segment_name(segment: Segment, encode: EncodeConfig) -> str:
    """File name of a segment: its frames, and the container that holds the codec."""
    return f"{segment.start:08d}-{segment.stop:08d}{track_suffix(encode)}"
