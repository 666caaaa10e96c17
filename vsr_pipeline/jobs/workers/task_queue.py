"""From the clips that are open to the workers: one queue for all, served in the order in which the clips came.

A clip has a thread, which asks for its tasks, keeps its ledger, and waits here for results. A worker has a thread,
which waits here for a task. A task is asked for when a worker has nothing to do, and not before: whoever wants the work
to stop can say so until then.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from vsr_pipeline.enhance.spec import OnWork
from vsr_pipeline.errors import Interrupted, VsrError
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.segment import SegmentResult, SegmentTask
from vsr_pipeline.runtime.progress import Reporter


@dataclass(frozen=True, slots=True)
class Progress:
    """What a worker has done since it said so last: frames of work, negative where some has to be done again."""

    frames: float
    notes: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class _Lane:
    """A clip's tasks that are on their way."""

    events: "deque[Progress | SegmentResult | Exception]" = field(default_factory=deque)
    has_tasks: bool = True
    in_flight: int = 0
    """Only the clip's own thread counts here."""
    refused_by: set[object] = field(default_factory=set)
    """Workers that do not see its files."""


@dataclass(eq=False, slots=True)
class Assignment:
    """A task, for whichever worker takes it."""

    task: SegmentTask
    source: JobSource
    lane: _Lane
    deaths: int = 0
    """Workers that died over it."""


class Dispatch:
    """Hands tasks to workers, and what becomes of them back to the clips."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lanes: list[_Lane] = []
        self._waiting: deque[Assignment] = deque()
        self._idle = 0
        self._error: VsrError | Interrupted | None = None
        self._is_closed = False

    def run(
        self, tasks: Iterable[SegmentTask], source: JobSource, on_work: OnWork, on_note: Callable[[str], None]
    ) -> Iterator[SegmentResult]:
        """Yield results as they become ready.

        When a segment fails, or no more tasks are to be had, what the workers have begun is waited for and yielded
        first, so that it is not lost.

        Raises:
            VsrError: of a segment, or of `tasks`.
            VsrError, Interrupted: of `stop`, which waits for nothing.
        """
        lane = _Lane()
        coming = iter(tasks)
        failure: Exception | None = None
        with self._changed:
            self._lanes.append(lane)
        try:
            while lane.has_tasks or lane.in_flight:
                event = self._next_event(lane)
                if isinstance(event, Progress):
                    on_work(event.frames)
                    for note in event.notes:
                        on_note(note)
                elif isinstance(event, SegmentResult):
                    lane.in_flight -= 1
                    yield event
                elif isinstance(event, Exception):
                    lane.in_flight -= 1
                    failure = failure or event
                    self._no_more(lane)
                else:
                    try:
                        self._add(Assignment(next(coming), source, lane))
                    except StopIteration:
                        self._no_more(lane)
                    except VsrError as error:
                        failure = failure or error
                        self._no_more(lane)
        finally:
            self._leave(lane)
        if failure is not None:
            raise failure

    def take(self, worker: object = None) -> Assignment | None:
        """Wait for work and return it, for a worker; None: there will be no more."""
        with self._changed:
            self._idle += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_closed or self._next_for(worker))
            self._idle -= 1
            assignment = None if self._is_closed else self._next_for(worker)
            if assignment is not None:
                self._waiting.remove(assignment)
            return assignment

    def _next_for(self, worker: object) -> Assignment | None:
        return next((waiting for waiting in self._waiting if worker not in waiting.lane.refused_by), None)

    def tell(self, assignment: Assignment, event: Progress | SegmentResult | Exception) -> None:
        """Say what a worker has done; a result or an exception ends the assignment."""
        with self._changed:
            assignment.lane.events.append(event)
            self._changed.notify_all()

    def give_back(self, assignment: Assignment) -> None:
        """Let another worker do it, before anything else."""
        with self._changed:
            if assignment.lane in self._lanes:
                self._waiting.appendleft(assignment)
                self._changed.notify_all()

    def refuse(self, assignment: Assignment, worker: object, living: Callable[[], Iterable[object]]) -> bool:
        """Give a worker no more of this clip, and the assignment to another one; False: none is left that could.

        Args:
            assignment: what the worker could not do, for a reason that is its own.
            worker: as it calls `take`.
            living: returns all workers that are there.
        """
        with self._changed:
            refused_by = assignment.lane.refused_by
            refused_by.add(worker)
            if refused_by.issuperset(living()):
                refused_by.clear()  # what else is waiting must come to an end, too
                self._changed.notify_all()
                return False
            self.give_back(assignment)
            return True

    def forget_refusals(self) -> None:
        """Let every worker try every clip again: one that could do it may be gone."""
        with self._changed:
            for lane in self._lanes:
                lane.refused_by.clear()
            self._changed.notify_all()

    def stop(self, error: VsrError | Interrupted) -> None:
        """Let every clip that is open, and any that comes, end with `error`."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        """Send the workers home."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def idle(self) -> int:
        """Workers that have nothing to do."""
        return self._idle

    @property
    def feeding(self) -> int:
        """Clips that have tasks left which no worker has begun."""
        with self._changed:
            return sum(lane.has_tasks for lane in self._lanes)

    def _next_event(self, lane: _Lane) -> Progress | SegmentResult | Exception | None:
        """Wait until something has happened in a lane, or it may add a task: None."""
        with self._changed:
            self._changed.wait_for(lambda: lane.events or self._error or self._may_add(lane))
            if self._error is not None:
                raise self._error
            return lane.events.popleft() if lane.events else None

    def _may_add(self, lane: _Lane) -> bool:
        first = next((other for other in self._lanes if other.has_tasks), None)
        return lane is first and self._idle > len(self._waiting)

    def _add(self, assignment: Assignment) -> None:
        assignment.lane.in_flight += 1
        with self._changed:
            self._waiting.append(assignment)
            self._changed.notify_all()

    def _no_more(self, lane: _Lane) -> None:
        with self._changed:
            lane.has_tasks = False
            self._changed.notify_all()

    def _leave(self, lane: _Lane) -> None:
        with self._changed:
            self._lanes.remove(lane)
            self._waiting = deque(assignment for assignment in self._waiting if assignment.lane is not lane)
            self._changed.notify_all()


class DispatchExecutor:
    """The segments of one clip; see `Executor`.

    Args:
        dispatch: has the workers.
        source: of the clip.
        reporter: of all clips, of whose work it is the sum.
        of_clip: of this clip; it may raise what ends the work on it.
    """

    def __init__(self, dispatch: Dispatch, source: JobSource, reporter: Reporter, of_clip: Reporter) -> None:
        self._dispatch = dispatch
        self._source = source
        self._reporter = reporter
        self._of_clip = of_clip

    def run(self, tasks: Iterable[SegmentTask], record: Callable[[SegmentResult], None]) -> None:
        """Record results as they become ready."""
        for result in self._dispatch.run(tasks, self._source, self._worked, self._reporter.note):
            record(result)

    def _worked(self, frames: float) -> None:
        self._reporter.worked(frames)
        if self._of_clip is not self._reporter:
            self._of_clip.worked(frames)
