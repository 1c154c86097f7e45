"""The page of a Thing's life: where it stands, its steps, examinations, meter exchanges, files, and its history."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.attachment import list_attachments, remove_attachment
from gridspine.apps.api.commissioning import examine_thing, list_reports
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.history import HistoryEntryView, HistoryView, NewNote, note_history, read_history
from gridspine.apps.api.lifecycle import (
    LifecycleView,
    LifeStepView,
    NewLifeStep,
    read_lifecycle,
    take_step,
)
from gridspine.apps.api.meter_exchange import NewExchange, exchange_meter, list_exchanges
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.examination import ExaminationQuestion
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import number_of, redirect_part
from gridspine.apps.portal.display import known_name, point_text
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import Invalid
from gridspine.things.directory import Thing

PAGE_ENTRIES = 30
"""Entries of a history shown at once."""
MAX_REPORTS, MAX_FILES = 5, 50
WAYS = {
    "commissioned": ("Commission", "It may be commanded, and takes part in automatic control."),
    "suspended": ("Suspend", "Its set-points end. Readings are kept; nothing but safety commands it."),
    "quarantined": ("Quarantine", "Its set-points end. Its readings are kept and are not relied upon."),
    "resumed": ("Resume", "It goes on as what it was before."),
    "retired": ("Retire", "For good: leases end, credentials of its devices too. Its history stays."),
}
"""Step → what its button says, and what comes of it."""
MEANINGS = {
    "announced": ("waiting", "It said what it is; nobody has taken it in yet."),
    "described": ("waiting", "It is known; it has not proved a key, and is not commanded."),
    "provisioned": ("waiting", "It proved its key; somebody has yet to look at it and commission it."),
    "commissioned": ("good", "In service: it may be commanded."),
    "suspended": ("bad", "Out of service for a while: kept, not commanded."),
    "quarantined": ("bad", "Its readings are kept, and not relied upon."),
    "retired": ("over", "It has left the directory."),
}
TONES = {"life": "good", "command": "waiting", "alarm": "bad", "incident": "bad", "change": "over"}


@get("/portal/things/{thing_id:str}/life")
async def life_page(request: PortalRequest, node: TheNode, thing_id: FromPath[str]) -> Response[Any]:
    """Show a Thing's life."""
    return await _page(request, node, permitted(node, request, thing_id, "thing.read"))


@get("/portal/things/{thing_id:str}/timeline")
async def timeline_part(
    request: PortalRequest, node: TheNode, thing_id: FromPath[str], before: FromQuery[str] = ""
) -> Response[Any]:
    """Show what happened before what is shown already."""
    history = await read_history.fn(request, node, thing_id, before[:200], PAGE_ENTRIES, "")
    return page(
        request,
        node,
        "parts/timeline.html",
        thing_id=thing_id,
        **_timeline(node, request, node.things.get(thing_id), history),
    )


@post("/portal/things/{thing_id:str}/life/{verb:str}", status_code=200)
async def act_on_life(
    request: PortalRequest, node: TheNode, thing_id: FromPath[str], verb: FromPath[str]
) -> Response[Any]:
    """Take a step, examine, note, keep an exchange of the meter, or remove a file."""
    fields = await form(request)
    if verb == "step":
        evidence = tuple(one for one in fields.get("evidence", "").split() if one)
        await take_step.fn(request, node, thing_id, NewLifeStep(fields.get("to", ""), fields.get("why", ""), evidence))
        if fields.get("to") == "retired":
            return redirect_part("/")
    elif verb == "examine":
        plate = fields.get("nameplate", "")
        question = ExaminationQuestion(nameplate_w=number_of(plate, "Nameplate power") if plate else None,
                            reference=fields.get("reference", "")[:600])  # fmt: skip
        await examine_thing.fn(request, node, thing_id, question)
    elif verb == "note":
        await note_history.fn(request, node, thing_id, _note(fields))
    elif verb == "exchange":
        await exchange_meter.fn(request, node, thing_id, _exchange(fields))
    elif verb == "remove-file":
        await remove_attachment.fn(request, node, thing_id, fields.get("file", "")[:200])
    else:
        raise Invalid("what is done to a life is step, examine, note, exchange or remove-file")
    return await _page(request, node, permitted(node, request, thing_id, "thing.read"))


def _note(fields: dict[str, str]) -> NewNote:
    for what in ("serviced", "upgraded", "relocated", "inspected", "noted"):
        if fields.get("what") == what:
            return NewNote(what, fields.get("words", ""))
    raise Invalid("what: is serviced, upgraded, relocated, inspected or noted")


def _exchange(fields: dict[str, str]) -> NewExchange:
    """Return an exchange as the form says it; registers come as ``final:name`` and ``first:name``."""
    sides: dict[str, dict[str, float]] = {"final": {}, "first": {}}
    for name, text in fields.items():
        side, _, register = name.partition(":")
        if register and side in sides and text:
            sides[side][register] = number_of(text, f"{side} reading")
    return NewExchange(
        fields.get("at", ""), fields.get("old_serial", ""), fields.get("new_serial", ""),
        sides["final"], sides["first"], fields.get("why", ""),
    )  # fmt: skip


async def _page(request: PortalRequest, node: Node, thing: Thing) -> Response[Any]:
    life: LifecycleView = await read_lifecycle.fn(request, node, thing.id)
    reports = await list_reports.fn(request, node, thing.id)
    files = await list_attachments.fn(request, node, thing.id)
    history: HistoryView = await read_history.fn(request, node, thing.id, "", PAGE_ENTRIES, "")
    registers = [p for p in node.things.model(thing).points if p.reading_type.kind == "register"]
    people = {step.by for step in life.steps} | {one.by for one in (*reports[:MAX_REPORTS], *files)}
    return page(
        request, node, "parts/life.html" if is_part(request) else "life.html",
        current="things", tab="life", thing=thing, thing_id=thing.id, life=life, ways=_ways(life),
        meaning=MEANINGS[life.state], reports=reports[:MAX_REPORTS], files=files[:MAX_FILES], registers=registers,
        exchanges=await list_exchanges.fn(request, node, thing.id) if registers else [],
        names={one: known_name(node, request.user, one) for one in people},
        upon=partial(_evidence, {one.id: one.at for one in reports}), **_timeline(node, request, thing, history),
    )  # fmt: skip


def _timeline(node: Node, request: PortalRequest, thing: Thing, history: HistoryView) -> dict[str, Any]:
    by = {entry.by: entry.name or known_name(node, request.user, entry.by) for entry in history.entries}
    return {
        "entries": history.entries,
        "next": history.next,
        "by": by,
        "tones": TONES,
        "said": partial(_said, node, thing),
    }


def _said(node: Node, thing: Thing, entry: HistoryEntryView) -> str:
    """Return an entry's words; of a command with its point's title and unit, as far as the model still has it."""
    lease = entry.data.get("lease") if entry.kind == "command" else None
    point = next((one for one in node.things.model(thing).points if lease and one.name == lease.get("point")), None)
    if lease is None or point is None or not isinstance(lease.get("value"), int | float):
        return entry.words
    became = ": ".join(str(entry.data[name]) for name in ("state", "reason") if entry.data.get(name))
    return f"{point.title} to {point_text(point, lease['value'])}, {became}"


def _evidence(reports: Mapping[str, str], step: LifeStepView) -> str:
    """Return what a step was taken upon: a report and an announcement in words, the rest as it is."""
    words = []
    for one in step.evidence:
        if one in reports:
            words.append("a commissioning report")
        elif step.to in {"announced", "described"} and one.startswith("urn:uuid:"):
            words.append("what it announced")
        else:
            words.append(one)
    return ", ".join(words)


def _ways(life: LifecycleView) -> list[tuple[str, str, str]]:
    """Return the steps a person may take from here: what to send, the button's word, what comes of it."""
    if life.state in {"suspended", "quarantined"}:
        steps = ["resumed", "quarantined" if life.state == "suspended" else "suspended", "retired"]
    elif life.state == "commissioned":
        steps = ["suspended", "quarantined", "retired"]
    elif life.state in {"described", "provisioned"}:
        steps = ["commissioned", "suspended", "retired"]
    else:
        steps = ["retired"]
    return [(step, *WAYS[step]) for step in steps]
