"""Uploads by a plain form, for browsers without JavaScript: the files of a multipart body, written as they come.

They are uploads as those of `tus.py`, with the same limits. How long a file is, the form does not say beforehand: the
length of the whole body stands for it until its last byte. What breaks off is deleted, for a form cannot go on.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from vsr_pipeline.errors import UsageError, VsrError
from vsr_pipeline.runtime.files import write_failure
from vsr_pipeline.serve.errors import NotThereError, TooManyError
from vsr_pipeline.serve.tus import OnComplete, body_pieces
from vsr_pipeline.serve.uploads import Uploads

FIELD = "file"
MOST_FILES = 50
_HEADER_BYTES = 8 * 1024
_UNREAD_BYTES = 64 * 1024**2
"""After a refusal, so much of a body is read and dropped: a browser shows no answer before it has sent all."""


@dataclass(frozen=True, slots=True)
class _Begin:
    """A part begins; `name` is empty where it is no file."""

    name: str


@dataclass(frozen=True, slots=True)
class _End:
    """A part ends."""


@dataclass(slots=True)
class _Parts:
    """What the parser has found: beginnings, bytes and ends of parts, in their order."""

    found: list[_Begin | bytes | _End] = field(default_factory=list)
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    name: str = ""
    is_complete: bool = False

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": lambda data, start, end: self._grow(self.header, data[start:end]),
                "on_header_value": lambda data, start, end: self._grow(self.value, data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": lambda: self.found.append(_Begin(self.name)),
                "on_part_data": lambda data, start, end: self.found.append(bytes(data[start:end])),
                "on_part_end": lambda: self.found.append(_End()),
                "on_end": self._ends,
            },
        )

    def taken(self) -> Iterator[_Begin | bytes | _End]:
        """Yield what was found since the last time."""
        found, self.found = self.found, []
        yield from found

    def _part_begins(self) -> None:
        self.name = ""

    def _grow(self, text: bytearray, more: bytes) -> None:
        text += more
        if len(text) > _HEADER_BYTES:
            raise UsageError("a header of the form is too long")

    def _header_ends(self) -> None:
        if self.header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self.value))
            if options.get(b"name") == FIELD.encode():
                self.name = options.get(b"filename", b"").decode(errors="replace")
        self.header.clear()
        self.value.clear()

    def _ends(self) -> None:
        self.is_complete = True


class FormUploads:
    """Takes the files of forms.

    Args:
        uploads: where they lie.
        on_complete: is told after the last byte of a form.
    """

    def __init__(self, uploads: Uploads, on_complete: OnComplete) -> None:
        self._uploads = uploads
        self._on_complete = on_complete

    async def take(self, request: Request) -> tuple[str, ...]:
        """Write the files of a form; return the ids of the uploads.

        Raises:
            UsageError: the body is no such form, or has no file.
            TooLargeError, TooManyError, DiskFullError, OutputError: as `Uploads.begin`, or the disk is full.
        """
        kind, options = parse_options_header(request.headers.get("content-type"))
        announced = request.headers.get("content-length", "")
        if kind != b"multipart/form-data" or not options.get(b"boundary") or not announced.isdigit():
            raise UsageError("the body is no form with files, or does not say how long it is")
        pieces = body_pieces(request.receive, asyncio.Event())
        try:
            ids = await self._written(pieces, options[b"boundary"], int(announced))
        except VsrError:
            if int(announced) <= _UNREAD_BYTES:
                async for _ in pieces:
                    pass
            raise
        self._on_complete()
        return ids

    async def _written(self, pieces: AsyncIterator[bytes], boundary: bytes, length: int) -> tuple[str, ...]:
        parts = _Parts()
        parser = parts.parser(boundary)
        writer = _Writer(self._uploads, length)
        try:
            async for piece in pieces:
                try:
                    parser.write(piece)
                except MultipartParseError as error:
                    raise UsageError("the form cannot be read") from error
                await asyncio.to_thread(writer.write, tuple(parts.taken()))
            if not parts.is_complete:
                raise UsageError("the upload broke off: without JavaScript, it has to begin again")
            if not writer.ids:
                raise UsageError("no file was chosen")
        except BaseException:
            await asyncio.shield(asyncio.to_thread(writer.drop))
            raise
        return tuple(writer.ids)


class _Writer:
    """Writes parts to the disk; one thread at a time."""

    def __init__(self, uploads: Uploads, length: int) -> None:
        self.ids: list[str] = []
        self._uploads = uploads
        self._left = length
        self._handle: int | None = None
        self._written = 0

    def write(self, found: tuple[_Begin | bytes | _End, ...]) -> None:
        for one in found:
            if isinstance(one, _Begin):
                self._begin(one.name)
            elif isinstance(one, _End):
                self._end()
            elif self._handle is not None:
                self._append(self._handle, one)

    def drop(self) -> None:
        """Delete what came."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        for upload_id in self.ids:
            with suppress(NotThereError):
                self._uploads.delete(upload_id)

    def _begin(self, name: str) -> None:
        if not name:
            return
        if len(self.ids) >= MOST_FILES:
            raise TooManyError(f"more than {MOST_FILES} files at once: choose fewer")
        upload = self._uploads.begin(name, max(1, self._left))
        self.ids.append(upload.id)
        self._written = 0
        path = self._uploads.data(upload.id)
        try:
            self._handle = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError as error:
            raise write_failure(path, error) from error

    def _append(self, handle: int, piece: bytes) -> None:
        view = memoryview(piece)
        try:
            while view:
                view = view[os.write(handle, view) :]
        except OSError as error:
            raise write_failure(self._uploads.data(self.ids[-1]), error) from error
        self._written += len(piece)
        self._left -= len(piece)

    def _end(self) -> None:
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            os.fsync(handle)
        except OSError as error:
            raise write_failure(self._uploads.data(self.ids[-1]), error) from error
        finally:
            os.close(handle)
        if not self._written:
            raise UsageError("the file is empty")
        self._uploads.set_length(self.ids[-1], self._written)
