"""One segment: decode, enhance, encode, verify, publish. Independent of every other segment."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.frames import Samples, decide, enhance_to_encode
from vsr_pipeline.enhance.spec import Carry, OnWork, State, Upscaler
from vsr_pipeline.enhance.state import copy_of_state
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.jobs.ahead import AheadSource
from vsr_pipeline.jobs.checkpoint import Checkpoint, CheckpointFolder, kept_frames
from vsr_pipeline.jobs.part import PartsWriter
from vsr_pipeline.jobs.report.stills import moments_of, save_stills
from vsr_pipeline.jobs.segment import SegmentResult, SegmentTask
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.streams.join import check_frames, join_segments
from vsr_pipeline.media.tint import with_tint
from vsr_pipeline.media.write.conversion import Planes
from vsr_pipeline.plan import plan_parts, rest_of, sample_indices
from vsr_pipeline.runtime.files import file_sha256, published
from vsr_pipeline.runtime.prefetch import WriteBehind
from vsr_pipeline.runtime.progress import retracted_on_failure
from vsr_pipeline.timeline import Decision, Segment


class ComputedSegment:
    """A segment whose frames are made, and are being encoded, verified and published; `result` waits for that.

    Args:
        task: which one.
        decision: that of its shot.
        elapsed_seconds: how long its frames took.
        notes: what was said about them.
        files: its files.
    """

    def __init__(
        self, task: SegmentTask, decision: Decision, elapsed_seconds: float, notes: tuple[str, ...], files: "_Files"
    ) -> None:
        self.decision = decision
        self._task = task
        self._elapsed_seconds = elapsed_seconds
        self._notes = notes
        self._files = files
        self._sha256 = ""
        self._finishing = WriteBehind(threads=1, depth=1)
        try:
            self._finishing.call(self._finish)
        except BaseException as error:
            self.abandon(error)
            raise

    @property
    def is_done(self) -> bool:
        """Whether `result` would not have to wait."""
        return self._finishing.is_done

    def wait(self, seconds: float) -> None:
        """Wait until `result` would not have to, but not longer than so."""
        self._finishing.wait(seconds)

    def result(self) -> SegmentResult:
        """Wait until the segment is published; to be called once.

        Raises:
            OutputError: it cannot be written, or the encoder gave a damaged file.
            ResourceError: the disk is full.
        """
        try:
            self._finishing.flush()
        except BaseException as error:
            self.abandon(error)
            raise
        with self._finishing:
            pass  # its thread ends
        path = self._task.path
        return SegmentResult(
            segment=self._task.segment,
            path=path,
            size_bytes=path.stat().st_size,
            sha256=self._sha256,
            decision=self.decision,
            elapsed_seconds=self._elapsed_seconds,
            notes=self._notes,
        )

    def abandon(self, error: BaseException) -> None:
        """Stop as soon as possible; what is not published is deleted."""
        self._files.writer.abandon(error)
        self._finishing.__exit__(type(error), error, error.__traceback__)

    def _finish(self) -> None:
        self._files.writer.wait()
        if self._files.parts:
            _join_parts(self._task, self._files.parts)
        self._sha256 = file_sha256(self._task.path)


@dataclass(frozen=True, slots=True)
class _Files:
    """What the frames of a segment were given to."""

    writer: PartsWriter
    parts: tuple[Path, ...]
    """What the segment is joined from; none: it is one file."""
    kept_seconds: float
    """How long the parts took that were there before."""


def compute_segment(task: SegmentTask, source: AheadSource, fallback: Fallback, on_work: OnWork) -> ComputedSegment:
    """Make a segment's frames, those that no earlier run has made.

    Its file appears under its name when it is complete, verified and on disk. Where the model can go on inside a
    segment, so do parts of it; see `CheckpointFolder`.

    Args:
        task: which one.
        source: the frames of its footage, opened once for all segments.
        fallback: makes the frames.
        on_work: told about progress; what it raises ends the work.

    Raises:
        InputError: the source cannot be read, or no longer has the timeline's frames.
        ModelError, ResourceError, OutputError: as the fallback, the upscaler and the writer.
    """
    started = time.monotonic()
    there = CheckpointFolder(task.folder, task.segment).verified()
    if there and task.decision is None:
        task = replace(task, decision=there[0].decision)
    decision, notes = _decision(task, source, fallback)

    def attempt(upscaler: Upscaler) -> _Files:
        with retracted_on_failure(on_work) as counted:
            return _encode_segment(replace(task, decision=decision), source, upscaler, fallback, there, counted)

    files, said = fallback.run(task.segment, attempt, way=there[0].way if there else "")
    notes = (*notes, *said, *source.notes)
    return ComputedSegment(task, decision, files.kept_seconds + time.monotonic() - started, notes, files)


def _decision(task: SegmentTask, source: AheadSource, fallback: Fallback) -> tuple[Decision, tuple[str, ...]]:
    """Return the decision on the shot, made now if it is not yet, and what the fallback said."""
    if task.decision is not None:
        return task.decision, ()
    indices = sample_indices(task.segment.shot, task.decision_frames)
    samples = Samples(source.read, indices)
    return fallback.run(task.segment, lambda upscaler: decide(upscaler, samples, task.geometry, fallback.say))


def _encode_segment(
    task: SegmentTask,
    source: AheadSource,
    upscaler: Upscaler,
    fallback: Fallback,
    there: tuple[Checkpoint, ...],
    on_work: OnWork,
) -> _Files:
    """Give all frames of a segment that are not there to the encoder."""
    whole, decision = task.segment, task.decision
    assert decision is not None
    checkpoints = fallback.checkpoints(task.clip_size)
    every = checkpoints.frames if checkpoints else len(whole)
    parts = plan_parts(whole, task.schedule, every)
    if checkpoints is None or len(parts) == 1:
        file = (range(whole.start, whole.stop), task.path)
        one = PartsWriter(task.encoding, [file], lambda *_: None, overlap=fallback.may_overlap)
        on_work(float(-task.kept_frames))
        _encode_frames(task, whole, None, source, upscaler, one, on_work)
        return _Files(one, (), 0.0)

    folder = CheckpointFolder(task.folder, whole)
    way = fallback.way
    kept = there if all((c.way, c.decision) == (way, decision) for c in there) else ()
    kept = kept if [range(c.start, c.stop) for c in kept] == list(parts[: len(kept)]) else ()
    state = folder.state_after(kept)
    folder.keep_only(kept)
    on_work(float(kept_frames(kept) - task.kept_frames))
    files = {part: folder.part_path(part, task.path.suffix) for part in parts}
    states: dict[int, State] = {}
    since = time.monotonic()

    def keep(index: int, state: State) -> None:
        if any(index == part.stop for part in parts[:-1]):
            states[index] = copy_of_state(state)

    def save(part: range, path: Path) -> None:
        nonlocal since
        seconds, since = time.monotonic() - since, time.monotonic()
        folder.save(part, path, states.pop(part.stop, {}), way=way, decision=decision, seconds=seconds)

    left = parts[len(kept) :]
    writer = PartsWriter(task.encoding, [(part, files[part]) for part in left], save, overlap=fallback.may_overlap)
    if left:
        rest = rest_of(whole, left[0].start, checkpoints.read_at_once) if kept else whole
        _encode_frames(task, rest, Carry(state, keep), source, upscaler, writer, on_work)
    return _Files(writer, tuple(files.values()), sum(c.seconds for c in kept))


def _encode_frames(
    task: SegmentTask,
    segment: Segment,
    carry: Carry | None,
    source: AheadSource,
    upscaler: Upscaler,
    writer: PartsWriter,
    on_work: OnWork,
) -> None:
    """Give the frames of a segment, or of what is left of it, to the encoder."""
    assert task.decision is not None
    clip = task.footage.timeline.without_repeats
    kept = {moment.frame: moment.ending for moment in moments_of(task.schedule)}
    seen: dict[int, Pixels] = {}

    def frames() -> Iterator[Pixels]:
        for index, pixels in enumerate(source.frames(segment, task.following), start=segment.context_start):
            if index in kept:
                seen[index] = pixels
            yield pixels

    try:
        outputs = enhance_to_encode(
            upscaler,
            frames(),
            segment,
            task.decision,
            geometry=task.geometry,
            on_work=on_work,
            steps=task.steps,
            carry=carry,
            conversion=task.encoding.conversion,
        )
        for index, pixels in enumerate(outputs, start=segment.start):
            tint = clip.tint_at(index)
            writer.write(index, pixels, tint)
            if index in seen:
                shape = task.footage.header.info.display_aspect_ratio_of_pixels
                after = with_tint(pixels.to_rgb() if isinstance(pixels, Planes) else pixels, tint)
                before = seen.pop(index)
                save_stills(task.folder.parent, before, after, ending=kept[index], pixel_aspect_ratio=shape)
    except BaseException as error:
        source.stop()
        writer.abandon(error)
        raise


def _join_parts(task: SegmentTask, parts: tuple[Path, ...]) -> None:
    """Make the segment's file of its parts, each of which was decoded and checked before."""
    schedule, shown = task.schedule, task.schedule.shows(task.segment)
    last = shown[-1]
    end = (schedule.pts[last] + schedule.duration(last)) * schedule.time_base
    with published(task.path) as temporary:
        join_segments(parts, temporary, end)
        try:
            check_frames(temporary, schedule.times_of(task.segment), decode=False)
        except InputError as error:
            raise OutputError(f"the parts of a segment do not fit together: {error}") from error
