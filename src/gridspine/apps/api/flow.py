"""Streams about one Thing: what a source has to tell, as server-sent events, WebSocket frames or the answer to a poll.

::

    source (properties, events) ─► Flow ─┬► event stream        until the client leaves, the right ends (``end`` says
                                         ├► WebSocket           why), or the node stops
                                         └► long poll           one message, then the next request

Source: WHATWG HTML, server-sent events (``id``, ``Last-Event-ID``); RFC 6455; RFC 6202 (long polling).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog
from litestar import WebSocket
from litestar.types import Receive, Scope, Send

from gridspine.apps.api.answer import JSON, Answer
from gridspine.apps.api.connection import send_answer
from gridspine.apps.api.safe import ALWAYS
from gridspine.apps.api.sending import SSE_HEADERS, Right, chunk, last_word, left, run_until_left
from gridspine.apps.node.node import Node

WATCH_S = 0.25
"""How often a stream asks whether its right still holds [s]."""
HEARTBEAT_TURNS = 60
_HARMLESS = {"node-stopping", "failed", "behind", "gone", "changed"}
log = structlog.get_logger(__name__)


class Message(NamedTuple):
    """What a stream tells: ``data`` is JSON, ``name`` the property or event it is about, ``id`` its place."""

    name: str
    data: bytes
    id: str
    headers: dict[str, str]


class Source(Protocol):
    """What there is to tell. ``wake`` is set when there may be more; ``over`` says why there will be none."""

    wake: asyncio.Event

    @property
    def over(self) -> str:
        """Why there will be no more, "" while there may be."""
        ...

    def take(self) -> list[Message]:
        """Return what there is to tell now."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Flow:
    """A source on its way to one client. ``place`` gives back the stream's place."""

    def __init__(self, node: Node, right: Right, source: Source, place: Callable[[], None]) -> None:
        self.source = source
        self.ended = ""
        self._node, self._right, self._place = node, right, place
        self._sending: asyncio.Future[None] | None = None
        self._turns = 0
        self._unwatch = node.gate.watch("", self.end)

    def end(self, reason: str) -> None:
        """End the stream now: a message that is on its way is abandoned."""
        if not self.ended:
            self.ended = reason
            self.source.wake.set()
            if self._sending is not None:
                self._sending.cancel()

    async def run(self, tell: Callable[[Message], Awaitable[None]], beat: Callable[[], Awaitable[None]]) -> None:
        """Tell each message until the stream ends."""
        watching = asyncio.ensure_future(self._watch())
        try:
            while not self.ended:
                self.source.wake.clear()
                for message in self.source.take():
                    if self._over() or not await self._unless_ended(tell(message)):
                        return
                if self.source.over:
                    self.end(self.source.over)
                elif self._turns >= HEARTBEAT_TURNS:
                    self._turns = 0
                    await self._unless_ended(beat())
                else:
                    await self.source.wake.wait()
        except Exception as error:
            log.exception("a stream failed", thing=self._right.thing.id, error=str(error))
            self.end("failed")
        finally:
            watching.cancel()

    async def first(self, wait_s: float) -> Message | None:
        """Return the next message; None when none comes within ``wait_s`` [s], or the stream ends before."""
        found: list[Message] = []

        async def keep(message: Message) -> None:
            found.append(message)
            self.ended = "told"

        async def nothing() -> None:
            return

        async def give_up() -> None:
            await self._node.clock.sleep(wait_s)
            self.end("waited")

        waiting = asyncio.ensure_future(give_up())
        try:
            await self.run(keep, nothing)
        finally:
            waiting.cancel()
        return found[0] if found else None

    def close(self) -> None:
        """Give everything back."""
        self._unwatch()
        self.source.close()
        self._place()

    @property
    def harmless(self) -> bool:
        """Whether what waits for the client may still be read."""
        return self.ended in _HARMLESS

    def last(self) -> bytes:
        """Return the end as JSON."""
        return msgspec.json.encode({"reason": self.ended})

    def _over(self) -> bool:
        if not self.ended and (reason := self._right.why_over()):
            self.end(reason)
        return bool(self.ended)

    async def _watch(self) -> None:
        while not self._over():
            await self._node.clock.sleep(WATCH_S)
            self._turns += 1
            if self._turns >= HEARTBEAT_TURNS:
                self.source.wake.set()

    async def _unless_ended(self, sending: Awaitable[None]) -> bool:
        task = self._sending = asyncio.ensure_future(sending)
        try:
            await task
        except asyncio.CancelledError:
            if not self.ended:
                raise
        finally:
            self._sending = None
        return not self.ended


class EventStream:
    """An ASGI application that is one server-sent event stream; with ``named`` each event has its message's name."""

    def __init__(self, flow: Flow, *, named: bool) -> None:
        self._flow, self._named = flow, named

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the stream until the client leaves or it ends."""
        flow = self._flow

        async def tell(message: Message) -> None:
            name = f"event: {message.name}\n" if self._named else ""
            await chunk(send, f"{name}id: {message.id}\ndata: ".encode() + message.data + b"\n\n")

        async def beat() -> None:
            await chunk(send, b": still here\n\n")

        try:
            await send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
            await chunk(send, b"retry: 2000\n\n")
            if await run_until_left(flow.run(tell, beat), left(receive)):
                end = chunk(send, b"event: end\ndata: " + flow.last() + b"\n\n", more=False)
                await last_word(end, scope, harmless=flow.harmless)
        finally:
            flow.close()


class Poll:
    """An ASGI application that answers with one message, or with 204 after ``wait_s`` [s].

    ``told`` is called with the message once it was sent: between two polls nothing is to be missed.
    """

    def __init__(self, flow: Flow, wait_s: float, told: Callable[[Message], None]) -> None:
        self._flow, self._wait_s, self._told = flow, wait_s, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for a message, and answer."""
        flow = self._flow
        found: list[Message] = []

        async def wait() -> None:
            if (message := await flow.first(self._wait_s)) is not None:
                found.append(message)

        try:
            if await run_until_left(wait(), left(receive)):
                if found:
                    await send_answer(Answer(200, found[0].data, JSON, found[0].headers), send)
                    self._told(found[0])
                else:
                    await send({"type": "http.response.start", "status": 204, "headers": ALWAYS})
                    await chunk(send, b"", more=False)
        finally:
            flow.close()


async def run_socket(flow: Flow, socket: WebSocket[Any, Any, Any]) -> None:
    """Send messages as text frames, ``{"name": …, "id": …, "data": …}``, until the client leaves or the stream ends."""

    async def tell(message: Message) -> None:
        frame = {"name": message.name, "id": message.id, "data": msgspec.Raw(message.data), **_told(message)}
        await socket.send_text(msgspec.json.encode(frame).decode())

    async def beat() -> None:
        """WebSockets are kept alive by the server's own pings."""

    async def gone() -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    try:
        await socket.accept()
        if await run_until_left(flow.run(tell, beat), gone()):
            await last_word(_closing(flow, socket), socket.scope, harmless=flow.harmless)
    finally:
        flow.close()


def _told(message: Message) -> dict[str, str]:
    return {name.removeprefix("Gridspine-").lower(): value for name, value in message.headers.items()}


async def _closing(flow: Flow, socket: WebSocket[Any, Any, Any]) -> None:
    await socket.send_text(flow.last().decode())
    await socket.close(code=1001 if flow.harmless else 1008, reason=flow.ended)
