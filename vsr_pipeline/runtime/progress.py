"""What long work says: events, for one function, which may be a progress bar, a log file, or several of them."""

import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """A piece of work begins; there is one at a time."""

    what: str
    total: int
    """Of `unit`; 0: not known."""
    unit: str = "frames"


@dataclass(frozen=True, slots=True)
class Advanced:
    """So much has been done since the last one; parts of a frame count, too. Less than 0: it has to be done again."""

    amount: float


@dataclass(frozen=True, slots=True)
class Saved:
    """A part of the work is safe on disk."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The piece of work ends, done or not."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know."""

    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that may be wrong."""

    message: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """A bug was met; the work goes on with something else."""

    traceback: str
    """Several lines, for log files."""


@dataclass(frozen=True, slots=True)
class BatchAdvanced:
    """How far the work is that all pieces belong to, in clips."""

    what: str
    done: int
    total: int


Event = Started | Advanced | Saved | Finished | Noted | Warned | Crashed | BatchAdvanced
Sink = Callable[[Event], None]


class Reporter:
    """What stages say what they do to; without a sink, nobody hears it."""

    def __init__(self, sink: Sink = lambda _: None) -> None:
        self.sink = sink

    def note(self, message: str) -> None:
        """Say something that the user should know."""
        self.sink(Noted(message))

    def warn(self, message: str) -> None:
        """Say that something may be wrong."""
        self.sink(Warned(message))

    def crashed(self, traceback: str) -> None:
        """Say that a bug was met."""
        self.sink(Crashed(traceback))

    def started(self, what: str, total: int, unit: str = "frames") -> None:
        """Begin a piece of work of `total` units (0: not known); there is one at a time."""
        self.sink(Started(what, total, unit))

    def worked(self, amount: float) -> None:
        """Say how much has been done since the last call; parts of a frame count, too."""
        self.sink(Advanced(amount))

    def milestone(self) -> None:
        """Say that a part of the work is safe on disk."""
        self.sink(Saved())

    def finished(self) -> None:
        """End the piece of work, done or not."""
        self.sink(Finished())

    def overall(self, what: str, done: int, total: int) -> None:
        """Say how far the work is that all pieces belong to, in clips."""
        self.sink(BatchAdvanced(what, done, total))


def all_of(*sinks: Sink) -> Sink:
    """Return a sink that passes events to several, in this order."""

    def sink(event: Event) -> None:
        for each in sinks:
            each(event)

    return sink


def locked(sink: Sink) -> Sink:
    """Return a sink that several threads may call; it hears one event at a time."""
    lock = threading.RLock()

    def one_at_a_time(event: Event) -> None:
        with lock:
            sink(event)

    return one_at_a_time


def one_line(text: str) -> str:
    """Return a text with line breaks and other control characters as escapes: names of files may have them."""
    if text.isprintable():
        return text
    controls = ("Cc", "Zl", "Zp")
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in controls else c for c in text)


def clock_text(seconds: float) -> str:
    """Write how long something takes, as a clock: 0:08, 2:05:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def size_text(count: float) -> str:
    """Write a number of bytes, in units of 1000: 15 kB, 1.4 MB, 35 MB, 2.10 GB."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    if count >= 1e5:
        return f"{count / 1e6:.{0 if count >= 1e7 else 1}f} MB"
    return f"{count / 1e3:.0f} kB"


def counted(count: int, one: str, several: str | None = None) -> str:
    """Write a count and what is counted: `1 frame`, `2 frames`; `several` is for plurals that need more than an s."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"


@contextmanager
def reported(reporter: Reporter, what: str, total: int, unit: str = "frames") -> Iterator[None]:
    """Report a piece of work from its start to its end, whichever end that is."""
    reporter.started(what, total, unit)
    try:
        yield
    finally:
        reporter.finished()


@contextmanager
def retracted_on_failure(worked: Callable[[float], None]) -> Iterator[Callable[[float], None]]:
    """Yield a counter for work that may have to be done again: when the block fails, it counts for nothing."""
    done = 0.0

    def count(amount: float) -> None:
        nonlocal done
        done += amount
        worked(amount)

    try:
        yield count
    except BaseException:
        worked(-done)
        raise
