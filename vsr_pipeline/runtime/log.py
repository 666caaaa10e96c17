"""The log file of unattended runs: every line that a terminal would show, and the tracebacks that it would not."""

import io
import logging
import logging.handlers
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vsr_pipeline.runtime.files import make_folder, write_failure
from vsr_pipeline.runtime.progress import Sink
from vsr_pipeline.runtime.terminal import Lines, LogFormat

_BYTES_PER_FILE = 4 * 1024**2
_FILES = 5


@contextmanager
def log_file(path: Path, log_format: LogFormat) -> Iterator[Sink]:
    """Yield a sink that appends lines with their time to `path`; full files move on to `path.1` ... `path.5`.

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
        yield Lines(_Lines(handler), log_format)
    finally:
        with suppress(OSError):  # lines that could not be written are tried once more
            handler.close()


class _RotatingFile(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        """Lose the line: the disk is full, and stderr has said the same."""


class _Lines(io.StringIO):
    """What `Lines` prints to, one record per line."""

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler

    def write(self, text: str) -> int:
        if text.strip():
            self._handler.handle(logging.LogRecord("vsr", logging.INFO, "", 0, text, None, None))
        return len(text)
