"""The bytes of a source file, as PyAV asks for them: an error of the disk or the network is never an end of the file.

FFmpeg's demuxers take many read errors for the end of the file, or for damage in the data. So this program reads itself
and remembers what went wrong.
"""

import errno
import functools
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from vsr_pipeline.runtime.files import FileIdentity, read_failure, status_of_file

PATIENCE_SECONDS = 120.0
"""How long opening a file, or reading one packet of it, may take."""

_BLOCK_BYTES = 1 << 16
_HEAD_BYTES = 6 << 20
_TAIL_BYTES = 2 << 20
"""What FFmpeg reads of a transport or program stream each time that it is opened is 5 MB at its start, and its end."""
_REMEMBERED_FILES = 4


class KnownFile:
    """What this process has found out about a file, as long as the file does not change."""

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}
        """Beginning and end of the file, by number of block."""
        self.clock_is_steady: dict[int, bool] = {}
        """By stream that was read whole: whether decoding times only rise, so that a time names one place."""


@functools.lru_cache(maxsize=_REMEMBERED_FILES)
def _known(_path: Path, _device: int, _inode: int, _size_bytes: int, _modified_ns: int) -> KnownFile:
    return KnownFile()


class SourceBytes:
    """A file for `av.open`: it has `read`, `seek` and `tell`, which never raise; `check` says what went wrong.

    Raises:
        InputError: the file is missing, empty, no regular file, or cannot be opened.
        ReadError: the disk or the network failed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"file:{os.fspath(path)}"
        self._failure: BaseException | None = None
        status = status_of_file(path)
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise read_failure(path, error) from error
        self.identity = FileIdentity.of_status(status)
        self._size = status.st_size
        self.known = _known(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        self._position = self._place_in_file = 0
        self._begun: float | None = None
        self.begin_packet()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def begin_packet(self) -> None:
        """Start to count the time that opening the file, or the next packet, may take."""
        self._begun = time.monotonic()

    def end_packet(self) -> None:
        """Stop to count."""
        self._begun = None

    def check(self) -> None:
        """Raise what went wrong while reading.

        Raises:
            ReadError: the disk or the network failed, or the file became shorter.
        """
        if isinstance(self._failure, OSError):
            raise read_failure(self._path, self._failure) from self._failure
        if self._failure is not None:
            raise self._failure

    def read(self, count: int) -> bytes:
        """Return at most `count` bytes from the position on; none at the end, and after a failure."""
        # FFmpeg calls this: an exception would get lost there, that of a signal, too.
        try:
            data = b"" if self._failure is not None else self._next(count)
            self._position += len(data)
        except BaseException as error:  # noqa: BLE001 - `check` raises it
            self._failure = error
            return b""
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position and return it."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def _next(self, count: int) -> bytes:
        if self._begun is not None and time.monotonic() - self._begun > PATIENCE_SECONDS:
            raise TimeoutError(errno.ETIMEDOUT, f"no packet in {PATIENCE_SECONDS:.0f} seconds")
        data = self._kept(count) or self._from_file(self._position, count)
        if not data and self._position < self._size:
            raise OSError(errno.EIO, "the file ends earlier than when it was opened")
        return data

    def _kept(self, count: int) -> bytes:
        """Return bytes of the beginning or the end of the file, which are read once and kept; else none."""
        number, place = divmod(self._position, _BLOCK_BYTES)
        start = number * _BLOCK_BYTES
        if not (start < _HEAD_BYTES or self._size - _TAIL_BYTES <= start < self._size):
            return b""
        block = self.known.blocks.get(number)
        if block is None:
            block = self._from_file(start, _BLOCK_BYTES)
            if len(block) == min(_BLOCK_BYTES, self._size - start):
                self.known.blocks[number] = block
        return block[place : place + count]

    def _from_file(self, offset: int, count: int) -> bytes:
        if offset != self._place_in_file:
            self._file.seek(offset)
        data = self._file.read(count) or b""
        self._place_in_file = offset + len(data)
        return data
