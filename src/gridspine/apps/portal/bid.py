"""The page of bids: what was offered, by which registers it is settled, what it came to; accept, refuse, withdraw."""

from typing import Any, NamedTuple

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.bid import (
    BidView,
    Decide,
    LineView,
    RecordView,
    WithdrawBid,
    decide_bid,
    list_bids,
    settlement_view,
    withdraw_bid,
)
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import organisation_name, value_text
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import parse_rfc3339

SHOWN = 50
"""Bids shown at most, the newest."""
TONES = {
    "offered": "waiting", "accepted": "good", "running": "good", "awaiting-settlement": "waiting", "settled": "good",
    "unsettled": "bad", "refused": "bad", "withdrawn": "over", "lapsed": "over",
}  # fmt: skip


HOW = {
    "exact": "read at that time", "near": "read just before or after", "interpolated": "estimated from readings around",
}  # fmt: skip
"""How the value of a register at an instant is known."""


class Register(NamedTuple):
    """A register as it is shown: what it was at start and end, and how that is known."""

    name: str
    start: str
    end: str
    how: str


class BidCard(NamedTuple):
    """A bid as it is shown; times are µs since 1970."""

    bid: BidView
    tone: str
    meter: str
    sides: str
    energy: str
    baseline: str
    from_us: int
    until_us: int
    registers: list[Register]
    line: LineView | None
    verbs: tuple[str, ...]


@get("/portal/bids")
async def bids_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List the bids that the organisation made, or was made, with their settlement; for htmx only the list."""
    found = await list_bids.fn(request, node, "", SHOWN + 1, 0)
    return page(
        request, node, "parts/bids.html" if is_part(request) else "bids.html", current="bids",
        cards=[_card(node, one, request.user) for one in found[:SHOWN]], more=len(found) > SHOWN,
    )  # fmt: skip


@post("/portal/bids/{bid_id:str}/{verb:str}", status_code=200)
async def change_bid(
    request: PortalRequest, node: TheNode, bid_id: FromPath[str], verb: FromPath[str]
) -> Response[Any]:  # fmt: skip
    """Accept, refuse or withdraw a bid."""
    reason = (await form(request)).get("reason", "")
    if verb == "withdraw":
        await withdraw_bid.fn(request, node, bid_id, WithdrawBid(reason))
    elif verb == "accept":
        await decide_bid.fn(request, node, bid_id, Decide("accept", reason))
    elif verb == "refuse":
        await decide_bid.fn(request, node, bid_id, Decide("refuse", reason))
    else:
        raise Invalid("a bid is accepted, refused or withdrawn")
    return await bids_page.fn(request, node)  # type: ignore[no-any-return]


def _card(node: Node, one: BidView, caller: Caller) -> BidCard:
    kept = node.controls.bids.get(one.id, caller.organisation)
    found = settlement_view(node, kept)
    thing = node.things.roll.get(one.meter)
    bidder, buyer = (organisation_name(node, id_) for id_ in (one.organisation, one.buyer))
    return BidCard(
        one, TONES[one.status], thing.title if thing else one.meter, f"{bidder} offers {buyer}",
        value_text(one.energy_wh, "Wh"), value_text(one.baseline_wh, "Wh"), parse_rfc3339(one.from_),
        parse_rfc3339(one.until), _registers(one, found.records), found.lines[-1] if found.lines else None,
        _verbs(one, caller),
    )  # fmt: skip


def _registers(one: BidView, records: list[RecordView]) -> list[Register]:
    latest = {record.which: record for record in records}  # of each the last: it supersedes those before it
    shown = []
    for name in one.registers:
        at = {
            which: next((found for found in record.registers if found.point == name), None)
            for which, record in latest.items()
        }  # fmt: skip
        texts = [
            "–"
            if which not in latest
            else "missing"
            if at[which] is None
            else f"{at[which].value}\N{NO-BREAK SPACE}{at[which].unit}"  # type: ignore[union-attr]
            for which in ("start", "end")
        ]
        words = {
            HOW[found.method]
            for found in at.values()
            if found is not None
        }  # fmt: skip
        name = "Import" if name == one.registers[0] else "Export"
        shown.append(Register(name, texts[0], texts[1], ", ".join(sorted(words))))
    return shown if records else []


def _verbs(one: BidView, caller: Caller) -> tuple[str, ...]:
    if one.status != "offered" or not caller.roles & {"owner", "operator"}:
        return ()
    mine = ("withdraw",) if one.organisation == caller.organisation else ()
    return (("accept", "refuse") if one.buyer == caller.organisation else ()) + mine
