"""``POST /readings``: readings in by HTTP, in five forms, with an answer for each item."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, post
from litestar.types import HTTPScope, Receive

from gridspine.apps.api.answer import Answer, json_answer
from gridspine.apps.api.body import decompress, read_body
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.problems import response
from gridspine.apps.node.node import Node
from gridspine.apps.node.submission import ACTIONS, Submission, submission
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.codecs.arrow import decode_arrow
from gridspine.kernel.codecs.arrow_frame import Frames
from gridspine.kernel.codecs.rows import decode_csv, decode_ndjson
from gridspine.kernel.codecs.senml import decode_senml_cbor, decode_senml_json
from gridspine.kernel.errors import Invalid, TooLarge, UnsupportedMedia
from gridspine.kernel.readings import Channel, NamedReadings
from gridspine.things.adapter import Outcome

ARROW = "application/vnd.apache.arrow.stream"
Decode = Callable[[bytes, int, int], NamedReadings]
DECODERS: dict[str, Decode] = {
    "application/senml+json": lambda body, now_us, most: decode_senml_json(body, now_us=now_us, max_items=most),
    "application/json": lambda body, now_us, most: decode_senml_json(body, now_us=now_us, max_items=most),
    "application/senml+cbor": lambda body, now_us, most: decode_senml_cbor(body, now_us=now_us, max_items=most),
    "application/x-ndjson": lambda body, _, most: decode_ndjson(body, max_items=most),
    "text/csv": lambda body, _, most: decode_csv(body, max_items=most),
    ARROW: lambda body, _, most: decode_arrow(body, max_items=most),
}
"""Content type → decoder of (body, now [µs], most items)."""
CHANNELS = {"": Channel.REPORTED, **{one.name.lower(): one for one in ACTIONS}}
"""What the header ``Channel`` may say."""
_CBOR = "application/senml+cbor"
_MAX_CBOR_BYTES = 8 << 20
"""A byte of CBOR can be an object of 60: larger bodies are for Arrow."""
AT_ONCE_BYTES = 64 << 10
"""Bodies up to this size are decoded on the event loop; larger ones would keep grants and commands waiting."""


@post(
    "/readings",
    status_code=200,
    summary="Send readings",
    description=(
        "Body: SenML JSON or CBOR, NDJSON, CSV or an Arrow IPC stream, by Content-Type; gzip and zstd are taken. "
        "Header `Backfill: true` declares history; `Channel: planned` or `Channel: emulated` says that nothing of it "
        "was reported. The answer comes when the accepted readings are durable; "
        "received = accepted + suppressed + duplicate + refused, and `problems` names each refused item."
    ),
    tags=["readings"],
)
async def send_readings(request: Request[Any, Any, Any], node: TheNode) -> Response[bytes]:
    """Take readings in."""
    return response(await take_readings(node, request.user, request.scope, request.receive))


async def take_readings(node: Node, caller: Caller, scope: HTTPScope, receive: Receive) -> Answer:
    """Take the readings in a request's body in as ``caller``; return what became of them."""
    sending = sending_of(node, caller, scope)
    body = await read_body(_header(scope, b"content-length"), receive, sending.limit)
    if sending.is_read_at_once(len(body)):
        readings = sending.read(body)
    else:
        readings = await asyncio.to_thread(sending.read, body)
    return json_answer(await node.meter.timed("http", sending.hand_in(readings)))


@dataclass(frozen=True, slots=True)
class Sending:
    """Readings that ``caller`` may send by ``right``, as a request's head says: how they are written, and what for."""

    node: Node
    caller: Caller
    right: Submission
    channel: Channel
    backfill: bool
    kind: str
    encoding: str
    limit: int
    """Bytes that the body may have."""

    def is_read_at_once(self, size: int) -> bool:
        """Whether a body of ``size`` bytes is decoded on the event loop."""
        return size <= AT_ONCE_BYTES and not self.encoding

    def read(self, body: bytes, frames: Frames | None = None) -> NamedReadings:
        """Return the readings in ``body``; raise `Invalid`, `TooLarge`, `UnsupportedMedia`. Blocks.

        ``frames`` are for the event loop's thread only.
        """
        most = self.node.settings.http.max_items
        plain = decompress(body, self.encoding, self.limit)
        if self.kind == ARROW:
            return decode_arrow(plain, max_items=most, frames=frames)
        return DECODERS[self.kind](plain, self.node.clock.now_us(), most)

    def hand_in(self, readings: NamedReadings) -> asyncio.Future[Outcome]:
        """Hand the readings in; what is returned says what became of them, once that is durable."""
        most = self.node.settings.http.max_items
        if readings.received > most:
            raise TooLarge(f"at most {most} readings at once: send several smaller requests")
        self.node.quotas.readings(self.caller.principal, readings.received)
        right = self.right
        return self.node.intake.hand_in(
            readings, right.source, channel=self.channel, backfill=self.backfill, only=right.only
        )


def sending_of(node: Node, caller: Caller, scope: HTTPScope) -> Sending:
    """Return what ``caller`` may send as the head of a request says; nothing of its body is needed for that.

    Raises `UnsupportedMedia`, `Invalid`, `Forbidden`.
    """
    kind = _header(scope, b"content-type").partition(";")[0].strip().lower()
    if kind not in DECODERS:
        raise UnsupportedMedia(f"{kind[:80] or 'no content type'} is not taken; send one of: {', '.join(DECODERS)}")
    channel = CHANNELS.get(_header(scope, b"channel").strip().lower())
    if channel is None:
        raise Invalid("Channel: reported, planned or emulated; what is commanded, leases say")
    right = submission(node, caller, channel)
    backfill = _header(scope, b"backfill").strip().lower() in {"true", "1", "?1", "yes"}
    limit = node.settings.http.max_body_bytes
    if kind == _CBOR:
        limit = min(limit, _MAX_CBOR_BYTES)
    encoding = _header(scope, b"content-encoding")
    return Sending(node, caller, right, channel, backfill, kind, encoding, limit)


def _header(scope: HTTPScope, name: bytes) -> str:
    return next((value.decode("latin-1") for known, value in scope["headers"] if known == name), "")
