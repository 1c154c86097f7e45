"""Streams: what a source has to tell, as server-sent events, WebSocket frames or the answer to a poll.

::

    a product's subscription ────────────────────┐           ┌► event stream     until the client leaves, the right ends
                                                 ├► Flow ────┼► WebSocket        (``end`` says why), or the node stops
    news (properties, events) ─► NewsSource ─────┘           └► long poll        one message, then the next request

A message that is on its way when the right ends is abandoned, and none follows it. Each is told after the one before
has left: what waits for a slow client is the source's to bound.

Source: WHATWG HTML, server-sent events (``id``, ``Last-Event-ID``); RFC 6455; RFC 6202 (long polling).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from litestar import WebSocket
from litestar.types import Receive, Scope, Send

from gridspine.apps.api.answer import JSON, Answer
from gridspine.apps.api.connection import send_answer
from gridspine.apps.api.news import Message, Source
from gridspine.apps.api.safe import ALWAYS
from gridspine.apps.api.sending import SSE_HEADERS, Right, chunk, last_word, left, run_until_left
from gridspine.apps.node.node import Node
from gridspine.sharing.gate import STALE

WATCH_S = 0.25
"""How often a stream asks whether its right still holds [s]."""
HEARTBEAT_S = 15.0
_HARMLESS = {"node-stopping", "failed", "behind", "gone", "changed", "closed", "points-moved", STALE}
"""Ends after which the client may read on, what waits for it too."""
RETRY = b"retry: 2000\n"
log = structlog.get_logger(__name__)
Tell = Callable[[Message], Awaitable[None]]


def _no_place() -> None:
    """Give nothing back: a subscription counts itself."""


class Flow:
    """A source on its way to one client, for as long as ``right`` holds. ``place`` gives back the stream's place."""

    def __init__(self, node: Node, right: Right, source: Source, place: Callable[[], None] = _no_place) -> None:
        self.source = source
        self.ended = ""
        self._node, self._right, self._place = node, right, place
        self._alone = asyncio.Lock()
        self._sending: asyncio.Future[None] | None = None
        self._unwatch = node.gate.watch("", self.end)
        source.on_end = self.end

    def end(self, reason: str) -> None:
        """End the stream now: a message that is on its way is abandoned."""
        if not self.ended:
            self.ended = reason
            self.source.stop(reason)
            if self._sending is not None:
                self._sending.cancel()

    async def run(self, tell: Tell, beat: Callable[[], Awaitable[None]] | None = None) -> None:
        """Tell each message until the stream ends; ``beat`` is called again and again meanwhile."""
        watching = [asyncio.ensure_future(self._watch())]
        if beat is not None:
            watching.append(asyncio.ensure_future(self._beats(beat)))
        try:
            async with contextlib.aclosing(self.source.messages()) as messages:
                async for message in messages:
                    if self._over() or not await self._unless_ended(tell, message) or self.ended == "told":
                        return
                    # Once told it is asked on from, also after the end: so its source knows where the client stands.
            self.end(self.source.over or "closed")
        except Exception as error:
            log.exception("a stream failed", about=self._right.about, error=str(error))
            self.end("failed")
        finally:
            for task in watching:
                task.cancel()

    async def first(self, wait_s: float) -> Message | None:
        """Return the next message; None when none comes within ``wait_s`` [s], or the stream ends before."""
        found: list[Message] = []

        async def keep(message: Message) -> None:
            found.append(message)
            self.ended = "told"

        async def give_up() -> None:
            await self._node.clock.sleep(wait_s)
            self.end("waited")

        waiting = asyncio.ensure_future(give_up())
        try:
            await self.run(keep)
        finally:
            waiting.cancel()
        return found[0] if found else None

    def close(self) -> None:
        """Give everything back."""
        self._unwatch()
        self.source.on_end = None
        self.source.close()
        self._place()

    @property
    def harmless(self) -> bool:
        """Whether what waits for the client may still be read."""
        return self.ended in _HARMLESS

    def last(self) -> bytes:
        """Return the end as JSON."""
        return msgspec.json.encode(self.source.last(self.ended))

    def _over(self) -> bool:
        if not self.ended and (reason := self._right.why_over()):
            self.end(reason)
        return bool(self.ended)

    async def _watch(self) -> None:
        while not self._over():
            await self._node.clock.sleep(WATCH_S)

    async def _beats(self, beat: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._node.clock.sleep(HEARTBEAT_S)
            async with self._alone:
                await beat()

    async def _unless_ended(self, tell: Tell, message: Message) -> bool:
        """Wait until a message is told; return False when the stream ended before."""
        task = self._sending = asyncio.ensure_future(self._by_itself(tell, message))
        try:
            await task
        except asyncio.CancelledError:
            if not self.ended:
                raise
            return False
        finally:
            self._sending = None
        return True

    async def _by_itself(self, tell: Tell, message: Message) -> None:
        """Tell a message while no heartbeat is on its way."""
        async with self._alone:
            await tell(message)


class EventStream:
    """An ASGI application that is one server-sent event stream; with ``named`` each event has its message's name."""

    def __init__(self, flow: Flow, *, named: bool, opening: bytes = RETRY + b"\n") -> None:
        self._flow, self._named, self._opening = flow, named, opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the stream until the client leaves or it ends."""
        flow = self._flow

        async def tell(message: Message) -> None:
            place = f"id: {message.id}\n" if message.id else ""
            name = f"event: {message.name}\n" if self._named else ""
            await chunk(send, f"{place}{name}data: ".encode() + message.data + b"\n\n")

        async def beat() -> None:
            await chunk(send, b": still here\n\n")

        try:
            await send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
            await chunk(send, self._opening)
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


async def run_socket(flow: Flow, socket: WebSocket[Any, Any, Any], tell: Tell, *, harmless_code: int = 1001) -> None:
    """Accept a WebSocket, and ``tell`` it messages until the client leaves or the stream ends; it is kept alive by the
    server's own pings. ``harmless_code`` is the close code (RFC 6455, section 7.4) where the right has not ended.
    """

    async def gone() -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    async def close() -> None:
        await socket.send_text(flow.last().decode())
        await socket.close(code=harmless_code if flow.harmless else 1008, reason=flow.ended)

    try:
        await socket.accept()
        if await run_until_left(flow.run(tell), gone()):
            await last_word(close(), socket.scope, harmless=flow.harmless)
    finally:
        flow.close()
