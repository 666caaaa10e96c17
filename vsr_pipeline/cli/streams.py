"""Standard streams that may be closed, full, or read by nobody any more: no work ends because of them."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO, cast

from vsr_pipeline.runtime.files import write_failure


class _Outlet(io.TextIOBase):
    """A stream that loses what nobody reads.

    After the first failure everything goes to the null device, also what is still buffered and what C libraries say.

    Args:
        stream: where to write; what its encoding does not have is written as an escape.
        is_result: whether what is written is what the user wants: then only a reader that is gone is no failure.
    """

    def __init__(self, stream: TextIO, *, is_result: bool) -> None:
        self._stream = stream
        self._is_result = is_result
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Write.

        Raises:
            DiskFullError, OutputError: what the user wants cannot be written.
        """
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered; raises as `write`."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        with suppress(OSError):
            self._stream.flush()
        if self._is_result and not isinstance(error, BrokenPipeError):
            raise write_failure(Path("the result to standard output"), error) from error


def guard_standard_streams() -> None:
    """Let no standard stream end the work, whatever becomes of it, and open the null device where one is closed.

    Else the next file that is opened would get its number, and with it what is said there.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    # Where one was closed, Python has None for it, whatever its annotations say.
    streams = (cast("TextIO | None", stream) for stream in (sys.stdout, sys.stderr))
    stdout, stderr = (stream or os.fdopen(number, "w") for number, stream in enumerate(streams, start=1))
    sys.stdout, sys.stderr = _Outlet(stdout, is_result=True), _Outlet(stderr, is_result=False)
