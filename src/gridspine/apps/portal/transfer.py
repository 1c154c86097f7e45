"""The page of transfers: Things offered to another organisation, and what others offer to this one."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.transfer import (
    Answer,
    NewTransfer,
    TransferView,
    answer_transfer,
    list_transfers,
    offer_transfer,
)
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import number_of, redirect_part
from gridspine.apps.portal.display import known_name, organisation_name
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import NotFound
from gridspine.things.thing import Thing

SHOWN = 50
"""Offers of each kind that are shown at most."""
_DAY_S = 86_400
TONES = {"offered": "waiting", "accepted": "good", "refused": "bad", "withdrawn": "over", "expired": "over"}


@get("/portal/transfers")
async def transfers_page(request: PortalRequest, node: TheNode, thing: FromQuery[str] = "") -> Response[Any]:
    """Show the offers that concern the organisation; ``thing`` is what the form that makes one begins with."""
    offers: Sequence[TransferView] = await list_transfers.fn(request, node)
    own = request.user.organisation
    standing = [one for one in offers if one.state == "offered"]
    sides = {one.to if one.from_ == own else one.from_ for one in offers}
    others = [one for one in node.identity.directory.organisations() if one.id != own]
    got = [one for one in standing if one.to == own]
    given = [one for one in standing if one.from_ == own]
    over = [one for one in offers if one.state != "offered"]
    return page(
        request, node, "parts/transfers.html" if is_part(request) else "transfers.html",
        current="transfers", got=got[:SHOWN], given=given[:SHOWN], over=over[:SHOWN], own=own, tones=TONES,
        more=max(0, len(got) - SHOWN) + max(0, len(given) - SHOWN), others=others,
        names={id_: organisation_name(node, id_) for id_ in sides}, models=_titles(node, offers, own),
        people={one.decided_by: known_name(node, request.user, one.decided_by) for one in over[:SHOWN]},
        thing=_offered(node, request.user, thing),
    )  # fmt: skip


@post("/portal/transfers", status_code=200)
async def offer(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Offer a Thing to another organisation."""
    fields = await form(request)
    life_s = round(number_of(fields.get("days", "") or "7", "Days") * _DAY_S)
    wanted = NewTransfer(fields.get("to", ""), fields.get("why", ""), life_s)
    await offer_transfer.fn(request, node, fields.get("thing", ""), wanted)
    return redirect_part("/portal/transfers")


@post("/portal/transfers/{transfer_id:str}/{verb:str}", status_code=200)
async def answer(
    request: PortalRequest, node: TheNode, transfer_id: FromPath[str], verb: FromPath[str]
) -> Response[Any]:
    """Accept an offer and go to the Thing; refuse it, or withdraw an own one."""
    fields = await form(request)
    decided = await answer_transfer.fn(request, node, transfer_id, verb, Answer(fields.get("why", "")))
    if decided.state == "accepted":
        return redirect_part("/portal/transfers")
    return await transfers_page.fn(request, node)  # type: ignore[no-any-return]


def _offered(node: Node, caller: Caller, id: str) -> Thing | None:
    """Return the Thing that the form begins with; None where it is not the caller's to offer."""
    try:
        thing = node.things.get(id[:300])
    except NotFound:
        return None
    return thing if node.authority.would_allow(caller, "thing.transfer", thing) else None


def _titles(node: Node, offers: Sequence[TransferView], organisation: str) -> dict[str, str]:
    """Return the titles of the models, as far as this organisation knows them."""
    known = {one.model: node.things.models.get(one.model, organisation) for one in offers}
    return {id_: model.title if model else id_ for id_, model in known.items()}
