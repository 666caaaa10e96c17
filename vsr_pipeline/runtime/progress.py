"""What long work tells the person who waits: a bar with an ETA on a terminal, plain or JSON lines elsewhere."""

import json
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

_SECONDS_BETWEEN_LINES = 30.0


class Reporter(Protocol):
    """Where stages say what they do."""

    def note(self, message: str) -> None:
        """Say something that the user should know."""
        ...

    def started(self, what: str, total: int, unit: str = "frames") -> None:
        """Begin a piece of work of `total` units (0: not known); there is one at a time."""
        ...

    def worked(self, amount: float) -> None:
        """Say how much has been done since the last call; parts of a frame count, too."""
        ...

    def milestone(self) -> None:
        """Say that a part of the work is safe on disk."""
        ...

    def finished(self) -> None:
        """End the piece of work, done or not."""
        ...

    def overall(self, what: str, done: int, total: int) -> None:
        """Say how far the work is that all pieces belong to, in clips."""
        ...


def one_line(text: str) -> str:
    """Return a text with line breaks and other control characters as escapes: names of files may have them."""
    if text.isprintable():
        return text
    controls = ("Cc", "Zl", "Zp")
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in controls else c for c in text)


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


class SilentReporter:
    """Says nothing: for programs that call the API."""

    def note(self, message: str) -> None:
        """Drop the message."""

    def started(self, what: str, total: int, unit: str = "frames") -> None:
        """Do nothing."""

    def worked(self, amount: float) -> None:
        """Do nothing."""

    def milestone(self) -> None:
        """Do nothing."""

    def finished(self) -> None:
        """Do nothing."""

    def overall(self, what: str, done: int, total: int) -> None:
        """Do nothing."""


class LineReporter:
    """Plain or JSON lines: at the start, every 30 seconds, at each milestone, at the end. For cron and log files."""

    def __init__(self, stream: TextIO, log_format: Literal["text", "json"] = "text") -> None:
        self._stream = stream
        self._json = log_format == "json"
        self._what = ""
        self._unit = ""
        self._total = 0
        self._done = 0.0
        self._started = self._said = 0.0

    def note(self, message: str) -> None:
        """Write a line."""
        self._write({"event": "note", "message": message}, one_line(message))

    def traceback(self, text: str) -> None:
        """Write several lines as one note."""
        self._write({"event": "note", "message": text}, text)

    def started(self, what: str, total: int, unit: str = "frames") -> None:
        """Write a line."""
        self._what, self._total, self._unit, self._done = what, total, unit, 0.0
        self._started = self._said = time.monotonic()
        amount = f": {_amount(total, 0, unit)}" if total else ""
        self._write({"event": "started", "what": what, "total": total, "unit": unit}, one_line(what) + amount)

    def worked(self, amount: float) -> None:
        """Write a line if the last one was 30 seconds ago."""
        self._done += amount
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            self._progress(now)

    def milestone(self) -> None:
        """Write how far it is, unless that is all: then the end says so."""
        if round(self._done) < self._total:
            self._said = time.monotonic()
            self._progress(self._said)

    def finished(self) -> None:
        """Write how far it came and how long it took."""
        self._progress(time.monotonic(), event="finished")

    def overall(self, what: str, done: int, total: int) -> None:
        """Write a line."""
        facts = {"event": "overall", "what": what, "done": done, "total": total, "unit": "clips"}
        self._write(facts, f"{one_line(what)}: {_amount(done, total, 'clips')}")

    def _progress(self, now: float, event: str = "progress") -> None:
        seconds = now - self._started
        rate = self._done / seconds if seconds > 0 else 0.0
        facts = {"event": event, "what": self._what, "done": round(self._done), "total": self._total}
        facts |= {"unit": self._unit, "per_second": round(rate, 3), "seconds": round(seconds, 1)}
        amount = _amount(round(self._done), self._total, self._unit)
        text = f"{one_line(self._what)}: {amount}, {_rate(rate, self._unit)}, {_duration(seconds)}"
        if event == "progress" and self._done < self._total and rate > 0:
            text += f", {_duration((self._total - self._done) / rate)} left"
        self._write(facts, text)

    def _write(self, facts: dict[str, object], text: str) -> None:
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z")} | facts) if self._json else text
        print(line, file=self._stream, flush=True)


class BarReporter:
    """A progress bar on a terminal, and above it another one for the batch that the work belongs to."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._tasks: list[_Bar] = []
        self._overall: _Bar | None = None

    def note(self, message: str) -> None:
        """Print above the bar."""
        self._console.print(one_line(message), markup=False)

    def started(self, what: str, total: int, unit: str = "frames") -> None:
        """Show the bar."""
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            transient=self._overall is not None,  # a night's bars would fill the screen
        )
        self._tasks = [*([self._overall] if self._overall else []), _Bar(what, total, unit)]
        for bar in self._tasks:
            self._progress.add_task(bar.what, total=bar.total or None, completed=int(bar.done), facts=str(bar))
        self._progress.start()

    def worked(self, amount: float) -> None:
        """Move the bar."""
        assert self._progress is not None
        self._tasks[-1].done += amount
        for task, bar in zip(self._progress.task_ids, self._tasks, strict=True):
            self._progress.update(task, completed=bar.done, facts=str(bar))

    def milestone(self) -> None:
        """Do nothing: the bar shows it."""

    def finished(self) -> None:
        """Leave the bar as it is."""
        assert self._progress is not None
        self._progress.stop()
        self._progress = None

    def overall(self, what: str, done: int, total: int) -> None:
        """Show it with the next piece of work."""
        if self._overall is None:
            self._overall = _Bar(what, total, "clips")
        self._overall.done = done


class _Bar:
    """What a bar shows. The time left is that of the mean speed since the start: it settles instead of jumping."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what = one_line(what)
        self.total = total
        self.done = 0.0
        self._unit = unit
        self._started = time.monotonic()

    def __str__(self) -> str:
        seconds = time.monotonic() - self._started
        facts = [_amount(round(self.done), self.total, self._unit)]
        if self.done > 0 and seconds > 0 and self._unit != "clips":
            facts.append(_rate(self.done / seconds, self._unit))
        facts.append(_duration(seconds))
        if 0 < self.done < self.total:
            facts.append(f"{_duration((self.total - self.done) * seconds / self.done)} left")
        return ", ".join(facts)


def reporter_for(log_format: Literal["text", "json"], stream: TextIO | None = None) -> Reporter:
    """Return a bar on a terminal, lines elsewhere."""
    stream = stream or sys.stderr
    return BarReporter(stream) if log_format == "text" and stream.isatty() else LineReporter(stream, log_format)


def _amount(done: int, total: int, unit: str) -> str:
    """Write how much is done, and of how much. A header may announce less than there is: then the total is left out."""
    of_all = total if total >= done else 0
    return (
        f"{done}/{counted(of_all, unit.removesuffix('s'), unit)}"
        if of_all
        else counted(done, unit.removesuffix("s"), unit)
    )


def _rate(per_second: float, unit: str) -> str:
    return f"{per_second:.2f} {'fps' if unit == 'frames' else f'{unit}/s'}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
