"""Progress for people: a bar with the time left on a terminal, plain or JSON lines elsewhere."""

import json
import sys
import time
from typing import TYPE_CHECKING, Literal, TextIO

from vsr_pipeline.runtime.progress import (
    Advanced,
    BatchAdvanced,
    Crashed,
    Event,
    Finished,
    Noted,
    Reporter,
    Saved,
    Started,
    Warned,
    clock_text,
    counted,
    one_line,
)

if TYPE_CHECKING:
    from rich.progress import Progress

LogFormat = Literal["text", "json"]

_SECONDS_BETWEEN_LINES = 30.0


class Lines:
    """Plain or JSON lines: at the start, every 30 seconds, when a part is safe, at the end. For cron and log files."""

    def __init__(self, stream: TextIO, log_format: LogFormat = "text") -> None:
        self._stream = stream
        self._json = log_format == "json"
        self._work = _Work(Started("", 0))
        self._said = 0.0

    def __call__(self, event: Event) -> None:
        """Write what is worth a line."""
        match event:
            case Noted(message):
                self._write({"event": "note", "message": message}, one_line(message))
            case Warned(message):
                self._write({"event": "warning", "message": message}, one_line(message))
            case Crashed(traceback):
                self._write({"event": "crash", "message": traceback}, traceback)
            case Started(what, total, unit):
                self._work = _Work(event)
                self._said = time.monotonic()
                amount = f": {_amount(total, 0, unit)}" if total else ""
                self._write({"event": "started", "what": what, "total": total, "unit": unit}, one_line(what) + amount)
            case Advanced(amount_done):
                self._work.done += amount_done
                if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
                    self._progress()
            case Saved():
                if round(self._work.done) < self._work.total:  # else the end says so
                    self._progress()
            case Finished():
                self._progress(event="finished")
            case BatchAdvanced(what, done, total):
                facts = {"event": "overall", "what": what, "done": done, "total": total, "unit": "clips"}
                self._write(facts, f"{one_line(what)}: {_amount(done, total, 'clips')}")

    def _progress(self, event: str = "progress") -> None:
        self._said = time.monotonic()
        work, seconds = self._work, self._work.seconds
        rate = work.done / seconds if seconds > 0 else 0.0
        facts = {"event": event, "what": work.what, "done": round(work.done), "total": work.total}
        facts |= {"unit": work.unit, "per_second": round(rate, 3), "seconds": round(seconds, 1)}
        amount = _amount(round(work.done), work.total, work.unit)
        text = f"{one_line(work.what)}: {amount}, {_rate(rate, work.unit)}, {clock_text(seconds)} elapsed"
        if event == "progress" and work.done < work.total and rate > 0:
            text += f", {clock_text((work.total - work.done) / rate)} left"
        self._write(facts, text)

    def _write(self, facts: dict[str, object], text: str) -> None:
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z")} | facts) if self._json else text
        print(line, file=self._stream, flush=True)


class Bars:
    """A progress bar on a terminal, and above it another one for the batch that the work belongs to."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._works: list[_Work] = []
        self._batch: _Work | None = None

    def __call__(self, event: Event) -> None:
        """Show it."""
        match event:
            case Noted(message) | Warned(message):
                self._console.print(one_line(message), markup=False)  # above the bar
            case Started():
                self._start(_Work(event))
            case Advanced(amount):
                self._advance(amount)
            case Finished():
                if self._progress is not None:
                    self._progress.stop()  # the bar stays as it is
                self._progress = None
            case BatchAdvanced(what, done, total):
                if self._batch is None:
                    self._batch = _Work(Started(what, total, "clips"))
                self._batch.done = done
            case Saved() | Crashed():
                pass  # the bar shows the one; the other is for log files

    def _start(self, work: "_Work") -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            transient=self._batch is not None,  # the bars of a whole batch would fill the screen
        )
        self._works = [*([self._batch] if self._batch else []), work]
        for each in self._works:
            self._progress.add_task(
                one_line(each.what), total=each.total or None, completed=int(each.done), facts=str(each)
            )
        self._progress.start()

    def _advance(self, amount: float) -> None:
        assert self._progress is not None, "no piece of work was started"
        self._works[-1].done += amount
        for task, work in zip(self._progress.task_ids, self._works, strict=True):
            self._progress.update(task, completed=work.done, facts=str(work))


class _Work:
    """A piece of work. The time left is that of the mean speed since the start: it settles instead of jumping."""

    def __init__(self, started: Started) -> None:
        self.what, self.total, self.unit = started.what, started.total, started.unit
        self.done = 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._started

    def __str__(self) -> str:
        seconds = self.seconds
        facts = [_amount(round(self.done), self.total, self.unit)]
        if self.done > 0 and seconds > 0 and self.unit != "clips":
            facts.append(_rate(self.done / seconds, self.unit))
        facts.append(f"{clock_text(seconds)} elapsed")
        if 0 < self.done < self.total:
            facts.append(f"{clock_text((self.total - self.done) * seconds / self.done)} left")
        return ", ".join(facts)


def reporter_for(log_format: LogFormat, stream: TextIO | None = None) -> Reporter:
    """Return a bar on a terminal, lines elsewhere."""
    stream = stream or sys.stderr
    return Reporter(Bars(stream) if log_format == "text" and stream.isatty() else Lines(stream, log_format))


def _amount(done: int, total: int, unit: str) -> str:
    """Write how much is done, and of how much. A header may announce less than there is: then the total is left out."""
    one = unit.removesuffix("s")
    return f"{done}/{counted(total, one, unit)}" if total and total >= done else counted(done, one, unit)


def _rate(per_second: float, unit: str) -> str:
    return f"{per_second:.2f} {'fps' if unit == 'frames' else f'{unit}/s'}"
