"""Live delivery: server-sent events and WebSockets, from a cursor on, cut when the grant stops holding.

::

    event: readings   id: <cursor>   data: SenML JSON (binary forms: base64)
    event: behind     data: {"cursor": …}    you were too slow; reading on from the log, nothing is lost
    event: end        data: {"reason": "revoked", "cursor": …}

    WebSocket: frames of readings (text for SenML JSON, an array; binary else), each followed by a text frame
    {"cursor": …}; {"behind": true, "cursor": …} and {"reason": …, "cursor": …} as above. Objects are never readings.

Source: WHATWG HTML, server-sent events (``id``, ``Last-Event-ID``); RFC 6455.
The cut: a send that waits when the grant ends is abandoned, and no readings are handed to the socket after it. A
client that does not read is not waited for: its connection is reset, with what lies in its buffers. So is, at once, one
whose right has ended while much waits for it (`gridspine.apps.api.sending`): it would go on reading for a while.
"""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, WebSocket, get, websocket
from litestar.params import FromPath, FromQuery, HeaderParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.negotiate import negotiated
from gridspine.apps.api.product import receiving
from gridspine.apps.api.sending import SSE_HEADERS, check_room, chunk, last_word, left, run_until_left
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.sharing.cursor import format_cursor, parse_cursor
from gridspine.sharing.delivery import Subscription, check_place
from gridspine.sharing.gate import STALE
from gridspine.sharing.grant import Grant
from gridspine.sharing.parcel import Format, Parcel
from gridspine.sharing.product import Product

HEARTBEAT_S = 15.0
WATCH_S = 0.25
"""How often a stream asks whether its caller is still let in."""
_HARMLESS = {"node-stopping", "failed", "gone", "closed", "points-moved", STALE}
"""Ends after which the client may read on, what waits for it too."""
log = structlog.get_logger(__name__)


@get(
    "/products/{product_id:str}/stream",
    summary="Follow a data product live",
    description=(
        "Server-sent events. Goes on after `Last-Event-ID` or `cursor`; from now without either. Needs a grant; the "
        "last event, `end`, names the reason when it stops holding."
    ),
    media_type="text/event-stream",
    tags=["sharing"],
)
async def stream_readings(
    request: Request[Any, Any, Any],
    node: TheNode,
    product_id: FromPath[str],
    cursor: FromQuery[str] = "",
    purpose: FromQuery[str] = "",
    last_event_id: Annotated[str, HeaderParameter(name="Last-Event-ID")] = "",
) -> ASGIApp:
    """Open an event stream."""
    format_ = negotiated(request.headers.get("accept", "").replace("text/event-stream", "*/*"))
    product, grant = receiving(node, request, product_id, purpose)
    # A browser that reconnects asks with the same URL: its Last-Event-ID is the newer one.
    subscription = await subscribe(node, request.user, product, grant, last_event_id or cursor)
    return EventStream(node, subscription, request.user, format_)


@websocket("/products/{product_id:str}/socket", name="Follow a data product by WebSocket")
async def socket_readings(socket: WebSocket[Any, Any, Any], node: TheNode, product_id: FromPath[str]) -> None:
    """Send readings as frames (text for JSON, binary else), each followed by a text frame `{"cursor": …}`.

    ``cursor``, ``purpose`` and ``accept`` are query parameters. The last frame and the close reason say why it ended.
    """
    query = socket.query_params
    format_ = negotiated(query.get("accept", ""))
    as_request: Any = socket  # both carry `user`
    product, grant = receiving(node, as_request, product_id, query.get("purpose", ""))
    subscription = await subscribe(node, socket.user, product, grant, query.get("cursor", ""))
    try:
        await socket.accept()
        await _Socket(node, subscription, socket, format_).run()
    finally:
        subscription.close()


async def subscribe(node: Node, caller: Caller, product: Product, grant: Grant | None, cursor: str) -> Subscription:
    """Return a subscription from ``cursor`` (or from now) on.

    Raises `Overloaded` when too many streams are open, `Gone` or `Invalid` for a cursor that leads nowhere.
    """
    offsets = parse_cursor(cursor) if cursor else node.hub.next_offsets
    await asyncio.to_thread(check_place, node.log, offsets)
    check_room(node, caller)
    mask = node.access.mask(product)
    grant_id = grant.id if grant else ""
    return Subscription(node.hub, node.log, node.gate, grant_id, mask, offsets, caller.principal)


class _Pump:
    """Moves parcels of a subscription to a socket until one of them ends."""

    def __init__(self, node: Node, subscription: Subscription, caller: Caller, format_: Format) -> None:
        self.node = node
        self.subscription = subscription
        self.sent = subscription.offsets
        """The cursor after what was handed to the socket."""
        self._caller = caller
        self._format = format_

    async def pump(
        self,
        send: Callable[[Parcel, bytes], Awaitable[None]],
        tell_behind: Callable[[], Awaitable[None]],
        beat: Callable[[], Awaitable[None]],
    ) -> None:
        """Send each parcel; a cut abandons the send that is under way."""
        watching = [asyncio.ensure_future(self._watch()), asyncio.ensure_future(self._beats(beat))]
        told = 0
        try:
            async with contextlib.aclosing(self.subscription.parcels()) as parcels:
                async for parcel in parcels:
                    if not self._holds():
                        break
                    if self.subscription.behind > told:
                        told = self.subscription.behind
                        if not await self._unless_cut(tell_behind()) or self.subscription.end:
                            break
                    if not await self._unless_cut(send(parcel, parcel.encoded(self._format))):
                        break
                    self.sent = self.subscription.offsets
                    self.node.hub.delivered += len(parcel)
        except Exception as error:
            log.exception("a stream failed", product=self.subscription.mask.product, error=str(error))
            self.subscription.cut("failed")
        finally:
            for task in watching:
                task.cancel()
            self.subscription.close()

    def ending(self) -> bytes:
        """Return what is said at the end, as JSON; its cursor stands after the last readings that were sent."""
        end = self.subscription.end
        return msgspec.json.encode({"reason": end.reason if end else "closed", "cursor": format_cursor(self.sent)})

    @property
    def harmless(self) -> bool:
        """Whether the client may read on after the end, what waits for it too."""
        return self.subscription.end is None or self.subscription.end.reason in _HARMLESS

    async def _unless_cut(self, sending: Awaitable[None]) -> bool:
        """Wait for a send; return False when a cut ended it."""
        task = asyncio.ensure_future(sending)
        self.subscription.on_cut = lambda: _cancel(task)
        try:
            await task
        except asyncio.CancelledError:
            if self.subscription.end is None:
                raise
            return False
        finally:
            self.subscription.on_cut = None
        return True

    def _holds(self) -> bool:
        if not self.node.identity.holds(self._caller):
            self.subscription.cut("signed-out")
        return self.subscription.end is None

    async def _watch(self) -> None:
        while self._holds():
            await self.node.clock.sleep(WATCH_S)

    async def _beats(self, beat: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.node.clock.sleep(HEARTBEAT_S)
            await beat()


class EventStream:
    """An ASGI application that is one server-sent event stream."""

    def __init__(self, node: Node, subscription: Subscription, caller: Caller, format_: Format) -> None:
        self._pump = _Pump(node, subscription, caller, format_)
        self._format = format_
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the stream until the client leaves or the subscription ends."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
            cursor = format_cursor(self._pump.subscription.offsets)
            await chunk(send, f"retry: 2000\nid: {cursor}\nevent: open\ndata: {{}}\n\n".encode())
            if await run_until_left(self._run(send), left(receive)):
                last = b"event: end\ndata: " + self._pump.ending() + b"\n\n"
                await last_word(chunk(send, last, more=False), scope, harmless=self._pump.harmless)
        finally:
            self._pump.subscription.close()

    async def _run(self, send: Send) -> None:
        async def parcel(parcel: Parcel, body: bytes) -> None:
            data = body if self._format == "json" else base64.b64encode(body)
            cursor = format_cursor(self._pump.subscription.offsets)
            async with self._lock:
                await chunk(send, f"id: {cursor}\nevent: readings\ndata: ".encode() + data + b"\n\n")

        async def behind() -> None:
            cursor = format_cursor(self._pump.sent)
            async with self._lock:
                await chunk(send, f'event: behind\ndata: {{"cursor":"{cursor}"}}\n\n'.encode())

        async def beat() -> None:
            async with self._lock:
                await chunk(send, b": still here\n\n")

        await self._pump.pump(parcel, behind, beat)


class _Socket:
    """One WebSocket's delivery."""

    def __init__(
        self, node: Node, subscription: Subscription, socket: WebSocket[Any, Any, Any], format_: Format
    ) -> None:
        self._pump = _Pump(node, subscription, socket.user, format_)
        self._socket = socket
        self._text = format_ == "json"

    async def run(self) -> None:
        """Send until the client leaves or the subscription ends."""
        if await run_until_left(self._pump.pump(self._parcel, self._behind, self._beat), self._left()):
            await last_word(self._end(), self._socket.scope, harmless=self._pump.harmless)

    async def _parcel(self, _: Parcel, body: bytes) -> None:
        cursor = format_cursor(self._pump.subscription.offsets)
        if self._text:
            await self._socket.send_text(body.decode())
        else:
            await self._socket.send_bytes(body)
        await self._say({"cursor": cursor})

    async def _behind(self) -> None:
        await self._say({"behind": True, "cursor": format_cursor(self._pump.sent)})

    async def _end(self) -> None:
        end = self._pump.subscription.end
        await self._socket.send_text(self._pump.ending().decode())
        await self._socket.close(code=1008, reason=end.reason if end else "closed")

    async def _say(self, words: dict[str, Any]) -> None:
        await self._socket.send_text(msgspec.json.encode(words).decode())

    async def _beat(self) -> None:
        """WebSockets are kept alive by the server's own pings."""

    async def _left(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return


def _cancel(task: "asyncio.Future[None]") -> None:
    task.cancel()
