"""One segment: decode, enhance, encode, verify, publish. Independent of every other segment."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Protocol

import cv2

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.files import file_sha256, published, sync
from vsr_pipeline.ladder import Ladder
from vsr_pipeline.media.frames import Pixels
from vsr_pipeline.media.join import check_frames
from vsr_pipeline.media.reader import VideoReader
from vsr_pipeline.media.writer import VideoWriter, colour_to_write
from vsr_pipeline.overlap import WriteBehind, read_ahead
from vsr_pipeline.plan import CLEANING_SAMPLES, sample_indices
from vsr_pipeline.reporting import retracted_on_failure
from vsr_pipeline.timeline import Segment, Timeline
from vsr_pipeline.upscale import SCALE, OnWork, Upscaler

_STILL_WIDTH = 960


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """What a worker needs to make one segment; plain data."""

    source: Path
    timeline: Timeline
    segment: Segment
    cleaning_passes: int | None
    """None: not decided yet for this shot."""
    folder: Path
    """Where the segment's file goes, on a file system that driver and worker share."""
    origin_ticks: int
    """The source's tick that is 0 in the segment's file."""
    still_frame: int | None
    """Frame to keep as a picture for the report, if it is in this segment."""

    @property
    def path(self) -> Path:
        """The segment's file."""
        return self.folder / segment_name(self.segment)


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """A segment's file, as it was published."""

    segment: Segment
    path: Path
    size_bytes: int
    sha256: str
    cleaning_passes: int
    elapsed_seconds: float
    notes: tuple[str, ...]


class Executor(Protocol):
    """Computes independent segments, in any order and anywhere."""

    def run(self, tasks: Iterable[SegmentTask]) -> Iterator[SegmentResult]:
        """Yield a result for each task, as they become ready."""
        ...


class SerialExecutor:
    """One segment after the other, in this process."""

    def __init__(self, ladder: Ladder, encode: EncodeConfig, on_work: OnWork) -> None:
        self._ladder = ladder
        self._encode = encode
        self._on_work = on_work

    def run(self, tasks: Iterable[SegmentTask]) -> Iterator[SegmentResult]:
        """Yield results in the order of the tasks; see `Executor`."""
        for task in tasks:
            yield compute_segment(task, self._ladder, self._encode, self._on_work)


def segment_name(segment: Segment) -> str:
    """File name of a segment: its frames."""
    return f"{segment.start:08d}-{segment.stop:08d}.mp4"


def compute_segment(task: SegmentTask, ladder: Ladder, encode: EncodeConfig, on_work: OnWork) -> SegmentResult:
    """Make a segment's file; it appears under its name when it is complete, verified and on disk.

    Raises:
        InputError: the source cannot be read, or no longer has the timeline's frames.
        ModelError, ResourceError, OutputError: as the ladder, the upscaler and the writer.
    """
    started = time.monotonic()
    with VideoReader(task.source) as reader:
        passes, notes = _decided_passes(task, reader, ladder)

        def attempt(upscaler: Upscaler) -> None:
            _encode_segment(task, reader, upscaler, passes, encode, on_work)

        _, said = ladder.run(task.segment, attempt)
        notes = (*notes, *said, *reader.notes)
    return SegmentResult(
        segment=task.segment,
        path=task.path,
        size_bytes=task.path.stat().st_size,
        sha256=file_sha256(task.path),
        cleaning_passes=passes,
        elapsed_seconds=time.monotonic() - started,
        notes=notes,
    )


def _decided_passes(task: SegmentTask, reader: VideoReader, ladder: Ladder) -> tuple[int, tuple[str, ...]]:
    """Return how often the shot's frames are cleaned, decided now if nobody has, and what the ladder said."""
    if task.cleaning_passes is not None:
        return task.cleaning_passes, ()

    def decide(upscaler: Upscaler) -> int:
        indices = sample_indices(task.segment.shot, CLEANING_SAMPLES)
        frames = chain.from_iterable(reader.read(task.timeline, i, i + 1) for i in indices)
        return upscaler.cleaning_passes(frame.pixels for frame in frames)

    return ladder.run(task.segment, decide)


def _encode_segment(
    task: SegmentTask, reader: VideoReader, upscaler: Upscaler, passes: int, encode: EncodeConfig, on_work: OnWork
) -> None:
    segment, timeline, info = task.segment, task.timeline, reader.info
    ends = (*timeline.pts[1:], timeline.pts[-1] + timeline.last_duration)
    width, height = info.display_size
    kept: dict[int, Pixels] = {}

    def frames() -> Iterator[Pixels]:
        read = reader.read(timeline, segment.context_start, segment.context_stop)
        for index, frame in enumerate(read, start=segment.context_start):
            if index == task.still_frame:
                kept[index] = frame.pixels
            yield frame.pixels

    with published(task.path) as temporary:
        with (
            read_ahead(frames(), depth=4) as ahead,
            VideoWriter(
                temporary,
                width=SCALE * width,
                height=SCALE * height,
                time_base=timeline.time_base,
                frame_rate=info.average_frame_rate,
                colour=colour_to_write(info),
                sample_aspect_ratio=info.display_aspect_ratio_of_pixels,
                bit_depth=info.bit_depth,
                settings=encode,
            ) as writer,
            WriteBehind(threads=1, depth=4) as writes,
            retracted_on_failure(on_work) as counted,
        ):
            outputs = upscaler.upscale(ahead, segment, cleaning_passes=passes, on_work=counted)
            for index, pixels in enumerate(outputs, start=segment.start):
                pts, duration = timeline.pts[index] - task.origin_ticks, ends[index] - timeline.pts[index]
                writes.call(lambda pts=pts, pixels=pixels, d=duration: writer.write(pts, pixels, duration=d))  # type: ignore[misc]
                if index in kept:
                    save_stills(task.folder.parent, kept[index], pixels)
        try:
            check_frames(temporary, track_times(task, segment), decode=True)
        except InputError as error:
            raise OutputError(f"the encoder gave a damaged segment: {error}") from error
    sync(task.path.parent)


def track_times(task: SegmentTask, segment: Segment) -> list[Fraction]:
    """When the frames of a segment are shown in its file, in seconds."""
    pts = task.timeline.pts[segment.start : segment.stop]
    return [(tick - task.origin_ticks) * task.timeline.time_base for tick in pts]


def save_stills(folder: Path, before: Pixels, after: Pixels) -> None:
    """Write `before.jpg` and `after.jpg` for the report; the latter at most 960 pixels wide."""
    scale = min(1.0, _STILL_WIDTH / after.shape[1])
    for name, pixels, factor in (("before.jpg", before, 1.0), ("after.jpg", after, scale)):
        eight_bit = cv2.convertScaleAbs(pixels, alpha=1 / 257) if pixels.itemsize == 2 else pixels
        small = cv2.resize(eight_bit, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
        with published(folder / name) as temporary:
            temporary.write_bytes(encoded.data)
