"""Segments in this process: while one is verified and published, the next one is computed."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace

from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.errors import Interrupted
from vsr_pipeline.jobs.ahead import AheadSource
from vsr_pipeline.jobs.compute import ComputedSegment, compute_segment
from vsr_pipeline.jobs.segment import SegmentResult, SegmentTask
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import Decision

_PATIENCE_SECONDS = 1.0
"""How long the segment before is waited for after a signal; `stoppable` ends the process 3 seconds after it."""


class SerialExecutor:
    """One segment after the other, in this process; at most one is still being verified when the next one is made."""

    def __init__(self, fallback: Fallback, reporter: Reporter) -> None:
        self._fallback = fallback
        self._reporter = reporter

    def run(self, tasks: Iterable[SegmentTask], record: Callable[[SegmentResult], None]) -> None:
        """Make segments in the order of the tasks, which are of one clip; see `Executor`.

        When one fails, or no more tasks are to be had, the one before it is waited for and recorded first; after a
        signal, too, but only for a moment.
        """
        with ExitStack() as stack:
            behind = stack.enter_context(_Behind(record))
            source: AheadSource | None = None
            notes: tuple[str, ...] = ()
            decisions: dict[int, Decision] = {}
            for task in tasks:
                if source is None:
                    notes = self._fallback.begin(task.clip_size, self._reporter)
                    opened = stack.enter_context(task.footage.open())
                    source = stack.enter_context(AheadSource(opened))
                shot = task.segment.shot.start
                # The segment by which it was decided may not be recorded yet.
                known = replace(task, decision=task.decision or decisions.get(shot))

                def worked(amount: float) -> None:
                    self._reporter.worked(amount)
                    if amount > 0:  # else another failure is on its way
                        behind.record_if_done()

                computed = compute_segment(known, source, self._fallback, worked)
                decisions[shot] = computed.decision
                behind.follow(computed, notes)
                notes = ()


class _Behind:
    """The segment before the one that is computed, while it is verified; a context manager."""

    def __init__(self, record: Callable[[SegmentResult], None]) -> None:
        self._record = record
        self._computed: ComputedSegment | None = None
        self._notes: tuple[str, ...] = ()

    def __enter__(self) -> "_Behind":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if isinstance(error, Interrupted) and self._computed is not None:
                self._computed.wait(_PATIENCE_SECONDS)
                with suppress(Exception):  # else the stop would be lost; the next run meets the same
                    self.record_if_done()
            elif error is None or isinstance(error, Exception):
                self._settle()
        finally:
            if self._computed is not None:  # a signal came, and it takes too long
                self._computed.abandon(error or GeneratorExit())

    def record_if_done(self) -> None:
        """Record it as soon as it is published."""
        if self._computed is not None and self._computed.is_done:
            self._settle()

    def follow(self, computed: ComputedSegment, notes: tuple[str, ...]) -> None:
        """Wait for it, and go on with the next one, of which the executor has these notes."""
        try:
            self._settle()
        except BaseException as error:
            computed.abandon(error)
            raise
        self._computed, self._notes = computed, notes

    def _settle(self) -> None:
        if self._computed is None:
            return
        computed, self._computed = self._computed, None
        result = computed.result()
        self._record(replace(result, notes=(*self._notes, *result.notes)))
