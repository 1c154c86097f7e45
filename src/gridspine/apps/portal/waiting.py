"""What waits for a person: large commands, announced devices, offered Things, Things that are not in service."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.announcement import Verdict, decide_announcement, list_announcements
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.lifecycle import list_lives
from gridspine.apps.api.transfer import list_transfers
from gridspine.apps.portal.command import awaiting_rows, redirect_part
from gridspine.apps.portal.display import known_name, organisation_name
from gridspine.apps.portal.life import MEANINGS
from gridspine.apps.portal.may import May
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import Forbidden, Invalid

SHOWN = 50
DECIDED = 20
"""Announced devices that were decided on, the latest, that are shown."""


@get("/portal/waiting")
async def waiting_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Show what waits for a person of the organisation."""
    may = May(request.user, node.organisation)
    if not may.read_things:
        raise Forbidden("what waits is for the people who look after Things")
    lives = await list_lives.fn(request, node, "described,provisioned,suspended,quarantined", "", SHOWN)
    said = await list_announcements.fn(request, node) if may.register else []
    announced = [one for one in said if one.state == "waiting"]
    decided = [one for one in reversed(said) if one.state != "waiting"][:DECIDED]
    offered = []
    if may.transfer:
        offers = await list_transfers.fn(request, node)
        offered = [one for one in offers if one.state == "offered" and one.to == request.user.organisation]
    by = {one.by: known_name(node, request.user, one.by.removeprefix("voucher:")) for one in announced}
    return page(
        request, node, "parts/waiting.html" if is_part(request) else "waiting.html",
        current="waiting", announced=announced[:SHOWN], more=max(0, len(announced) - SHOWN), by=by, lives=lives,
        meanings=MEANINGS, commands=awaiting_rows(node, request.user),
        models=node.things.models.list(request.user.organisation) if announced else [],
        decided=decided, people={one.decided_by: known_name(node, request.user, one.decided_by) for one in decided},
        offered=offered[:SHOWN], sides={one.from_: organisation_name(node, one.from_) for one in offered},
    )  # fmt: skip


@post("/portal/announcements/{announcement_id:str}/{verb:str}", status_code=200)
async def decide(
    request: PortalRequest, node: TheNode, announcement_id: FromPath[str], verb: FromPath[str]
) -> Response[Any]:
    """Take an announced device in as a Thing and go to it, or turn it away."""
    fields = await form(request)
    if verb not in {"accept", "reject"}:
        raise Invalid("an announced device is accepted or rejected")
    verdict = Verdict(title=fields.get("title", ""), model=fields.get("model", ""), why=fields.get("why", ""))
    decided = await decide_announcement.fn(request, node, announcement_id, verb, verdict)
    if decided.thing:
        return redirect_part(f"/portal/things/{decided.thing}/life")
    return await waiting_page.fn(request, node)  # type: ignore[no-any-return]
