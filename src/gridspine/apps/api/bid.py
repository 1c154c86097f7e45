"""Bids: energy less or more at a meter in a time, for a price; decided, and settled from the meter's registers.

::

    GET  /bids · POST /bids                     those that the organisation made, or was made
    GET  /bids/{id}
    POST /bids/{id}/decision                    accept or refuse, by who runs the programme, before it begins
    POST /bids/{id}/withdraw                    by who made it, while nobody decided
    GET  /bids/{id}/settlement                  register records and lines, each with the event that its receipt is of
"""

from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.versioned import PAGE, Limit, Offset, rfc3339, tagged
from gridspine.apps.node.bids import event_id
from gridspine.apps.node.node import Node
from gridspine.energy.bid import Bid, Direction, Estimate, Status
from gridspine.energy.register_record import Method, RegisterReading, RegisterRecord, Which
from gridspine.energy.settlement_line import Outcome, SettlementLine
from gridspine.kernel.errors import NotFound
from gridspine.kernel.quality import describe
from gridspine.kernel.time import format_rfc3339, parse_rfc3339

AnyRequest = Request[Any, Any, Any]


class NewBid(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A bid to whoever runs ``programme``, for ``[from, until)`` (RFC 3339).

    ``energy_wh`` [Wh] is to be shed, or raised, against ``baseline_wh`` [Wh, import positive], which the bid declares.
    ``meter`` is an own Thing with registers of energy; it, or its site, is enrolled in the programme. ``price`` is a
    decimal number per kWh, as text, in ``currency``, which has ``minor_digits`` digits after the point. Registers are
    read at most ``tolerance_s`` [s] beside an instant; one that is missing is waited for ``wait_s`` [s], and with
    ``estimate`` *interpolate* it is then estimated from the readings next to it, none further away than that.
    """

    title: str
    programme: str
    meter: str
    from_: str = msgspec.field(name="from")
    until: str
    direction: Direction
    energy_wh: int
    baseline_wh: int
    price: str
    currency: str
    minor_digits: int = 2
    tolerance_s: int = 10
    wait_s: int = 900
    estimate: Estimate = "none"
    event: str = ""


class BidView(NewBid, frozen=True, kw_only=True, rename="camel"):
    """A bid as it is kept: who made it and to whom, by which registers it is settled, how it stands.

    ``outcome`` and ``amount`` are those of its last settlement line, null before there is one.
    """

    id: str
    organisation: str
    buyer: str
    registers: tuple[str, ...]
    status: Status | Literal["settled", "unsettled"]
    outcome: Outcome | None
    amount: str | None
    offered: str
    decided: str | None
    decided_by: str
    reason: str
    version: int


class Decide(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Accept or refuse, and why."""

    decision: Literal["accept", "refuse"]
    reason: str = ""


class WithdrawBid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: str = ""


class RegisterView(msgspec.Struct, frozen=True, rename="camel"):
    """A register at an instant: an exact decimal in ``unit``, when it was observed, its quality in words.

    ``method``: a reading of just then, the nearest one, or a value on the line between two.
    """

    point: str
    unit: str
    value: str
    observed: str
    quality: list[str]
    method: Method
    estimated: bool


class RecordView(msgspec.Struct, frozen=True, rename="camel"):
    """What is known of a meter's registers at the bid's start or end; ``event`` is what its receipt is asked for by."""

    id: str
    which: Which
    at: str
    registers: list[RegisterView]
    missing: tuple[str, ...]
    number: int
    supersedes: str
    kept: str
    event: str


class LineView(msgspec.Struct, frozen=True, rename="camel"):
    """What a bid comes to. Energies are exact decimals [Wh]; ``amount_minor`` counts minor units of the currency."""

    id: str
    outcome: Outcome
    reason: str
    start: str
    end: str
    import_wh: str
    export_wh: str
    baseline_wh: int
    delivered_wh: str
    paid_wh: str
    price: str
    amount_minor: int
    amount: str
    quality: list[str]
    exchanges: list[str]
    number: int
    supersedes: str
    made: str
    event: str


class SettlementView(msgspec.Struct, frozen=True, rename="camel"):
    """The settlement of a bid: the last line stands. ``event`` is that of the bid as it was accepted."""

    bid: str
    event: str
    records: list[RecordView]
    lines: list[LineView]


@get("/bids", summary="List bids", tags=["bids"])
async def list_bids(
    request: AnyRequest, node: TheNode, programme: FromQuery[str] = "", limit: Limit = PAGE, offset: Offset = 0
) -> list[BidView]:
    """List the bids that the caller's organisation made, or was made, the newest first."""
    caller = request.user
    node.authority.on_organisation(caller, "bid.read", caller.organisation)
    seen = [one for one in node.controls.bids.seen_by(caller.organisation) if programme in {"", one.programme}]
    return [bid_view(node, one) for one in seen[offset : offset + limit]]


@post(
    "/bids", summary="Make a bid", tags=["bids"],
    responses={201: ResponseSpec(BidView, generate_examples=False, description="The bid")},
)  # fmt: skip
async def offer_bid(request: AnyRequest, node: TheNode, data: JSONBody[NewBid]) -> Response[bytes]:
    """Make a bid; it binds once it is accepted. Who bids lets the buyer see the registers at its start and end."""
    caller = request.user
    node.authority.on_organisation(caller, "bid.offer", caller.organisation)
    taken = set(NewBid.__struct_fields__) - {"from_", "until"}
    bid = Bid(
        id="", organisation=caller.organisation, buyer="", import_register="", from_us=parse_rfc3339(data.from_),
        until_us=parse_rfc3339(data.until), **{name: getattr(data, name) for name in taken},
    )  # fmt: skip
    made = await node.controls.bids.offer(bid, caller.principal)
    return tagged(bid_view(node, made), made.version, 201, f"/bids/{made.id}")


@get(
    "/bids/{bid_id:str}", summary="Read one bid", tags=["bids"],
    responses={200: ResponseSpec(BidView, generate_examples=False, description="The bid")},
)  # fmt: skip
async def read_bid(request: AnyRequest, node: TheNode, bid_id: FromPath[str]) -> Response[bytes]:
    """Return a bid."""
    found = _known(node, request, bid_id, "bid.read")
    return tagged(bid_view(node, found), found.version)


@post("/bids/{bid_id:str}/decision", status_code=200, summary="Accept or refuse a bid", tags=["bids"])
async def decide_bid(request: AnyRequest, node: TheNode, bid_id: FromPath[str], data: JSONBody[Decide]) -> BidView:
    """Accept a bid, its baseline and its price with it, or refuse it. 409 where it was decided, or has begun."""
    found = _known(node, request, bid_id, "bid.decide")
    if found.buyer != request.user.organisation:
        raise NotFound("there is no such bid for you to decide")
    decided = await node.controls.settlement.decide(found, data.decision, request.user.principal, data.reason)
    return bid_view(node, decided)


@post("/bids/{bid_id:str}/withdraw", status_code=200, summary="Withdraw a bid", tags=["bids"])
async def withdraw_bid(
    request: AnyRequest, node: TheNode, bid_id: FromPath[str], data: JSONBody[WithdrawBid | None] = None
) -> BidView:
    """Take an own bid back while nobody has decided it."""
    found = _known(node, request, bid_id, "bid.offer")
    if found.organisation != request.user.organisation:
        raise NotFound("there is no such bid for you to withdraw")
    reason = data.reason if data else ""
    return bid_view(node, await node.controls.settlement.decide(found, "withdraw", request.user.principal, reason))


@get("/bids/{bid_id:str}/settlement", summary="How a bid was settled", tags=["bids"])
async def read_settlement(request: AnyRequest, node: TheNode, bid_id: FromPath[str]) -> SettlementView:
    """Return the register records and settlement lines of a bid; a later line supersedes those before it."""
    return settlement_view(node, _known(node, request, bid_id, "bid.read"))


def settlement_view(node: Node, bid: Bid) -> SettlementView:
    """Return how a bid was settled."""
    bids = node.controls.bids
    records = [*bids.records(bid.id, "start"), *bids.records(bid.id, "end")]
    event = event_id("bid.accepted", bid) if bid.state == "accepted" else ""
    return SettlementView(bid.id, event, [_record(one) for one in records], [_line(one) for one in bids.lines(bid.id)])


def bid_view(node: Node, one: Bid) -> BidView:
    """Return a bid as it is shown."""
    lines = node.controls.bids.lines(one.id)
    taken = set(NewBid.__struct_fields__) - {"from_", "until"}
    return BidView(
        **{name: getattr(one, name) for name in taken}, id=one.id, organisation=one.organisation, buyer=one.buyer,
        from_=format_rfc3339(one.from_us), until=format_rfc3339(one.until_us), registers=one.registers,
        status=_status(one, lines, node.clock.now_us()), outcome=lines[-1].outcome if lines else None,
        amount=lines[-1].amount if lines else None, offered=format_rfc3339(one.created_us),
        decided=rfc3339(one.decided_us), decided_by=one.decided_by, reason=one.reason, version=one.version,
    )  # fmt: skip


def _status(one: Bid, lines: list[SettlementLine], now_us: int) -> Status | Literal["settled", "unsettled"]:
    if not lines:
        return one.status(now_us)
    return "unsettled" if lines[-1].outcome == "unsettled" else "settled"


def _known(node: Node, request: AnyRequest, id: str, action: str) -> Bid:
    caller = request.user
    node.authority.on_organisation(caller, action, caller.organisation)
    return node.controls.bids.get(id, caller.organisation)


def _record(one: RegisterRecord) -> RecordView:
    return RecordView(
        one.id, one.which, format_rfc3339(one.at_us), [_register(reading) for reading in one.readings], one.missing,
        one.number, one.supersedes, format_rfc3339(one.kept_us), event_id("register-record.kept", one),
    )  # fmt: skip


def _register(one: RegisterReading) -> RegisterView:
    return RegisterView(
        one.point, one.unit, one.value, format_rfc3339(one.observed_us), describe(one.quality), one.method,
        one.estimated,
    )  # fmt: skip


def _line(one: SettlementLine) -> LineView:
    return LineView(
        id=one.id, outcome=one.outcome, reason=one.reason, start=one.start, end=one.end, import_wh=one.import_wh,
        export_wh=one.export_wh, baseline_wh=one.baseline_wh, delivered_wh=one.delivered_wh, paid_wh=one.paid_wh,
        price=one.price, amount_minor=one.amount_minor, amount=one.amount, quality=describe(one.quality),
        exchanges=[exchange.event for exchange in one.exchanges], number=one.number, supersedes=one.supersedes,
        made=format_rfc3339(one.made_us), event=event_id("settlement-line.made", one),
    )  # fmt: skip
