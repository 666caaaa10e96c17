"""The log file of unattended runs: every line that a terminal would show, and the tracebacks that it would not."""

import io
import logging
import logging.handlers
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from vsr_pipeline.runtime.files import make_folder, write_failure
from vsr_pipeline.runtime.progress import LineReporter, Reporter

_BYTES_PER_FILE = 4 * 1024**2
_FILES = 5


class TeeReporter:
    """Says everything twice."""

    def __init__(self, first: Reporter, second: Reporter) -> None:
        self._both = (first, second)

    def note(self, message: str) -> None:
        """Say it to both."""
        for reporter in self._both:
            reporter.note(message)

    def started(self, what: str, total: int, unit: str = "frames") -> None:
        """Say it to both."""
        for reporter in self._both:
            reporter.started(what, total, unit)

    def worked(self, amount: float) -> None:
        """Say it to both."""
        for reporter in self._both:
            reporter.worked(amount)

    def milestone(self) -> None:
        """Say it to both."""
        for reporter in self._both:
            reporter.milestone()

    def finished(self) -> None:
        """Say it to both."""
        for reporter in self._both:
            reporter.finished()

    def overall(self, what: str, done: int, total: int) -> None:
        """Say it to both."""
        for reporter in self._both:
            reporter.overall(what, done, total)


class LockedReporter:
    """Lets several threads say things, one at a time."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lock = threading.RLock()

    def note(self, message: str) -> None:
        """Pass it on."""
        with self._lock:
            self._reporter.note(message)

    def started(self, what: str, total: int, unit: str = "frames") -> None:
        """Pass it on."""
        with self._lock:
            self._reporter.started(what, total, unit)

    def worked(self, amount: float) -> None:
        """Pass it on."""
        with self._lock:
            self._reporter.worked(amount)

    def milestone(self) -> None:
        """Pass it on."""
        with self._lock:
            self._reporter.milestone()

    def finished(self) -> None:
        """Pass it on."""
        with self._lock:
            self._reporter.finished()

    def overall(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        with self._lock:
            self._reporter.overall(what, done, total)


@contextmanager
def log_file(path: Path, log_format: Literal["text", "json"]) -> Iterator[LineReporter]:
    """Yield a reporter that appends lines with their time to `path`; full files move on to `path.1` ... `path.5`.

    Raises:
        OutputError, DiskFullError: the file cannot be created.
    """
    make_folder(path.parent)
    try:
        # File names need not be Unicode: what is not becomes an escape, or the line would be lost.
        handler = _RotatingFile(
            path, maxBytes=_BYTES_PER_FILE, backupCount=_FILES, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise write_failure(path, error) from error
    if log_format == "text":
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    try:
        yield LineReporter(_Lines(handler), log_format)
    finally:
        with suppress(OSError):  # lines that could not be written are tried once more
            handler.close()


class _RotatingFile(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        """Lose the line: the disk is full, and stderr has said the same."""


class _Lines(io.StringIO):
    """What a `LineReporter` prints to, one record per line."""

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler

    def write(self, text: str) -> int:
        if text.strip():
            self._handler.handle(logging.LogRecord("vsr", logging.INFO, "", 0, text, None, None))
        return len(text)
