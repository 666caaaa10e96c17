"""The segments of one clip: which are there and right, which are made, and what is recorded of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.enhance.steps import Step
from vsr_pipeline.errors import Interrupted, StoppedForNow
from vsr_pipeline.jobs.checkpoint import CheckpointFolder, delete_other_parts, frames_in_parts, kept_frames
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.ledger import Ledger, SegmentRow
from vsr_pipeline.jobs.part import Encoding
from vsr_pipeline.jobs.segment import SegmentResult, SegmentTask
from vsr_pipeline.jobs.workers.workers import Workers
from vsr_pipeline.runtime.files import file_sha256, make_folder
from vsr_pipeline.runtime.progress import Advanced, Event, Reporter, counted, reported
from vsr_pipeline.timeline import Decision, Segment


@dataclass(slots=True, kw_only=True)
class SegmentsOfClip:
    """Makes what is missing of a clip's segments. For one thread, which has the ledger."""

    name: str
    """Of the clip, for messages."""
    source: JobSource
    folder: Path
    encoding: Encoding
    steps: tuple[Step, ...]
    spec: ModelSpec
    ledger: Ledger
    decisions: dict[int, Decision]
    """Those on shots, by their first frames; more are added."""
    reporter: Reporter
    warn: Callable[[str], None]
    refuse_changed_source: Callable[[Sequence[Path] | None], None]
    should_stop: Callable[[], bool] | None
    _kept: dict[Segment, int] = field(default_factory=dict)
    """Frames in parts that were there at the start."""
    _again: list[Segment] = field(default_factory=list)
    """Segments that a worker has made by another decision than that on their shot."""
    _worked: float = 0.0
    _most_worked: float = 0.0

    def make(self, segments: Sequence[Segment], workers: Workers) -> int:
        """Make every segment that is not there and right; return how many frames that were.

        Raises:
            StoppedForNow, Interrupted: it was stopped; what is kept was said.
            VsrError: as the workers.
        """
        make_folder(self.folder)
        rows = self.ledger.segments()
        todo = [segment for segment in segments if not self._has(segment, rows.get((segment.start, segment.stop)))]
        delete_other_parts(self.folder, todo)
        for segment in todo:
            self._kept[segment] = self._kept_of(segment)
        total = sum(map(len, segments))
        left = sum(map(len, todo)) - sum(self._kept.values())
        if left < total:
            self.reporter.note(f"{self.name}: {counted(total - left, 'frame is', 'frames are')} there already")
        if not todo:
            return 0
        with reported(self.reporter, f"enhance {self.name}", left):
            try:
                with self._counting_work():
                    while todo:
                        executor = workers.executor(self.source, self.reporter)
                        executor.run(self._tasks(todo), self._record)
                        todo, self._again = self._again, []
            except (Interrupted, StoppedForNow):
                self._say_what_is_kept(total, total - left)
                raise
        return left

    @contextmanager
    def _counting_work(self) -> Iterator[None]:
        """Count what the workers report inside the block."""
        sink = self.reporter.sink

        def count(event: Event) -> None:
            if isinstance(event, Advanced):
                self._worked += event.amount
                self._most_worked = max(self._most_worked, self._worked)
            sink(event)

        self.reporter.sink = count
        try:
            yield
        finally:
            self.reporter.sink = sink

    def _say_what_is_kept(self, total: int, kept_before: int) -> None:
        """Say how much of the work is kept, and how much is lost by an end now."""
        kept = sum(stop - start for start, stop in self.ledger.segments()) + frames_in_parts(self.folder)
        again = round(self._most_worked - (kept - kept_before))
        begun = f"; {counted(again, 'frame')} that were begun are made again" if again > 0 else ""
        self.reporter.note(f"{self.name}: {kept} of {counted(total, 'frame')} are kept{begun}")

    def _kept_of(self, segment: Segment) -> int:
        """Return how many frames of a segment are in parts that it can go on from."""
        folder = CheckpointFolder(self.folder, segment)
        recorded, whole = folder.recorded(), folder.verified()
        if len(whole) < len(recorded):
            lost = kept_frames(recorded[len(whole) :])
            self.warn(f"{folder.path.name}: {counted(lost, 'frame')} are missing or have changed: they are made again")
        known = self.decisions.get(segment.shot.start)
        if whole and known is not None and whole[0].decision != known:
            folder.delete()
            return 0
        return kept_frames(whole)

    def _tasks(self, todo: list[Segment]) -> Iterator[SegmentTask]:
        """Yield tasks when they are asked for: by then, an earlier one may have decided on its shot."""
        encoding = self.encoding
        images = encoding.footage.images
        for segment, following in zip_longest(todo, todo[1:]):
            if self.should_stop is not None and self.should_stop():
                raise StoppedForNow(f"{self.name} is not finished; the next run goes on")
            self.refuse_changed_source(images[segment.context_start : segment.context_stop])
            self.ledger.count_attempt(segment.start, segment.stop)
            yield SegmentTask(
                footage=encoding.footage,
                geometry=encoding.geometry,
                schedule=encoding.schedule,
                segment=segment,
                encode=encoding.encode,
                decision=self.decisions.get(segment.shot.start),
                decision_frames=self.spec.context.decision_frames,
                folder=self.folder,
                steps=self.steps,
                identity=self.spec.identity,
                kept_frames=self._kept.get(segment, 0),
                following=following if self._is_read_at_once(segment, following) else None,
            )

    def _is_read_at_once(self, segment: Segment, following: Segment | None) -> bool:
        """Whether a segment's frames are read right after those of another: no decision on its shot comes first."""
        if following is None or self._kept.get(following, 0):
            return False
        is_decided = following.shot == segment.shot or following.shot.start in self.decisions
        return is_decided or self.spec.context.decision_frames == 0

    def _record(self, result: SegmentResult) -> None:
        """Record a segment, unless a worker meanwhile decided otherwise on its shot: then it is made again."""
        segment, shot_start = result.segment, result.segment.shot.start
        parts = CheckpointFolder(self.folder, segment)
        if shot_start not in self.decisions:
            self.ledger.save_decision(shot_start, result.decision)
        if self.decisions.setdefault(shot_start, result.decision) != result.decision:
            self.reporter.worked(-len(segment))
            self._kept.pop(segment, None)
            self._again.append(segment)
            parts.delete()
            return
        file = (result.path.name, result.size_bytes, result.sha256)
        self.ledger.save_segment(SegmentRow(segment.start, segment.stop, *file, result.elapsed_seconds, result.notes))
        parts.delete()
        self.reporter.milestone()

    def _has(self, segment: Segment, row: SegmentRow | None) -> bool:
        """Whether the segment was recorded and its file is still what was recorded."""
        if row is None:
            return False
        path = self.folder / row.file_name
        if path.is_file() and path.stat().st_size == row.size_bytes and file_sha256(path) == row.sha256:
            return True
        self.warn(f"{path.name} is missing or has changed since it was made: it is made again")
        self.ledger.forget_segment(segment.start, segment.stop)
        return False
