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
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, WebSocket, get, websocket
from litestar.params import FromPath, FromQuery, HeaderParameter
from litestar.types import ASGIApp

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.flow import RETRY, EventStream, Flow, run_socket
from gridspine.apps.api.negotiate import negotiated
from gridspine.apps.api.news import Message
from gridspine.apps.api.product import receiving
from gridspine.apps.api.sending import SignedIn, check_room
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.infra.log.topics import READINGS
from gridspine.sharing.cursor import format_cursor, parse_cursor
from gridspine.sharing.delivery import Subscription, check_place
from gridspine.sharing.grant import Grant
from gridspine.sharing.parcel import Parcel
from gridspine.sharing.product import Product

BEHIND = "behind"


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

    def encode(parcel: Parcel) -> bytes:
        body = parcel.encoded(format_)
        return body if format_ == "json" else base64.b64encode(body)

    begin = f"id: {format_cursor(subscription.offsets)}\nevent: open\ndata: {{}}\n\n".encode()
    return EventStream(_flow(node, request.user, subscription, encode), named=True, opening=RETRY + begin)


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
    flow = _flow(node, socket.user, subscription, lambda parcel: parcel.encoded(format_))

    async def tell(message: Message) -> None:
        if message.name == BEHIND:
            words = {"behind": True} | msgspec.json.decode(message.data)
        else:
            words = {"cursor": message.id}
            await (socket.send_text(message.data.decode()) if format_ == "json" else socket.send_bytes(message.data))
        await socket.send_text(msgspec.json.encode(words).decode())

    await run_socket(flow, socket, tell, harmless_code=1008)


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


class Parcels:
    """A subscription as the source of a flow; ``encode`` makes the data of its messages."""

    def __init__(self, node: Node, subscription: Subscription, encode: Callable[[Parcel], bytes]) -> None:
        self.on_end: Callable[[str], None] | None = None
        self.sent = subscription.offsets
        """The cursor after what was handed to the socket."""
        self._node, self._subscription, self._encode = node, subscription, encode
        subscription.on_cut = self._cut

    @property
    def over(self) -> str:
        """Why there will be no more, "" while there may be."""
        return self._subscription.end.reason if self._subscription.end else ""

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Yield readings, and before those that were read from the log again because the client was slow, that."""
        behind = 0
        async with contextlib.aclosing(self._subscription.parcels()) as parcels:
            async for parcel in parcels:
                if self._subscription.behind > behind:
                    behind = self._subscription.behind
                    yield Message(BEHIND, msgspec.json.encode({"cursor": format_cursor(self.sent)}), "", {})
                offsets = self._subscription.offsets
                yield Message(READINGS, self._encode(parcel), format_cursor(offsets), {})
                self.sent = offsets
                self._node.hub.delivered += len(parcel)

    def stop(self, reason: str) -> None:
        """Hand out nothing more."""
        self._subscription.cut(reason)

    def last(self, reason: str) -> dict[str, str]:
        """Return what is said at the end; its cursor stands after the last readings that were sent."""
        return {"reason": reason, "cursor": format_cursor(self.sent)}

    def close(self) -> None:
        """Leave hub and gate."""
        self._subscription.close()

    def _cut(self) -> None:
        if self.on_end is not None:
            self.on_end(self.over)


def _flow(node: Node, caller: Caller, subscription: Subscription, encode: Callable[[Parcel], bytes]) -> Flow:
    right = SignedIn(node, caller, f"product {subscription.mask.product}")
    return Flow(node, right, Parcels(node, subscription, encode))
