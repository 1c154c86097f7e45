"""What waits for a person: announced devices, commands that need a second one, Things not yet in service."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.announcement import Verdict, decide_announcement, list_announcements
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.lifecycle import list_lives
from gridspine.apps.portal.command import awaiting_rows, redirect_part
from gridspine.apps.portal.display import known_name
from gridspine.apps.portal.life import MEANINGS
from gridspine.apps.portal.may import May
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import Forbidden, Invalid

SHOWN = 50


@get("/portal/waiting")
async def waiting_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Show what waits for a person of the organisation."""
    may = May(request.user, node.organisation)
    if not may.read_things:
        raise Forbidden("what waits is for the people who look after Things")
    lives = await list_lives.fn(request, node, "described,provisioned,suspended,quarantined", "", SHOWN)
    announced = []
    if may.register:
        announced = [one for one in await list_announcements.fn(request, node) if one.state == "waiting"]
    by = {one.by: known_name(node, request.user, one.by.removeprefix("voucher:")) for one in announced}
    return page(
        request, node, "parts/waiting.html" if is_part(request) else "waiting.html",
        current="waiting", announced=announced[:SHOWN], more=max(0, len(announced) - SHOWN), by=by, lives=lives,
        meanings=MEANINGS, commands=awaiting_rows(node, request.user),
        models=node.things.models.list(request.user.organisation) if announced else [],
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
