"""Live delivery: server-sent events and WebSockets, from a cursor on, cut when the grant stops holding.

::

    event: readings   id: <cursor>   data: SenML JSON        (binary forms: base64 in SSE, frames in WebSockets)
    event: behind     you were too slow; reading on from the log, nothing is lost
    event: end        data: {"reason": "revoked", "cursor": …}

Source: WHATWG HTML, server-sent events (``id``, ``Last-Event-ID``); RFC 6455.
The cut: a send that is under way when the grant ends is abandoned, and nothing is handed to the socket after it.
"""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, WebSocket, get, websocket
from litestar.params import HeaderParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from gridspine.apps.api.negotiate import negotiated
from gridspine.apps.api.product import receiving
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Overloaded
from gridspine.sharing.cursor import format_cursor, parse_cursor
from gridspine.sharing.delivery import Subscription
from gridspine.sharing.grant import Grant
from gridspine.sharing.parcel import Format, Parcel
from gridspine.sharing.product import Product

HEARTBEAT_S = 15.0
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
SendBytes = Callable[[bytes], Awaitable[None]]


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
    node: Node,
    product_id: str,
    cursor: str = "",
    purpose: str = "",
    last_event_id: Annotated[str, HeaderParameter(name="Last-Event-ID")] = "",
) -> ASGIApp:
    """Open an event stream."""
    format_ = negotiated(request.headers.get("accept", "").replace("text/event-stream", "*/*"))
    product, grant = receiving(node, request, product_id, purpose)
    subscription = subscribe(node, product, grant, cursor or last_event_id)
    return EventStream(node, subscription, request.user, format_)


@websocket("/products/{product_id:str}/socket", name="Follow a data product by WebSocket")
async def socket_readings(socket: WebSocket[Any, Any, Any], node: Node, product_id: str) -> None:
    """Send readings as frames (text for JSON, binary else); the close reason says why it ended.

    ``cursor``, ``purpose`` and ``accept`` are query parameters.
    """
    query = socket.query_params
    format_ = negotiated(query.get("accept", ""))
    as_request: Any = socket  # both carry `user`
    product, grant = receiving(node, as_request, product_id, query.get("purpose", ""))
    subscription = subscribe(node, product, grant, query.get("cursor", ""))
    await socket.accept()
    await _Socket(node, subscription, socket, format_).run()


def subscribe(node: Node, product: Product, grant: Grant | None, cursor: str) -> Subscription:
    """Return a subscription from ``cursor`` (or from now) on; raise `Overloaded` when too many streams are open."""
    if node.hub.subscriptions >= node.settings.http.max_streams:
        raise Overloaded(f"{node.settings.http.max_streams} streams are open: try again later", retry_after_s=5)
    offsets = parse_cursor(cursor) if cursor else node.hub.next_offsets
    mask = node.access.mask(product)
    return Subscription(node.hub, node.log, node.gate, grant.id if grant else "", mask, offsets)


class _Pump:
    """Moves parcels of a subscription to a socket until one of them ends."""

    def __init__(self, node: Node, subscription: Subscription, caller: Caller, format_: Format) -> None:
        self.node = node
        self.subscription = subscription
        self._caller = caller
        self._format = format_

    async def pump(self, send: Callable[[Parcel, bytes], Awaitable[None]], beat: Callable[[], Awaitable[None]]) -> None:
        """Send each parcel; a cut abandons the send that is under way."""
        heartbeat = asyncio.ensure_future(self._heartbeats(beat))
        try:
            async for parcel in self.subscription.parcels():
                if not self.node.identity.holds(self._caller):
                    self.subscription.cut("signed-out")
                    break
                sending = asyncio.ensure_future(send(parcel, parcel.encoded(self._format)))
                self.subscription.on_cut = lambda task=sending: _cancel(task)
                try:
                    await sending
                except asyncio.CancelledError:
                    if self.subscription.end is None:
                        raise
                    break
                finally:
                    self.subscription.on_cut = None
                self.node.hub.delivered += len(parcel)
        finally:
            heartbeat.cancel()
            self.subscription.close()

    def ending(self) -> bytes:
        """Return what is said at the end, as JSON."""
        end = self.subscription.end
        reason = end.reason if end else "closed"
        return msgspec.json.encode({"reason": reason, "cursor": format_cursor(self.subscription.offsets)})

    async def _heartbeats(self, beat: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.node.clock.sleep(HEARTBEAT_S)
            if not self.node.identity.holds(self._caller):
                self.subscription.cut("signed-out")
            await beat()


class EventStream:
    """An ASGI application that is one server-sent event stream."""

    def __init__(self, node: Node, subscription: Subscription, caller: Caller, format_: Format) -> None:
        self._pump = _Pump(node, subscription, caller, format_)
        self._format = format_
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the stream until the client leaves or the subscription ends."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        cursor = format_cursor(self._pump.subscription.offsets)
        await _chunk(send, f"retry: 2000\nid: {cursor}\nevent: open\ndata: {{}}\n\n".encode())
        pumping = asyncio.ensure_future(self._run(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pumping, leaving):
                task.cancel()
            await asyncio.gather(pumping, leaving, return_exceptions=True)
            self._pump.subscription.close()

    async def _run(self, send: Send) -> None:
        async def parcel(parcel: Parcel, body: bytes) -> None:
            data = body if self._format == "json" else base64.b64encode(body)
            cursor = format_cursor(self._pump.subscription.offsets)
            async with self._lock:
                await _chunk(send, f"id: {cursor}\nevent: readings\ndata: ".encode() + data + b"\n\n")

        async def beat() -> None:
            async with self._lock:
                await _chunk(send, b": still here\n\n")

        await self._pump.pump(parcel, beat)
        with contextlib.suppress(OSError):
            await _chunk(send, b"event: end\ndata: " + self._pump.ending() + b"\n\n", more=False)


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
        pumping = asyncio.ensure_future(self._pump.pump(self._parcel, self._beat))
        leaving = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = pumping.done()
            for task in (pumping, leaving):
                task.cancel()
            await asyncio.gather(pumping, leaving, return_exceptions=True)
            self._pump.subscription.close()
        if ended:
            reason = self._pump.subscription.end.reason if self._pump.subscription.end else "closed"
            with contextlib.suppress(Exception):  # the client may be gone already
                await self._socket.send_text(self._pump.ending().decode())
                await self._socket.close(code=1008, reason=reason)

    async def _parcel(self, _: Parcel, body: bytes) -> None:
        if self._text:
            await self._socket.send_text(body.decode())
        else:
            await self._socket.send_bytes(body)

    async def _beat(self) -> None:
        """WebSockets are kept alive by the server's own pings."""

    async def _left(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return


def _cancel(task: "asyncio.Future[None]") -> None:
    task.cancel()


async def _chunk(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
