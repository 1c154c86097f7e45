"""Incidents: owned until a named person closes them; and the quarantine they are often about."""

import asyncio
import contextlib
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.infra.log.writer import append
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339
from gridspine.things.incident import Incident
from gridspine.things.quarantine import QUARANTINE, Quarantined, decode_quarantined

_LATEST_RECORDS = 50


class NewIncident(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A breach to own: about ``subject``, by ``owner`` until ``deadline`` (RFC 3339), because of ``evidence``."""

    subject: str
    title: str
    owner: str
    deadline: str
    evidence: str
    work_order: str = ""


class Step(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What to do to an incident: ``text`` is the note or the reason; the rest is for *assign*."""

    text: str = ""
    owner: str = ""
    deadline: str = ""
    work_order: str | None = None


class IncidentView(msgspec.Struct, frozen=True, rename="camel"):
    """An incident as it is shown."""

    id: str
    subject: str
    title: str
    owner: str
    state: str
    opened: str
    deadline: str
    overdue: bool
    work_order: str
    evidence: list[dict[str, str]]
    notes: list[dict[str, str]]
    closed_by: str
    closed_because: str


@get("/incidents", summary="List incidents", tags=["alarms"])
async def list_incidents(request: Request[Any, Any, Any], node: TheNode) -> list[IncidentView]:
    """List the incidents of the caller's organisation, the oldest first."""
    node.authority.on_organisation(request.user, "incident.read", request.user.organisation)
    incidents = await node.incidents.list(organisation=request.user.organisation)
    return [incident_view(node, incident) for incident in incidents]


@post("/incidents", summary="Open an incident", tags=["alarms"])
async def open_incident(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewIncident]) -> IncidentView:
    """Open an incident, or add the evidence to the one that is open for the subject."""
    node.authority.on_organisation(request.user, "incident.handle", request.user.organisation)
    made = await node.incidents.open(
        data.subject,
        organisation=request.user.organisation,
        title=data.title,
        owner=data.owner,
        deadline_us=parse_rfc3339(data.deadline),
        evidence=data.evidence,
        actor=request.user.name,
        work_order=data.work_order,
    )
    return incident_view(node, made)


@post("/incidents/{incident_id:str}/{verb:str}", status_code=200, summary="Work on an incident", tags=["alarms"],
      description="`verb` is note, evidence, assign or close.")  # fmt: skip
async def work_on_incident(
    request: Request[Any, Any, Any],
    node: TheNode,
    incident_id: FromPath[str],
    verb: FromPath[str],
    data: JSONBody[Step],
) -> IncidentView:
    """Add a note or evidence, assign, or close by name and with a reason."""
    return incident_view(node, await work_on(node, request.user, incident_id, verb, data))


@get("/quarantine", summary="Look at what was refused", tags=["alarms"])
async def list_quarantine(request: Request[Any, Any, Any], node: TheNode) -> list[dict[str, Any]]:
    """List the latest refused items of the caller's organisation."""
    node.authority.on_organisation(request.user, "incident.read", request.user.organisation)
    records = await asyncio.to_thread(_latest, node)
    return [_quarantine_view(one) for one in records if one.source.organisation == request.user.organisation]


@post("/quarantine/release", status_code=200, summary="Release a source from quarantine", tags=["alarms"])
async def release_source(request: Request[Any, Any, Any], node: TheNode, principal: FromQuery[str]) -> dict[str, str]:
    """Take readings of a principal again."""
    node.authority.on_node(request.user, "quarantine.handle")
    record = node.offences.release(principal, request.user.principal)
    if record is None:
        raise NotFound("that source is not quarantined")
    await append(node.writer, [record], source="quarantine")
    return {"released": principal}


async def work_on(node: Node, caller: Any, incident_id: str, verb: str, step: Step) -> Incident:
    """Do ``verb`` to an incident of the caller's organisation, as the caller; raise `NotFound` for one of others."""
    node.authority.on_organisation(caller, "incident.handle", caller.organisation)
    with contextlib.suppress(NotFound):
        known = await node.incidents.get(incident_id)
        if known.organisation == caller.organisation:
            return await _step(node, caller, incident_id, verb, step)
    raise NotFound("there is no such incident")  # in the same words, whether there is none or it is another's


async def _step(node: Node, caller: Any, incident_id: str, verb: str, step: Step) -> Incident:
    if verb == "note":
        return await node.incidents.note(incident_id, step.text, actor=caller.name)
    if verb == "evidence":
        return await node.incidents.add_evidence(incident_id, step.text, actor=caller.name)
    if verb == "close":
        return await node.incidents.close(incident_id, person=caller.name, because=step.text)
    if verb != "assign":
        raise Invalid("verb: is note, evidence, assign or close")
    deadline_us = parse_rfc3339(step.deadline) if step.deadline else node.clock.now_us() + 24 * 3600 * US
    return await node.incidents.assign(
        incident_id, owner=step.owner, deadline_us=deadline_us, actor=caller.name, work_order=step.work_order
    )


def incident_view(node: Node, incident: Incident) -> IncidentView:
    """Return an incident as it is shown."""
    entries = [
        [{"at": format_rfc3339(entry.at_us), "by": entry.by, "text": entry.text} for entry in part]
        for part in (incident.evidence, incident.notes)
    ]
    return IncidentView(
        incident.id, incident.subject, incident.title, incident.owner, incident.state,
        format_rfc3339(incident.opened_us), format_rfc3339(incident.deadline_us),
        incident.overdue(node.clock.now_us()), incident.work_order, entries[0], entries[1],
        incident.closed_by, incident.closed_because,
    )  # fmt: skip


def _latest(node: Node) -> list[Quarantined]:
    found: list[Quarantined] = []
    for partition, (first, following) in enumerate(node.log.bounds(QUARANTINE)):
        start = max(first, following - _LATEST_RECORDS)
        found += [decode_quarantined(r.body) for r in node.log.read(QUARANTINE, partition, start)]
    return found[::-1]


def _quarantine_view(one: Quarantined) -> dict[str, Any]:
    shown = slice(0, 100)
    columns = zip(one.name[shown], one.reason[shown], one.detail[shown], one.value[shown], strict=True)
    return {
        "time": format_rfc3339(one.time_us),
        "principal": one.source.principal,
        "session": one.source.session,
        "count": len(one.item),
        "items": [
            {"point": name, "reason": reason, "detail": detail, "value": None if value is None else repr(value)}
            for name, reason, detail, value in columns
        ],
    }
