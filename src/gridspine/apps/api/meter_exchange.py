"""The exchange of a meter: both meters' readings are kept."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.kernel.time import format_rfc3339, parse_rfc3339
from gridspine.things.meter_exchange import Exchange


class NewExchange(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A meter was exchanged ``at`` (RFC 3339): serials, and for each register the old meter's ``final`` reading and the
    new one's ``first``, by the point's name, in the point's unit.
    """

    at: str
    old_serial: str
    new_serial: str
    final: dict[str, float]
    first: dict[str, float]
    why: str


class ExchangeView(msgspec.Struct, frozen=True, rename="camel"):
    """An exchange of a meter."""

    at: str
    old_serial: str
    new_serial: str
    final: dict[str, float]
    first: dict[str, float]
    by: str
    why: str
    event: str


@get("/things/{thing_id:str}/meter-exchanges", summary="List exchanges of a meter", tags=["lifecycle"])
async def list_exchanges(request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> list[ExchangeView]:
    """List when a Thing's meter was exchanged, the oldest first."""
    thing = permitted(node, request, thing_id, "thing.read")
    return [_exchange_view(one) for one in (await node.lives.exchanges(thing)).list]


@post("/things/{thing_id:str}/meter-exchanges", summary="Note the exchange of a meter", tags=["lifecycle"])
async def exchange_meter(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[NewExchange]
) -> ExchangeView:
    """Keep both meters' readings: sums go on across the exchange, and no energy seems to flow back."""
    thing = permitted(node, request, thing_id, "thing.manage")
    exchange = Exchange(
        at_us=parse_rfc3339(data.at), old_serial=data.old_serial, new_serial=data.new_serial, final=data.final,
        first=data.first, by=request.user.principal, why=data.why,
    )  # fmt: skip
    kept = await node.lives.exchange_meter(thing, exchange)
    node.controls.settlement.changed(thing.id)
    return _exchange_view(kept)


def _exchange_view(one: Exchange) -> ExchangeView:
    return ExchangeView(
        format_rfc3339(one.at_us), one.old_serial, one.new_serial, one.final, one.first, one.by, one.why, one.event
    )
