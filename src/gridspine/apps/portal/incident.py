"""Pages of incidents: whose they are, until when, what is known, and why they were closed."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.incident import IncidentView, Step, list_incidents, work_on_incident
from gridspine.apps.portal.display import person_name
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import NotFound

MAX_CLOSED = 50
"""Closed incidents listed at most, the newest."""


@get("/portal/incidents")
async def incidents_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List the incidents of the organisation: the open ones by deadline, then those closed last."""
    every: list[IncidentView] = await list_incidents.fn(request, node)
    opened = sorted((one for one in every if one.state == "open"), key=lambda one: one.deadline)
    closed = [one for one in reversed(every) if one.state != "open"][:MAX_CLOSED]
    names = {one.subject: person_name(node, one.subject) for one in every}
    return page(
        request, node, "incidents.html", current="incidents", opened=opened, closed=closed, names=names
    )  # fmt: skip


@get("/portal/incidents/{incident_id:str}")
async def incident_page(request: PortalRequest, node: TheNode, incident_id: FromPath[str]) -> Response[Any]:
    """Show one incident, and what may be done about it."""
    every: list[IncidentView] = await list_incidents.fn(request, node)
    incident = next((one for one in every if one.id == incident_id), None)
    if incident is None:
        raise NotFound("there is no such incident")
    people = node.identity.directory.principals(request.user.organisation)
    return page(
        request, node, "parts/incident.html" if is_part(request) else "incident.html",
        current="incidents", incident=incident, subject=person_name(node, incident.subject),
        people=sorted(person.name for person in people if person.kind == "user" and person.active),
    )  # fmt: skip


@post("/portal/incidents/{incident_id:str}/{verb:str}", status_code=200)
async def work_on(
    request: PortalRequest, node: TheNode, incident_id: FromPath[str], verb: FromPath[str]
) -> Response[Any]:
    """Note, add evidence, assign, or close with a reason."""
    fields = await form(request)
    step = Step(
        text=fields.get("text", ""),
        owner=fields.get("owner", ""),
        deadline=fields.get("deadline", ""),
        work_order=fields.get("work_order"),
    )
    await work_on_incident.fn(request, node, incident_id, verb, step)
    return await incident_page.fn(request, node, incident_id)  # type: ignore[no-any-return]
