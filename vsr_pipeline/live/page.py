"""The sink for browsers and players: MJPEG, and a small page with the views, pause and snapshots.

A bare ASGI application behind `Guard`, served by uvicorn in a thread. It keeps the newest frame only; a viewer that
reads slowly skips frames, and nobody waits for it.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs

import cv2
import jinja2
import numpy as np

from vsr_pipeline.errors import OutputError, UsageError
from vsr_pipeline.live.frames import Shown
from vsr_pipeline.live.meter import Meter
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.runtime.http import Access, Guard, Headers, Receive, Scope, Send, allowed_hosts
from vsr_pipeline.runtime.token_file import make_token

ALL = "all"
_ADDRESS = "127.0.0.1"
_JPEG_QUALITY = 90
_BOUNDARY = b"--frame\r\n"
_KIND_OF = {"live.css": "text/css", "live.js": "text/javascript"}
_FOLDER = Path(__file__).parent


def refuse_missing_server() -> None:
    """Refuse `--to http` where the web server is not installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec("uvicorn") is None:
        raise UsageError("--to http needs a web server: run `pip install 'vsr-pipeline[serve]'`, or give another sink")


class Viewer:
    """One reader of the stream."""

    def __init__(self, view: str) -> None:
        self.view = view
        self.changed = asyncio.Event()
        self.is_gone = False


class PageSink:
    """Shows frames on a page at 127.0.0.1.

    Args:
        port: 0 is any that is free.
        source: where the frames come from, for people.
        views: names of the views, in their order.
        meter: counts frames that a viewer was too slow for.

    Raises:
        OutputError: the port is taken.
    """

    name = "http"
    idle_seconds: float | None = None

    def __init__(self, port: int, source: str, views: tuple[str, ...], meter: Meter) -> None:
        self._source, self._views, self._meter = source, views, meter
        self._access = Access(make_token(), allowed_hosts())
        self._shown: Shown | None = None
        self._jpegs: Mapping[str, bytes] = {}
        self._version = 0
        self._is_paused = False
        self._state: Mapping[str, object] = {}
        self._viewers: set[Viewer] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = _listening(port)
        self._serve()

    @property
    def url(self) -> str:
        """What opens the page, token and all."""
        return f"http://{_ADDRESS}:{self._socket.getsockname()[1]}/?token={self._access.token}"

    def write(self, shown: Shown) -> bool:
        """Make a frame the newest one, and encode it for those who look at it."""
        if self._is_paused:
            if not shown.is_stalled:
                self._meter.dropped("paused")
            return False
        wanted = {viewer.view for viewer in tuple(self._viewers)}
        self._shown, self._jpegs = shown, {view: self._jpeg(shown, view) for view in wanted}
        self._version += 1
        self._wake_soon()
        return True

    def idle(self) -> None:
        """Do nothing."""

    def tell(self, state: Mapping[str, object]) -> None:
        """Let the page say what was measured."""
        self._state = state

    def close(self) -> None:
        """End the server; viewers are cut off."""
        for viewer in tuple(self._viewers):
            viewer.is_gone = True
        self._wake_soon()
        self._server.should_exit = True
        self._thread.join(timeout=1.5)
        self._socket.close()

    def _serve(self) -> None:
        import uvicorn  # of the extra `serve`

        config = uvicorn.Config(
            Guard(self._answer, self._access),
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,  # it would have the token
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="page", daemon=True
        )
        self._thread.start()

    def _wake_soon(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for viewer in self._viewers:
            viewer.changed.set()

    def _picture(self, shown: Shown, view: str) -> Pixels:
        return shown.picture if view == ALL else shown.views[self._views.index(view)]

    def _jpeg(self, shown: Shown, view: str) -> bytes:
        return _encoded(".jpg", self._picture(shown, view), (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        path = scope["path"].removeprefix("/")
        view = parse_qs(scope["query_string"].decode("latin-1")).get("view", [ALL])[0]
        if view not in (ALL, *self._views):
            await _send(send, 404, b"there is no such view\n")
        elif scope["method"] == "POST" and path in ("pause", "resume"):
            self._is_paused = path == "pause"
            await _send(send, 303, b"", headers=[(b"location", f"./?view={view}".encode())])
        elif scope["method"] not in ("GET", "HEAD"):
            await _send(send, 405, b"only GET\n")
        elif path == "":
            await _send(send, 200, self._page(view).encode(), "text/html; charset=utf-8")
        elif path in _KIND_OF:
            await _send(send, 200, (_FOLDER / path).read_bytes(), f"{_KIND_OF[path]}; charset=utf-8")
        elif path == "favicon.ico":
            await _send(send, 204, b"")
        elif path == "state.json":
            state = {**self._state, "paused": self._is_paused}
            await _send(send, 200, json.dumps(state).encode(), "application/json")
        elif path == "snapshot.png":
            await self._send_snapshot(send, view)
        elif path == "stream.mjpg":
            await self._send_stream(receive, send, view)
        else:
            await _send(send, 404, b"there is nothing here\n")

    def _page(self, view: str) -> str:
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True)
        return environment.get_template("live.html.jinja").render(
            source=self._source, views=self._views, view=view, is_paused=self._is_paused, all=ALL
        )

    async def _send_snapshot(self, send: Send, view: str) -> None:
        shown = self._shown
        if shown is None:
            await _send(send, 503, b"there is no frame yet\n")
            return
        png = await asyncio.to_thread(_encoded, ".png", self._picture(shown, view), ())
        name = f"attachment; filename=snapshot_{shown.number:06d}.png"
        await _send(send, 200, png, "image/png", [(b"content-disposition", name.encode())])

    async def _send_stream(self, receive: Receive, send: Send, view: str) -> None:
        viewer = Viewer(view)
        self._viewers.add(viewer)
        watching = asyncio.create_task(_until_gone(receive, viewer))
        try:
            kind = [(b"content-type", b"multipart/x-mixed-replace; boundary=frame")]
            await send({"type": "http.response.start", "status": 200, "headers": kind})
            await send({"type": "http.response.body", "body": _BOUNDARY, "more_body": True})
            sent = -1
            while not viewer.is_gone:
                shown, version, jpeg = self._shown, self._version, self._jpegs.get(view)
                if shown is not None and version != sent:
                    self._meter.dropped("slow viewer", max(0, version - sent - 1) if sent >= 0 else 0)
                    sent = version
                    if jpeg is None:
                        jpeg = await asyncio.to_thread(self._jpeg, shown, view)
                    await send({"type": "http.response.body", "body": _part(shown, jpeg), "more_body": True})
                    continue
                await viewer.changed.wait()
                viewer.changed.clear()
        finally:
            self._viewers.discard(viewer)
            watching.cancel()


async def _until_gone(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.is_gone = True
    viewer.changed.set()


def _part(shown: Shown, jpeg: bytes) -> bytes:
    """Return a part of the stream; the boundary comes at its end, for browsers show a part when they see that."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\nX-Frame: {shown.number}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n" + _BOUNDARY


def _encoded(suffix: str, pixels: Pixels, options: Iterable[int]) -> bytes:
    data: np.ndarray = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), tuple(options))[1]
    return data.tobytes()


async def _send(
    send: Send, status: int, body: bytes, kind: str = "text/plain; charset=utf-8", headers: Headers = ()
) -> None:
    own = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})


def _listening(port: int) -> socket.socket:
    """Return a socket that listens on this machine only.

    Raises:
        OutputError: the port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((_ADDRESS, port))
        listening.listen()  # who comes before the server is ready waits
    except OSError as error:
        listening.close()
        raise OutputError(f"--to http:{port}: {error.strerror}; give another port, or 0 for any") from error
    return listening
