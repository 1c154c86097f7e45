"""Grants: asked for, decided, revoked."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Forbidden, Invalid, NotFound
from gridspine.kernel.time import format_rfc3339, parse_rfc3339
from gridspine.sharing.grant import Grant, Verb

VERBS: tuple[Verb, ...] = ("approve", "refuse", "revoke", "suspend", "resume")


class NewRequest(msgspec.Struct, frozen=True, rename={"from_": "from"}, forbid_unknown_fields=True):
    """A request for access to ``product`` for ``purpose``, from … until (RFC 3339); from now without ``from``."""

    product: str
    purpose: str
    until: str
    from_: str = ""


class Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The owner's reason for a decision."""

    reason: str = ""


class GrantView(msgspec.Struct, frozen=True, rename={"from_": "from", "asked_by": "askedBy", "in_force": "inForce"}):
    """A grant as both sides see it."""

    id: str
    product: str
    owner: str
    consumer: str
    purpose: str
    from_: str
    until: str
    state: str
    in_force: bool
    epoch: int
    reason: str
    asked_by: str


@get("/grants", summary="List grants", tags=["sharing"])
async def list_grants(request: Request[Any, Any, Any], node: TheNode) -> list[GrantView]:
    """List the grants the caller's organisation gave or got, newest first."""
    return [grant_view(node, grant) for grant in readable(node, request.user)]


@post("/grants", summary="Ask for access", tags=["sharing"])
async def ask_grant(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewRequest]) -> GrantView:
    """Ask for access to a product for the caller's organisation."""
    product = node.access.product(data.product)
    node.authority.on_product(request.user, "grant.ask", product)
    node.quotas.grants(node.access.standing_of(request.user.organisation))
    from_us = parse_rfc3339(data.from_) if data.from_ else node.clock.now_us()
    grant = await node.access.ask(
        product,
        consumer=request.user.organisation,
        purpose=data.purpose,
        from_us=from_us,
        until_us=parse_rfc3339(data.until),
        actor=request.user.principal,
    )
    return grant_view(node, grant)


@get("/grants/{grant_id:str}", summary="Read one grant", tags=["sharing"])
async def read_grant(request: Request[Any, Any, Any], node: TheNode, grant_id: FromPath[str]) -> GrantView:
    """Return a grant."""
    return grant_view(node, permitted(node, request, grant_id, "grant.read"))


@post(
    "/grants/{grant_id:str}/{verb:str}",
    status_code=200,
    summary="Decide on a grant",
    description=f"`verb` is one of {', '.join(VERBS)}. Running streams are cut before this answers.",
    tags=["sharing"],
)
async def decide_grant(
    request: Request[Any, Any, Any],
    node: TheNode,
    grant_id: FromPath[str],
    verb: FromPath[str],
    data: JSONBody[Word | None] = None,
) -> GrantView:
    """Approve, refuse, revoke, suspend or resume."""
    known = next((v for v in VERBS if v == verb), None)
    if known is None:
        raise Invalid(f"{verb[:40]!r} is not one of {', '.join(VERBS)}")
    permitted(node, request, grant_id, f"grant.{known}")
    reason = data.reason[:1000] if data else ""
    return grant_view(node, await node.access.decide(grant_id, known, actor=request.user.principal, reason=reason))


def readable(node: Node, caller: Caller) -> list[Grant]:
    """Return the grants of its organisation that the caller may read; raise `Forbidden` when it may read none of them.

    One given and one got stand for the others: the policies look at which of the two the organisation is.
    """
    grants = node.access.grants_of(caller.organisation)
    given, got = [[g for g in grants if (g.owner == caller.organisation) is ours] for ours in (True, False)]
    may: list[Grant] = []
    refusals: list[Forbidden] = []
    for side in filter(None, (given, got)):
        try:
            node.authority.on_grant(caller, "grant.read", side[0])
            may += side
        except Forbidden as error:
            refusals.append(error)
    if refusals and not may:
        raise refusals[0]
    return sorted(may, key=lambda grant: grant.id, reverse=True)


def permitted(node: Node, request: Request[Any, Any, Any], grant_id: str, action: str) -> Grant:
    """Return the grant when the caller may do ``action``; one of others is answered as one that is not there."""
    grant = node.gate.grant(grant_id)
    if grant is None or request.user.organisation not in {grant.owner, grant.consumer}:
        raise NotFound("there is no such grant")
    node.authority.on_grant(request.user, action, grant)
    return grant


def grant_view(node: Node, grant: Grant) -> GrantView:
    """Return a grant as it is shown."""
    return GrantView(
        grant.id, grant.product, grant.owner, grant.consumer, grant.purpose,
        format_rfc3339(grant.from_us), format_rfc3339(grant.until_us), grant.state,
        grant.active_at(node.clock.now_us()), grant.epoch, grant.reason, grant.asked_by,
    )  # fmt: skip
