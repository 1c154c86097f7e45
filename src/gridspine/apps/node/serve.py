"""The node's web servers: plain HTTP on loopback, and mutual TLS where the settings say so.

::

    listening socket ─► a seat? ─► (TLS) ─► `Connection` ─► fast lane, application
                           └ none: 503; with TLS closed at once

uvicorn's connections, but not its server: that one wakes ten times a second, and takes any number of connections.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from gridspine.apps.api.answer import problem
from gridspine.apps.api.connection import IDLE_S, Connection, Lane, PostLane, Socket, reset, unsent_bytes
from gridspine.apps.node.seats import Seats
from gridspine.infra.runtime.settings import Http
from gridspine.kernel.errors import Unavailable

HANDSHAKE_S = 10.0
"""Seconds [s] a TLS handshake may take."""
UNREAD_S = 60.0
"""Seconds [s] in which a client takes some of what waits for it."""
_SEND_BUFFER_BYTES = 256 << 10
"""Room a stalled reader may take in the kernel; what it holds can still be read after a cut."""
_LOOK_S, _LOOK_SOON_S = 0.5, 0.05
_PAUSE_S = 0.2
_STOP_S, _LAST_S = 5.0, 1.0
_TLS_SHUTDOWN_S = 5.0
_BACKLOG, _AT_ONCE = 1024, 64
log = structlog.get_logger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; the port is known before the node is composed, and 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, for asyncio sends at once (TCP_NODELAY) only on sockets that say so: answers would wait 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise Unavailable(
            f"{host}:{port} cannot be listened on: {error.strerror}; end what holds it, or choose another port"
        ) from error
    return sock


class Listening:
    """A running server: takes connections until `stop`, and ends those whose clients are too slow."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, seats: Seats, make: Any) -> None:
        self.port: int = sock.getsockname()[1]
        self.state = ServerState()
        """Its open connections, and its requests at work."""
        self._sock, self._context, self._seats = sock, context, seats
        self._make = partial(make, server_state=self.state)
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._one_left = asyncio.Event()
        self._unread: dict[Any, tuple[int, float]] = {}
        self._look_timer: asyncio.TimerHandle | None = None
        sock.listen(_BACKLOG)
        self._loop.add_reader(sock, self._accept)

    async def stop(self) -> None:
        """Take no more connections, let requests end, close."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()
        for arriving in self._arriving:
            arriving.cancel()
        if self._arriving:
            await asyncio.wait(set(self._arriving))
        self._shut(Connection)
        await self._wait_for_tasks()  # streams say their last word
        self._shut(Connection, Socket)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                while self.state.connections:
                    self._end_idle()
                    self._one_left.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_SOON_S):
                            await self._one_left.wait()
        for connection in list(self.state.connections):
            reset(connection.app_state)
        await self._wait_for_tasks()
        for task in self.state.tasks:
            task.cancel()
        if self._look_timer is not None:
            self._look_timer.cancel()

    def cut(self) -> None:
        """Cut every connection, answered or not."""
        for connection in list(self.state.connections):
            reset(connection.app_state)

    def _shut(self, *kinds: type) -> None:
        """Close idle connections of these kinds, and the others once they are answered."""
        for connection in list(self.state.connections):
            if isinstance(connection, kinds) and not connection.transport.is_closing():
                connection.shutdown()

    def _end_idle(self) -> None:
        """End connections that are closed and have nothing to say: over TLS an idle client may never answer that."""
        for connection in list(self.state.connections):
            if connection.transport.is_closing() and not unsent_bytes(connection.app_state):
                connection.transport.abort()

    async def _wait_for_tasks(self) -> None:
        if self.state.tasks:
            await asyncio.wait(set(self.state.tasks), timeout=_LAST_S)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file descriptors or no memory: both come back
                log.warning("connections have to wait", error=str(error), pause_s=_PAUSE_S)
                self._loop.remove_reader(self._sock)
                self._loop.call_later(_PAUSE_S, self._accept_again)
                return
            self._admit(sock, address[0])

    def _accept_again(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _admit(self, sock: socket.socket, address: str) -> None:
        sock.setblocking(False)
        leave = self._seats.take(address)
        if leave is None:
            with contextlib.suppress(OSError):
                if self._context is None:  # else nothing could be understood before a handshake
                    sock.send(_FULL)
                    sock.shutdown(socket.SHUT_WR)
            sock.close()
            return
        if self._look_timer is None:
            self._look()
        task = self._loop.create_task(self._arrive(sock, leave))
        self._arriving.add(task)
        task.add_done_callback(partial(self._arrived, sock, leave))

    async def _arrive(self, sock: socket.socket, leave: Callable[[], None]) -> None:
        """Make the connection; with TLS that takes a handshake."""
        secure = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": _TLS_SHUTDOWN_S}
        options: dict[str, Any] = {"ssl": self._context, **secure} if self._context else {}
        await self._loop.connect_accepted_socket(partial(self._make, lost=partial(self._left, leave)), sock, **options)

    def _arrived(self, sock: socket.socket, leave: Callable[[], None], task: asyncio.Task[None]) -> None:
        """Take the seat back when no connection was made.

        Not in the task: one that is cancelled before its first step runs not a line of it.
        """
        self._arriving.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            return
        leave()
        sock.close()
        if isinstance(error, OSError):
            log.debug("a connection was not made", error=str(error))
        elif error is not None:
            log.error("a connection was not made", exc_info=error)

    def _left(self, leave: Callable[[], None]) -> None:
        leave()
        self._one_left.set()

    def _look(self) -> None:
        """Look after the connections, twice a second while there are any."""
        now_s = self._loop.time()
        self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        unread = {}
        for connection in list(self.state.connections):
            if isinstance(connection, Connection):
                connection.end_if_slow(now_s)
            if connection.transport.is_closing():  # asyncio's has no buffer any more
                continue
            waiting = connection.transport.get_write_buffer_size()
            known = self._unread.get(connection, (0, now_s))
            if waiting:
                unread[connection] = known if known[0] == waiting else (waiting, now_s)
                if now_s - unread[connection][1] > UNREAD_S:
                    reset(connection.app_state)
        self._unread = unread
        busy = self.state.connections or self._arriving or self._look_timer is None
        self._look_timer = self._loop.call_later(_LOOK_S, self._look) if busy else None


async def serve(
    app: Any,
    sock: socket.socket,
    context: ssl.SSLContext | None = None,
    *,
    http: Http | None = None,
    seats: Seats | None = None,
    lane: Lane | None = None,
    posts: PostLane | None = None,
) -> Listening:
    """Serve ``app`` on ``sock``, within the bounds of ``http``; ``seats`` may be shared by several servers."""
    http = http or Http()
    config = uvicorn.Config(
        app,
        http=Connection,
        ws=Socket,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=round(IDLE_S),
        ws_max_size=1 << 20,
    )
    config.load()
    seats = seats or Seats(http.max_connections, http.max_connections_of_one)
    make = partial(Connection, config, app_state={}, lane=lane, posts=posts, max_tasks=http.max_requests)
    return Listening(sock, context, seats, make)


def _full() -> bytes:
    """Return the whole answer to a client for whom there is no seat."""
    error = Unavailable("too many connections are open: try again later", headers={"Retry-After": "5"})
    answer = problem(error)
    lines = [name + b": " + value + b"\r\n" for name, value in answer.raw_headers()]
    return b"".join([STATUS_LINE[answer.status], *lines, b"connection: close\r\n\r\n", answer.body])


_FULL = _full()
