"""How large the body of a request may be, and how long its client may be silent."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from vsr_pipeline.runtime.http import Application, Receive, Scope, Send

SMALL_BODY_BYTES = 256 * 1024
_SILENT_SECONDS = 60.0


class BodyLimits:
    """A layer around an ASGI application: 413 for a body that is too large, and no waiting for a client that is gone.

    Args:
        application: what answers.
        larger: bytes for the beginnings of paths that may have more than a form; None: the route limits it.
    """

    def __init__(self, application: Application, larger: Mapping[str, int | None]) -> None:
        self._application = application
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        limit = self._limit(scope["path"]) if scope["type"] == "http" else None
        if limit is None:
            await self._application(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if int(announced) > limit:
            await _refuse(send, limit)
            return
        received = 0
        is_answered = is_refused = False

        async def receiving() -> MutableMapping[str, Any]:
            nonlocal received
            try:
                message = await asyncio.wait_for(receive(), None if is_answered else _SILENT_SECONDS)
            except TimeoutError:
                return {"type": "http.disconnect"}
            received += len(message.get("body", b""))
            return {"type": "http.disconnect"} if received > limit else message

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal is_answered, is_refused
            if received > limit and not is_answered:
                is_answered = is_refused = True
                await _refuse(send, limit)  # whatever the application says to a body that it did not get
            is_answered = True
            if not is_refused:
                await send(message)

        await self._application(scope, receiving, sending)

    def _limit(self, path: str) -> int | None:
        return next((size for start, size in self._larger.items() if path.startswith(start)), SMALL_BODY_BYTES)


async def _refuse(send: Send, limit: int) -> None:
    body = f"the request is larger than {limit} bytes\n".encode()
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
