"""Pages of grants: given and got; one grant with what may be done to it, beside its own stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.grant import GrantView, NewRequest, Word, ask_grant, decide_grant, list_grants, permitted
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import redirect_part
from gridspine.apps.portal.display import organisation_name, person_name
from gridspine.apps.portal.may import May
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import NotFound
from gridspine.sharing.grant import Grant

MAX_SHOWN = 200
"""Grants listed at most on either side, the newest."""

STATES: dict[str, tuple[str, str]] = {
    "requested": ("waiting", "waits for its owner's decision"),
    "active": ("good", "in force"),
    "not-yet": ("waiting", "approved, not begun yet"),
    "refused": ("over", "refused by its owner"),
    "revoked": ("bad", "revoked"),
    "suspended": ("bad", "suspended until its owner lifts it"),
    "expired": ("over", "its time has passed"),
}
"""State of a grant → how it is coloured, and what it means."""


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant as it is shown; ``state`` also tells active ones that have not begun or are over apart."""

    grant: Grant
    title: str
    owner: str
    consumer: str
    state: str
    tone: str
    meaning: str
    verbs: tuple[str, ...]
    decided_by: str
    given: bool


def grant_rows(node: Node, grants: Sequence[Grant], caller: Caller) -> list[GrantRow]:
    """Return grants as rows for ``caller``."""
    return [_row(node, grant, caller) for grant in grants]


def _row(node: Node, grant: Grant, caller: Caller) -> GrantRow:
    now_us = node.clock.now_us()
    state = grant.why_not(now_us) or "active"
    if grant.state in {"requested", "suspended"} and now_us >= grant.until_us:
        state = "expired"
    tone, meaning = STATES[state]
    try:
        title = node.access.product(grant.product).title
    except NotFound:
        title = grant.product
    return GrantRow(
        grant, title, organisation_name(node, grant.owner), organisation_name(node, grant.consumer), state, tone,
        meaning, tuple(May(caller, node.organisation).verbs(grant, now_us)),
        person_name(node, grant.decided_by) if grant.decided_by else "", grant.owner == caller.organisation,
    )  # fmt: skip


@get("/portal/grants")
async def grants_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List the grants the organisation gave and got."""
    await list_grants.fn(request, node)  # asks whether the caller may read grants
    own = request.user.organisation
    grants = node.access.grants_of(own)
    rows = grant_rows(node, grants, request.user)
    given = [row for row in rows if row.grant.owner == own]
    got = [row for row in rows if row.grant.owner != own]
    return page(
        request, node, "parts/grants.html" if is_part(request) else "grants.html",
        current="grants", given=given[:MAX_SHOWN], got=got[:MAX_SHOWN], more=len(rows) > 2 * MAX_SHOWN,
    )  # fmt: skip


@get("/portal/grants/{grant_id:str}")
async def grant_page(request: PortalRequest, node: TheNode, grant_id: FromPath[str]) -> Response[Any]:
    """Show one grant; for htmx only the part that changes."""
    grant = permitted(node, request, grant_id, "grant.read")
    return page(
        request, node, "parts/grant.html" if is_part(request) else "grant.html",
        current="grants", row=_row(node, grant, request.user), previews=may_preview(request.user, grant),
    )  # fmt: skip


@post("/portal/grants", status_code=200)
async def ask_access(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Ask for access to a product; go on to the request."""
    fields = await form(request)
    wanted = NewRequest(fields.get("product", ""), fields.get("purpose", ""), fields.get("until", ""))
    asked: GrantView = await ask_grant.fn(request, node, wanted)
    return redirect_part(f"/portal/grants/{asked.id}")


@post("/portal/grants/{grant_id:str}/{verb:str}", status_code=200)
async def decide(request: PortalRequest, node: TheNode, grant_id: FromPath[str], verb: FromPath[str]) -> Response[Any]:
    """Approve, refuse, revoke, suspend or resume; running streams are cut before this answers."""
    fields = await form(request)
    await decide_grant.fn(request, node, grant_id, verb, Word(fields.get("reason", "")))
    return await grant_page.fn(request, node, grant_id)  # type: ignore[no-any-return]


def may_preview(caller: Caller, grant: Grant) -> bool:
    """Whether it makes sense to offer the caller the grant's stream; opening it asks the policies."""
    if caller.organisation == grant.owner:
        return bool(caller.roles & {"owner", "operator"})
    return caller.has("consumer")
