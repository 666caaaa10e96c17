"""Resumable uploads: the protocol tus 1.0 with creation, termination and expiration, on the raw request stream.

https://tus.io/protocols/resumable-upload. The offset is the number of bytes on the disk; it is synced before a PATCH is
answered. A connection that breaks in a PATCH loses nothing that has arrived. Who goes on with an upload takes it over
from a request that still waits for bytes.
"""

import asyncio
import base64
import binascii
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from vsr_pipeline.errors import DiskFullError, UsageError, VsrError
from vsr_pipeline.runtime.files import write_failure
from vsr_pipeline.serve.errors import NotThereError, TooLargeError, TooManyError
from vsr_pipeline.serve.uploads import Upload, Uploads

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,expiration"
_BYTES_AT_ONCE = 1 << 20
_SILENT_SECONDS = 60.0
_STATUS_OF = {TooLargeError: 413, TooManyError: 429, DiskFullError: 507, UsageError: 400}
_OVERRIDES = ("PATCH", "DELETE")

OnComplete = Callable[[], None]


class Tus:
    """Answers requests about uploads.

    Args:
        uploads: where they lie.
        prefix: of the URLs of uploads, with what a proxy puts before it.
        on_complete: is told after the last byte.
    """

    def __init__(self, uploads: Uploads, prefix: str, on_complete: OnComplete) -> None:
        self._uploads = uploads
        self._prefix = prefix
        self._on_complete = on_complete
        self._busy: dict[str, asyncio.Event] = {}

    async def options(self, request: Request) -> Response:  # noqa: ARG002 - it asks nothing
        """Say what this server can do."""
        headers = {"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": str(self._uploads.max_bytes)}
        return _answer(204, headers)

    async def create(self, request: Request) -> Response:
        """Begin an upload: 201 with its URL."""
        if (refusal := _wrong_version(request)) is not None:
            return refusal
        length = _number(request.headers.get("upload-length"))
        if length is None or length == 0:
            return _answer(
                400, text="Upload-Length is missing or no number above 0; a length that follows is not taken"
            )
        try:
            name = _metadata(request.headers.get("upload-metadata", "")).get("filename", "")
            upload = await asyncio.to_thread(self._uploads.begin, name, length)
        except VsrError as error:
            return refused(error)
        return _answer(201, {"Location": f"{self._prefix}/{upload.id}", **_state(upload)})

    async def head(self, request: Request) -> Response:
        """Say how far an upload is."""
        if (refusal := _wrong_version(request)) is not None:
            return refusal
        upload = await self._found(request)
        if upload is None:
            return _answer(404, text="there is no such upload")
        name = base64.b64encode(upload.name.encode()).decode()
        headers = {"Upload-Length": str(upload.length), "Upload-Metadata": f"filename {name}"}
        return _answer(200, {**headers, **_state(upload)})

    async def patch(self, request: Request) -> Response:
        """Append bytes at the offset that the client names, which must be ours."""
        if (refusal := _wrong_version(request)) is not None:
            return refusal
        if request.headers.get("content-type") != "application/offset+octet-stream":
            return _answer(415, text="Content-Type must be application/offset+octet-stream")
        upload = await self._found(request)
        if upload is None:
            return _answer(404, text="there is no such upload")
        give_way = await self._take_over(upload.id)
        try:
            return await self._append(request, upload.id, give_way)
        finally:
            if self._busy.get(upload.id) is give_way:
                del self._busy[upload.id]
            give_way.set()

    async def delete(self, request: Request) -> Response:
        """Forget an upload."""
        if (refusal := _wrong_version(request)) is not None:
            return refusal
        upload = await self._found(request)
        if upload is None:
            return _answer(404, text="there is no such upload")
        await self._take_over(upload.id)
        self._busy.pop(upload.id, None)
        with suppress(NotThereError):
            await asyncio.to_thread(self._uploads.delete, upload.id)
        return _answer(204)

    async def post(self, request: Request) -> Response:
        """Serve clients whose network lets only GET and POST through."""
        method = request.headers.get("x-http-method-override", "").upper()
        if method not in _OVERRIDES:
            return _answer(405, {"Allow": "HEAD, PATCH, DELETE"}, "POST begins uploads, at the URL above")
        return await (self.patch(request) if method == "PATCH" else self.delete(request))

    async def _found(self, request: Request) -> Upload | None:
        try:
            return await asyncio.to_thread(self._uploads.get, request.path_params["upload_id"])
        except NotThereError:
            return None

    async def _take_over(self, upload_id: str) -> "asyncio.Event":
        """Wait until no other request writes to an upload; one that only waits for its client ends at once."""
        while (other := self._busy.get(upload_id)) is not None:
            other.set()
            await asyncio.sleep(0.02)
        self._busy[upload_id] = asyncio.Event()
        return self._busy[upload_id]

    async def _append(self, request: Request, upload_id: str, give_way: asyncio.Event) -> Response:
        try:
            upload = self._uploads.get(upload_id)  # how far another request has come in the meantime
        except NotThereError:
            return _answer(404, text="there is no such upload")
        offset = _number(request.headers.get("upload-offset"))
        if offset is None:
            return _answer(400, text="Upload-Offset is missing or no number")
        if offset != upload.offset:
            return _answer(409, _state(upload), f"Upload-Offset is {offset}, but {upload.offset} bytes are here")
        announced = _number(request.headers.get("content-length"))
        room = upload.length - offset
        if announced is not None and announced > room:
            return _answer(413, _state(upload), f"{announced} bytes are more than the {room} that are missing")
        path = self._uploads.data(upload_id)
        try:
            came_to_end = await _write(path, offset, room, body_pieces(request.receive, give_way))
        except OSError as error:
            return refused(write_failure(path, error))
        try:
            upload = self._uploads.get(upload_id)
        except NotThereError:
            return _answer(404, text="the upload was deleted")
        if upload.is_complete:
            self._on_complete()
        if not came_to_end:
            return _answer(413, _state(upload), "more bytes came than were announced")
        return _answer(204, _state(upload))


async def _write(path: os.PathLike[str], offset: int, room: int, pieces: AsyncIterator[bytes]) -> bool:
    """Append what comes, sync it, and say whether it was no more than there is room for."""
    handle = await asyncio.to_thread(os.open, path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        os.lseek(handle, offset, os.SEEK_SET)
        async for piece in pieces:
            await asyncio.to_thread(_write_all, handle, piece[:room])
            room -= len(piece)
            if room < 0:
                return False
        return True
    finally:
        await asyncio.shield(asyncio.to_thread(_sync_and_close, handle))


def _write_all(handle: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(handle, view) :]


def _sync_and_close(handle: int) -> None:
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def body_pieces(receive: Callable[[], Awaitable[object]], give_way: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield the body in large pieces, until it or the connection ends, it is silent for long, or another takes over."""
    gathered = bytearray()
    is_open = True
    taken = asyncio.ensure_future(give_way.wait())
    try:
        while is_open:
            coming = asyncio.ensure_future(receive())
            await asyncio.wait({coming, taken}, timeout=_SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                break
            message = coming.result()
            assert isinstance(message, dict)
            is_open = message["type"] == "http.request" and message.get("more_body", False)
            gathered += message.get("body", b"")
            if len(gathered) >= _BYTES_AT_ONCE:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)
    finally:
        taken.cancel()


def refused(error: VsrError) -> Response:
    """Return the answer that says why something was refused."""
    status = next((code for kind, code in _STATUS_OF.items() if isinstance(error, kind)), 500)
    return _answer(status, text=str(error))


def _wrong_version(request: Request) -> Response | None:
    if request.headers.get("tus-resumable") == VERSION:
        return None
    return _answer(412, {"Tus-Version": VERSION}, f"the header Tus-Resumable must be {VERSION}")


def _number(text: str | None) -> int | None:
    """Read a length; None: it is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def _metadata(text: str) -> dict[str, str]:
    """Read an Upload-Metadata header.

    Raises:
        UsageError: it cannot be read.
    """
    found = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise UsageError(f"Upload-Metadata: the value of {key[:40]!r} is no text in base64") from error
    return found


def _state(upload: Upload) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.offset)}
    if not upload.is_complete:
        headers["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)
    return headers


def _answer(status: int, headers: dict[str, str] | None = None, text: str = "") -> Response:
    all_headers = {"Tus-Resumable": VERSION, "Cache-Control": "no-store", **(headers or {})}
    if text:
        return PlainTextResponse(text + "\n", status, all_headers)
    return Response(status_code=status, headers=all_headers)
