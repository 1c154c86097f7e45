"""One HTTP/1.1 connection: uvicorn's protocol, with what it lacks.

::

    bytes ─► one buffer for all ─► parser ─┬► fast lane: answered at once              (`gridspine.apps.api.lane`)
                                           ├► fast lane: let in by its head, then its body is taken
                                           └► the application, as a task

* It tells the application the client's certificate, and lets it reset a connection whose client has stopped reading.
* It ends who is too slow with a head, a body or the next request, and bounds heads and what waits behind a request.
* It reads into a buffer that is there already: making a new one for every read was most of a small request's cost.
"""

import asyncio
import contextlib
import fcntl
import math
import socket
import struct
import termios
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from litestar.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from gridspine.apps.api.answer import Answer, problem
from gridspine.apps.api.tls import CERTIFICATE_KEY
from gridspine.kernel.errors import GridspineError, Invalid, RequestTimeout, Unavailable

MAX_HEAD_BYTES = 64 << 10
"""Bytes of a request's head (or of a chunk's, or of trailers) that may wait to be complete: nobody is known yet."""
MAX_WAITING = 64
"""Requests that may wait behind the one that is being answered (pipelining)."""
HEAD_S = 30.0
"""Seconds [s] a request's head may take to arrive, from the connection or its first byte on."""
BODY_S = 30.0
"""Seconds [s] a body may stand still, or be behind `BODY_BYTES_PER_S`."""
BODY_BYTES_PER_S = 4 << 10
IDLE_S = 65.0
"""Seconds [s] a connection is kept for the next request."""

Lane = Callable[[bytes, Scope], Answer | None]
"""Answers a GET request without a body (its target as sent, and its scope), or leaves it to the application."""


class Taking(Protocol):
    """A POST whose head was let in: what becomes of its body."""

    def take(self, body: bytes) -> asyncio.Future[Any]:
        """Begin with the whole body; what this raises is the answer too."""
        ...

    def answer(self, done: asyncio.Future[Any]) -> Answer:
        """Return the answer when what was begun is done."""
        ...

    def failed(self, error: Exception) -> Answer:
        """Return the answer when it could not be begun."""
        ...


PostLane = Callable[[bytes, Scope], Taking | Answer | None]
"""Lets a POST in by its head (its target as sent, and its scope), answers it, or leaves it to the application."""

_TRANSPORT_KEY, _SOCKET_KEY = "connection_transport", "connection_socket"
_LINGER_NOT = struct.pack("ii", 1, 0)
READ_BYTES = 256 << 10
"""Bytes taken from a connection at once at most; what of a head came together with other things is not counted."""
_BUFFER = memoryview(bytearray(READ_BYTES))
"""Where every read of every connection ends up; it is parsed before the next one."""


class _Unwaited:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Wake nobody."""


_UNWAITED = _Unwaited()


class PostCycle:
    """A POST of the fast lane, from its head to its answer; has what uvicorn's protocol wants to know of a request.

    ``done`` stands among the requests at work until it is answered, or its client has left.
    """

    __slots__ = (
        "disconnected", "done", "keep_alive", "message_event", "more_body", "pieces", "response_complete",
        "response_started", "taking",
    )  # fmt: skip

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.taking: Taking | None = None
        self.pieces: list[bytes] = []
        self.message_event = _UNWAITED
        self.keep_alive = self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False


class Connection(HttpToolsProtocol, asyncio.BufferedProtocol):
    """An HTTP/1.1 connection. ``lane`` and ``posts`` take some requests; with ``max_tasks`` at work none is begun."""

    cycle: Any
    """The newest request: uvicorn's cycle, or a `PostCycle`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        lane: Lane | None = None,
        posts: PostLane | None = None,
        max_tasks: int = 1 << 30,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._lane, self._posts, self._max_tasks = lane, posts, max_tasks
        self.lost = lost
        """Called once, when the connection is lost."""
        self._in_lane = False
        self._head_bytes = 0
        self._due_s = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read the certificate once a connection: TLS is already done when this is called."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        # Requests and upgraded WebSockets both get a copy of this mapping; it must not be shared between connections.
        raw = transport.get_extra_info("socket")
        self.app_state = {**self.app_state, CERTIFICATE_KEY: der, _TRANSPORT_KEY: transport, _SOCKET_KEY: raw}
        self._due_s = self.loop.time() + HEAD_S

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the connection's place back."""
        super().connection_lost(exc)
        if isinstance(self.cycle, PostCycle) and self.cycle.more_body:  # the rest of its body will not come
            self._off(self.cycle)
        self.lost()

    def end_if_slow(self, now_s: float) -> None:
        """End the connection when what it waits for is overdue at ``now_s`` [s, of the loop]."""
        if now_s < self._due_s or self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is we who are slow
            self._due_s = now_s + BODY_S
        elif self._body_expected and not self.cycle.response_started:
            self._refuse(RequestTimeout("the body came too slowly: send it again, in smaller pieces"))
        else:
            self.transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(_BUFFER[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Count what the parser holds back: all but bodies, until what it belongs to is complete."""
        self._head_bytes += len(data)
        super().data_received(data)  # type: ignore[arg-type]
        if self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"A request's head has at most {MAX_HEAD_BYTES} bytes.")
        elif len(self.pipeline) > MAX_WAITING:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._due_s = self.loop.time() + HEAD_S

    def on_headers_complete(self) -> None:
        """The head is complete: answer at once, or start a task."""
        self._head_bytes = 0
        self._unset_keepalive_if_required()  # what was answered since these bytes came has set it
        self._in_lane = self._lane is not None and self._is_usual(b"GET") and self._answered(self._lane)
        if self._in_lane:
            return
        self._due_s = self.loop.time() + BODY_S
        if self._posts is not None and self._is_usual(b"POST") and self._let_in(self._posts):
            return
        self.app = _busy if len(self.tasks) >= self._max_tasks else self.config.loaded_app
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body: counted, and bounded, where it is read."""
        self._head_bytes = 0
        self._due_s = min(self._due_s + len(body) / BODY_BYTES_PER_S, self.loop.time() + BODY_S)
        cycle = self.cycle
        if not isinstance(cycle, PostCycle):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.pieces.append(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._head_bytes = 0
        answered = self._in_lane or (self.cycle is not None and self.cycle.response_complete)  # refused by its head
        self._due_s = self.loop.time() + IDLE_S if answered else math.inf
        if isinstance(self.cycle, PostCycle) and self.cycle.more_body:
            self.cycle.more_body = False
            if not answered and not self.cycle.disconnected:
                self._take(self.cycle)
        elif not self._in_lane:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless one waits already."""
        super().on_response_complete()
        if self._due_s == math.inf and self.cycle.response_complete:
            self._due_s = self.loop.time() + IDLE_S

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection on, with its place."""
        super().handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        if isinstance(protocol, Socket):
            protocol.lost = self.lost

    def send_400_response(self, msg: str) -> None:
        """Say that this is not HTTP, and end the connection."""
        self._refuse(Invalid(msg))

    @property
    def _body_expected(self) -> bool:
        return self.cycle is not None and self.cycle.more_body

    def _is_usual(self, method: bytes) -> bool:
        """Whether the request is one of ``method`` that nothing stands before."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_method() == method
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
        )

    def _answered(self, lane: Lane) -> bool:
        answer = lane(self.url, self.scope)  # type: ignore[arg-type]
        if answer is None:
            return False
        self._write(answer)
        self.server_state.total_requests += 1
        return True

    def _let_in(self, lane: PostLane) -> bool:
        """Let a POST in by its head, or answer it; False where it is the application's, or too much is at work."""
        if len(self.tasks) >= self._max_tasks:
            return False
        found = lane(self.url, self.scope)  # type: ignore[arg-type]
        if found is None:
            return False
        cycle = PostCycle(self.loop.create_future())
        self.cycle = cycle
        self.tasks.add(cycle.done)  # type: ignore[arg-type]
        if isinstance(found, Answer):
            self._answer(cycle, found)
        else:
            cycle.taking = found
        return True

    def _take(self, cycle: PostCycle) -> None:
        """Take a body that is complete."""
        assert cycle.taking is not None
        try:
            began = cycle.taking.take(b"".join(cycle.pieces))
        except Exception as error:
            self._answer(cycle, cycle.taking.failed(error))
            return
        cycle.pieces.clear()
        began.add_done_callback(partial(self._taken, cycle))

    def _taken(self, cycle: PostCycle, done: asyncio.Future[Any]) -> None:
        assert cycle.taking is not None
        self._answer(cycle, cycle.taking.answer(done))

    def _answer(self, cycle: PostCycle, answer: Answer) -> None:
        """Answer a POST, and go on with what waits behind it."""
        cycle.response_started = cycle.response_complete = True
        self._off(cycle)
        if cycle.disconnected or self.transport.is_closing():
            return
        self._write(answer, close=not cycle.keep_alive)
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _off(self, cycle: PostCycle) -> None:
        """Take a POST out of the requests at work."""
        self.tasks.discard(cycle.done)
        if not cycle.done.done():
            cycle.done.set_result(None)

    def _refuse(self, error: GridspineError) -> None:
        """End the connection with an answer, unless one has begun already."""
        if self.cycle is None or self.cycle.response_complete:
            self._write(problem(error), close=True)
        elif self._body_expected and not self.cycle.response_started and not self.pipeline:
            self.cycle.disconnected = True  # the application's own answer comes too late
            self.cycle.message_event.set()
            self._write(problem(error), close=True)
        self.transport.close()

    def _write(self, answer: Answer, *, close: bool = False) -> None:
        parts = [STATUS_LINE[answer.status]]
        for name, value in (*self.server_state.default_headers, *answer.raw_headers()):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"connection: close\r\n\r\n" if close else b"\r\n", answer.body)
        self.transport.write(b"".join(parts))


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket: what an HTTP/1.1 connection became."""

    lost: Callable[[], None] = staticmethod(lambda: None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the connection's place back."""
        super().connection_lost(exc)
        self.lost()


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for the application when too many requests are at work."""
    error = Unavailable("too many requests are at work: try again soon", headers={"Retry-After": "1"})
    await send_answer(problem(error), send)


async def send_answer(answer: Answer, send: Send) -> None:
    """Send an answer from an ASGI application."""
    start = {"type": "http.response.start", "status": answer.status, "headers": answer.raw_headers()}
    await send(start)  # type: ignore[arg-type]
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def waiting_bytes(scope: Scope) -> int:
    """Return how much the client has not taken yet: what waits in this process, and in the kernel for its word."""
    return unsent_bytes(scope.get("state") or {})


def reset_connection(scope: Scope) -> None:
    """End the connection at once: what waits in its buffers is thrown away, not sent."""
    reset(scope.get("state") or {})


def unsent_bytes(state: Mapping[str, Any]) -> int:
    """Return what waits for the client of the connection whose ``app_state`` this is."""
    transport = state.get(_TRANSPORT_KEY)
    if transport is None:
        return 0
    unsent = array("i", [0])
    try:
        raw, waiting = transport.get_extra_info("socket"), int(transport.get_write_buffer_size())
    except AttributeError:  # see `reset`
        raw, waiting = state[_SOCKET_KEY], 0
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):  # closed already
        fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, unsent)
    return waiting + unsent[0]


def reset(state: Mapping[str, Any]) -> None:
    """End the connection whose ``app_state`` this is at once: what waits is thrown away, not sent."""
    transport = state.get(_TRANSPORT_KEY)
    if transport is None:
        return
    try:
        raw, end = transport.get_extra_info("socket"), transport.abort
    except AttributeError:
        # asyncio's over TLS, closed twice, has let go of its connection: the loop is to read that it has ended. (The
        # socket is asked of the transport otherwise: uvloop's is a number, which may be another connection's by then.)
        raw, end = state[_SOCKET_KEY], partial(state[_SOCKET_KEY].shutdown, socket.SHUT_RDWR)
    with contextlib.suppress(OSError):  # closed already
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        end()
