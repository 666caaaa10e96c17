"""One segment: decode, enhance, encode, verify, publish. Independent of every other segment."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2

from vsr_pipeline.clip.footage import Footage, FrameSource
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.frames import Samples, decide, enhance_frames
from vsr_pipeline.enhance.spec import OnWork, Upscaler
from vsr_pipeline.enhance.steps import Step
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.streams.join import check_frames
from vsr_pipeline.media.tint import with_tint
from vsr_pipeline.media.write.writer import VideoWriter, colour_to_write, track_suffix
from vsr_pipeline.plan import Schedule, sample_indices
from vsr_pipeline.runtime.files import file_sha256, published, sync
from vsr_pipeline.runtime.prefetch import WriteBehind, read_ahead
from vsr_pipeline.runtime.progress import Reporter, retracted_on_failure
from vsr_pipeline.timeline import ClipSize, Decision, Segment

_STILL_WIDTH = 960


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
    still_frame: int | None
    """Frame to keep as a picture for the report, if it is in this segment."""
    steps: tuple[Step, ...] = ()
    """What is done to HR frames after the model."""
    identity: Mapping[str, str | int | float] | None = None
    """As that of `ModelSpec`: what a worker on another machine has to be; None: what it is."""

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

    def run(self, tasks: Iterable[SegmentTask]) -> Iterator[SegmentResult]:
        """Yield a result for each task, as they become ready."""
        ...


class SerialExecutor:
    """One segment after the other, in this process."""

    def __init__(self, fallback: Fallback, reporter: Reporter) -> None:
        self._fallback = fallback
        self._reporter = reporter

    def run(self, tasks: Iterable[SegmentTask]) -> Iterator[SegmentResult]:
        """Yield results in the order of the tasks, which are of one clip; see `Executor`."""
        with ExitStack() as stack:
            source: FrameSource | None = None
            notes: tuple[str, ...] = ()
            for task in tasks:
                if source is None:
                    notes = self._fallback.begin(task.clip_size, self._reporter)
                    source = stack.enter_context(task.footage.open())
                result = compute_segment(task, source, self._fallback, self._reporter.worked)
                yield replace(result, notes=(*notes, *result.notes))
                notes = ()


def segment_name(segment: Segment, encode: EncodeConfig) -> str:
    """File name of a segment: its frames, and the container that holds the codec."""
    return f"{segment.start:08d}-{segment.stop:08d}{track_suffix(encode)}"


def compute_segment(task: SegmentTask, source: FrameSource, fallback: Fallback, on_work: OnWork) -> SegmentResult:
    """Make a segment's file; it appears under its name when it is complete, verified and on disk.

    Args:
        task: which one.
        source: the frames of its footage, opened once for all segments.
        fallback: makes the frames.
        on_work: told about progress.

    Raises:
        InputError: the source cannot be read, or no longer has the timeline's frames.
        ModelError, ResourceError, OutputError: as the fallback, the upscaler and the writer.
    """
    started = time.monotonic()
    decision, notes = _decision(task, source, fallback)

    def attempt(upscaler: Upscaler) -> None:
        _encode_segment(task, source, upscaler, decision, on_work)

    _, said = fallback.run(task.segment, attempt)
    notes = (*notes, *said, *source.notes)
    return SegmentResult(
        segment=task.segment,
        path=task.path,
        size_bytes=task.path.stat().st_size,
        sha256=file_sha256(task.path),
        decision=decision,
        elapsed_seconds=time.monotonic() - started,
        notes=notes,
    )


def _decision(task: SegmentTask, source: FrameSource, fallback: Fallback) -> tuple[Decision, tuple[str, ...]]:
    """Return the decision on the shot, made now if it is not yet, and what the fallback said."""
    if task.decision is not None:
        return task.decision, ()
    indices = sample_indices(task.segment.shot, task.decision_frames)
    samples = Samples(source.read, indices)
    return fallback.run(task.segment, lambda upscaler: decide(upscaler, samples, task.geometry, fallback.say))


def _encode_segment(
    task: SegmentTask, source: FrameSource, upscaler: Upscaler, decision: Decision, on_work: OnWork
) -> None:
    segment, schedule, clip = task.segment, task.schedule, task.footage.timeline.without_repeats
    kept: dict[int, Pixels] = {}

    def frames() -> Iterator[Pixels]:
        read = source.read(segment.context_start, segment.context_stop)
        for index, pixels in enumerate(read, start=segment.context_start):
            if index == task.still_frame:
                kept[index] = pixels
            yield pixels

    shown: dict[int, list[int]] = {}
    for place in schedule.shows(segment):
        shown.setdefault(schedule.frames[place], []).append(place)
    with published(task.path) as temporary:
        with (
            read_ahead(frames(), depth=4) as ahead,
            _writer(task, temporary) as writer,
            WriteBehind(threads=1, depth=4) as writes,
            retracted_on_failure(on_work) as counted,
        ):
            outputs = enhance_frames(
                upscaler, ahead, segment, decision, geometry=task.geometry, on_work=counted, steps=task.steps
            )
            for index, pixels in enumerate(outputs, start=segment.start):
                tint = clip.tint_at(index)
                for place in shown.get(index, ()):
                    pts, duration = schedule.pts[place], schedule.duration(place)
                    writes.call(partial(writer.write, pts, pixels, duration=duration, tint=tint))
                if index in kept:
                    shape = task.footage.header.info.display_aspect_ratio_of_pixels
                    save_stills(task.folder.parent, kept[index], with_tint(pixels, tint), pixel_aspect_ratio=shape)
        try:
            check_frames(
                temporary, [schedule.pts[i] * schedule.time_base for i in schedule.shows(segment)], decode=True
            )
        except InputError as error:
            raise OutputError(f"the encoder gave a damaged segment: {error}") from error
    sync(task.path.parent)


def _writer(task: SegmentTask, path: Path) -> VideoWriter:
    info, geometry = task.footage.header.info, task.geometry
    width, height = geometry.output_size
    return VideoWriter(
        path,
        width=width,
        height=height,
        time_base=task.schedule.time_base,
        frame_rate=task.encode.constant_rate or task.footage.average_frame_rate,
        colour=colour_to_write(info),
        sample_aspect_ratio=geometry.sample_aspect_ratio,
        bit_depth=info.bit_depth,
        hdr=info.hdr,
        settings=task.encode,
    )


def save_stills(folder: Path, before: Pixels, after: Pixels, *, pixel_aspect_ratio: Fraction = Fraction(1)) -> None:
    """Write `before.jpg` and `after.jpg` for the report, with square pixels; the latter at most 960 pixels wide.

    Args:
        folder: where they go.
        before: the frame that went into the model.
        after: the same frame, enhanced.
        pixel_aspect_ratio: width / height of a pixel of both; the smaller side of a pixel is stretched.
    """
    stretch_x, stretch_y = max(pixel_aspect_ratio, Fraction(1)), max(1 / pixel_aspect_ratio, Fraction(1))
    scale = min(Fraction(1), _STILL_WIDTH / (after.shape[1] * stretch_x))
    for name, pixels, factor in (("before.jpg", before, Fraction(1)), ("after.jpg", after, scale)):
        eight_bit = cv2.convertScaleAbs(pixels, alpha=1 / 257) if pixels.itemsize == 2 else pixels
        width, height = (
            max(1, round(pixels.shape[1] * stretch_x * factor)),
            max(1, round(pixels.shape[0] * stretch_y * factor)),
        )
        smaller = width < pixels.shape[1] or height < pixels.shape[0]
        small = cv2.resize(eight_bit, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
        with published(folder / name) as temporary:
            temporary.write_bytes(encoded.data)
