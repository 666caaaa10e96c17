"""The turns of clips of a batch that are under way side by side, each in a thread of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from vsr_pipeline.clip.inspect import Inspection
from vsr_pipeline.errors import Interrupted, VsrError
from vsr_pipeline.jobs.batch.plan import BatchClip
from vsr_pipeline.jobs.batch.rows import QueueRow
from vsr_pipeline.jobs.job import Clock
from vsr_pipeline.jobs.report.outcome import ClipOutcome
from vsr_pipeline.runtime.progress import Advanced, Event, Noted, Saved, Sink, Started, Warned

# More than can be open at a time: what opens them counts workers and cores.
_THREADS = 4096
_WAKE_SECONDS = 0.2


@dataclass(eq=False, slots=True)
class Turn:
    """The work on one clip."""

    clip: BatchClip
    row: QueueRow
    """What was recorded when it began."""
    clock: Clock = field(default_factory=Clock)
    inspection: Inspection | None = None
    is_prepared: bool = False
    """Whether its segments are, or were, to be had by the workers."""

    @property
    def is_alone(self) -> bool:
        """Whether no other clip is worked on meanwhile: one that may have ended a run should not take others along."""
        return self.clip.todo == "retry"


class Turns:
    """Turns that are under way; a context manager.

    A clip is taken in by one thread, while no other decodes: taking in listens to what FFmpeg says, in the whole
    process, and a decoder that says something then may wait for Python while Python waits for the decoder. So turns
    that were taken in are held, and let go together.

    Args:
        work: does a turn, in its thread.
    """

    def __init__(self, work: Callable[[Turn], ClipOutcome]) -> None:
        self._work = work
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="clip")
        self._open: dict[Future[ClipOutcome], Turn] = {}
        self._held: list[Turn] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()

    def __len__(self) -> int:
        return len(self._open) + len(self._held)

    def hold(self, turn: Turn) -> None:
        """Keep a turn until `let_go`."""
        self._held.append(turn)

    def drop(self, turn: Turn) -> None:
        """Forget a turn that is held."""
        self._held.remove(turn)

    def let_go(self) -> None:
        """Let the turns that are held go on, each in a thread."""
        while self._held:
            turn = self._held.pop(0)
            self._open[self._threads.submit(self._work, turn)] = turn

    @property
    def held(self) -> tuple[Turn, ...]:
        """Turns that have not been let go."""
        return tuple(self._held)

    @property
    def decode(self) -> bool:
        """Whether a clip may be decoded at this moment: its segments are not ready for the workers yet."""
        return any(not turn.is_prepared for turn in self._open.values())

    @property
    def has_one_alone(self) -> bool:
        """Whether the only turn is one beside which no other may begin."""
        return any(turn.is_alone for turn in (*self._open.values(), *self._held))

    def ended(self) -> Iterator[tuple[Turn, Future[ClipOutcome]]]:
        """Wait a moment and yield the turns that have ended."""
        done, _ = wait(self._open, timeout=_WAKE_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            yield self._open.pop(future), future


def of_one_clip(sink: Sink) -> Sink:
    """Return a sink for the events of one of several clips, of which the workers themselves report the progress."""

    def one(event: Event) -> None:
        match event:
            case Started(what, total, unit):
                sink(Noted(f"{what}: {total or '?'} {unit}"))
            case Noted() | Warned() | Saved():
                sink(event)

    return one


def can_be_ended(sink: Sink, why_not: Callable[[], VsrError | Interrupted | None]) -> Sink:
    """Return a sink that ends the work on a clip in the middle.

    Args:
        sink: hears the events before.
        why_not: asked at each progress; returns what ends the work, if anything does; that is raised.
    """

    def ending(event: Event) -> None:
        sink(event)
        if isinstance(event, Advanced) and event.amount >= 0 and (error := why_not()) is not None:
            raise error

    return ending
