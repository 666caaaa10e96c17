"""Running the application: uvicorn, closed to slow clients, giant headers, and more connections than it can hold."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vsr_pipeline.errors import OutputError, UsageError
from vsr_pipeline.runtime.http import Application

HEADER_SECONDS = 15.0
"""A client may take so long to send the headers of a request."""
HEADER_BYTES = 32 * 1024
MOST_CONNECTIONS = 400
_CLOSING_SECONDS = 3


class Protocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, but a connection that does not get on with its headers is closed."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn's transports
        """Begin to wait for the headers of the first request."""
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Go on with the request, or begin to wait for the rest of its headers."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_headers()
        elif self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEADER_SECONDS, self.transport.close)


def listening_socket(address: str, port: int) -> socket.socket:
    """Open the socket that the server listens on.

    Raises:
        UsageError: there is no such address here.
        OutputError: another program listens there, or only the system may.
    """
    try:
        found = socket.getaddrinfo(address.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise UsageError(f"--listen {address}: {error.strerror}; give an address of this machine") from error
    family, kind, protocol, _, place = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
    except OSError as error:
        opened.close()
        raise OutputError(f"cannot listen on {address} port {port}: {error.strerror}; give another --port") from error
    return opened


class Server(uvicorn.Server):
    """A server that says when it answers.

    It serves until a signal comes, which then goes on to whoever handled it before.

    Args:
        application: what answers.
        on_started: called when requests are answered.
    """

    def __init__(self, application: Application, on_started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=Protocol,
                ws="none",
                lifespan="on",
                access_log=False,  # URLs may hold the token
                log_level="warning",
                server_header=False,
                h11_max_incomplete_event_size=HEADER_BYTES,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=_CLOSING_SECONDS,
            )
        )
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._on_started()
