"""Transfers: a Thing offered to another organisation, accepted, refused or withdrawn."""

from typing import Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.time import format_rfc3339
from gridspine.things.transfer import Transfer

_WEEK_S = 7 * 86_400


class NewTransfer(msgspec.Struct, frozen=True, rename={"life_s": "lifeS"}, forbid_unknown_fields=True):
    """An offer: ``to`` is the id of the organisation that shall have the Thing; it stands for ``lifeS`` [s]."""

    to: str
    why: str
    life_s: int = _WEEK_S


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    why: str = ""


class TransferView(msgspec.Struct, frozen=True, rename={"from_": "from", "decided_by": "decidedBy"}):
    """A transfer: ``state`` is offered, accepted, refused, withdrawn or expired."""

    id: str
    thing: str
    title: str
    model: str
    from_: str
    to: str
    state: str
    why: str
    offered: str
    expires: str
    decided_by: str
    because: str


@get("/transfers", summary="List transfers", tags=["lifecycle"])
async def list_transfers(request: Request[Any, Any, Any], node: TheNode) -> list[TransferView]:
    """List what the caller's organisation offered, and what was offered to it, the newest first."""
    node.authority.on_own(request.user, "thing.transfer")
    found = await node.lives.transfers.of(request.user.organisation)
    return [transfer_view(node, one) for one in found]


@post("/things/{thing_id:str}/transfers", summary="Offer a Thing to another organisation", tags=["lifecycle"])
async def offer_transfer(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[NewTransfer]
) -> TransferView:
    """Offer a Thing; it stays as it is until an owner of the other organisation accepts."""
    thing = permitted(node, request, thing_id, "thing.transfer")
    if thing.retired:
        raise Invalid("the Thing is retired: there is nothing to hand over")
    if all(known.id != data.to for known in node.identity.directory.organisations()):
        raise Invalid("to: there is no such organisation at this node")
    offer = node.lives.transfers.offer
    made = await offer(thing, data.to, by=request.user.principal, why=data.why, life_s=data.life_s)
    return transfer_view(node, made)


@post(
    "/transfers/{transfer_id:str}/{verb:str}",
    status_code=200,
    summary="Answer an offer",
    description="`verb` is accept or refuse (by the organisation it was made to), or withdraw (by the one that made "
    "it). With acceptance leases end, the Thing's devices and their credentials speak for it no more, and it is to be "
    "provisioned anew; what was read before stays the old owner's.",
    tags=["lifecycle"],
)
async def answer_transfer(
    request: Request[Any, Any, Any],
    node: TheNode,
    transfer_id: FromPath[str],
    verb: FromPath[str],
    data: JSONBody[Answer],
) -> TransferView:
    """Accept, refuse or withdraw."""
    caller, lives = request.user, node.lives
    node.authority.on_own(caller, "thing.transfer")
    offer = await lives.transfers.get(transfer_id, caller.organisation)
    side = {"accept": offer.heir, "refuse": offer.heir, "withdraw": offer.owner}.get(verb)
    if side is None:
        raise Invalid("verb: is accept, refuse or withdraw")
    if side != caller.organisation:
        raise Conflict(f"only {side} can {verb} this offer")
    if verb == "accept":
        node.quotas.things(node.things.count(caller.organisation))
        decided = await lives.accept_transfer(offer, by=caller.principal, why=data.why)
    else:
        state: Literal["refused", "withdrawn"] = "refused" if verb == "refuse" else "withdrawn"
        decided = await lives.end_transfer(offer.id, state, by=caller.principal, why=data.why)
    return transfer_view(node, decided)


def transfer_view(node: Node, one: Transfer) -> TransferView:
    """Return a transfer as it is shown."""
    return TransferView(
        one.id, one.thing, one.title, one.model, one.owner, one.heir, one.standing(node.clock.now_us()), one.why,
        format_rfc3339(one.at_us), format_rfc3339(one.expires_us), one.decided_by, one.because,
    )  # fmt: skip
