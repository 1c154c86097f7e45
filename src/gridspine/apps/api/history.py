"""The memory of a Thing: everything that happened to it, newest first, a page at a time."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted_to
from gridspine.apps.node.histories import parse_place, place_of
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import format_rfc3339
from gridspine.things.history import KINDS, Entry, periods, words
from gridspine.things.lifecycle import MAX_EVIDENCE, MAX_EVIDENCE_CHARS
from gridspine.things.thing import Thing

MAX_LIMIT = 500
MAX_WORDS = 2_000


class HistoryEntryView(msgspec.Struct, frozen=True):
    """Something that happened: ``type`` such as *thing.commissioned*, ``kind`` what sort, ``words`` for a timeline.

    ``by`` is a principal's id, ``name`` what it is called where the caller may know. ``receipt`` asks the ledger.
    """

    at: str
    kind: str
    type: str
    words: str
    by: str
    name: str
    receipt: str
    data: dict[str, Any]


class HistoryView(msgspec.Struct, frozen=True):
    """A page of a Thing's history, newest first; ``next`` goes on where it ends, "" at the beginning of its life."""

    thing: str
    entries: list[HistoryEntryView]
    next: str


class NewNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was done: *serviced*, *upgraded* (firmware, parts), *relocated*, *inspected* or just *noted*; in words."""

    what: Literal["serviced", "upgraded", "relocated", "inspected", "noted"]
    words: str
    evidence: tuple[str, ...] = ()


class NotedView(msgspec.Struct, frozen=True):
    """That it was noted: ``event`` is the id of its receipt."""

    event: str


@get("/things/{thing_id:str}/history", summary="What happened to a Thing", tags=["lifecycle"])
async def read_history(
    request: Request[Any, Any, Any],
    node: TheNode,
    thing_id: FromPath[str],
    before: Annotated[str, Parameter(max_length=200)] = "",
    limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT)] = 100,
    kinds: Annotated[str, Parameter(max_length=100)] = "",
) -> HistoryView:
    """Return announcements, steps, commands, alarms, incidents, exchanges, files and changes of a Thing, newest first.

    ``kinds`` narrows to some of life, command, alarm, incident, change (separated by commas). Who owned the Thing
    before sees what happened in its own time, and who owns it now what happened since.
    """
    thing, own = past(node, request.user, thing_id)
    place = parse_place(before)
    wanted = [kind for kind in kinds.split(",") if kind]
    if place is None or any(kind not in KINDS for kind in wanted):
        raise Invalid(f"before: is what `next` said; kinds: are some of {', '.join(KINDS)}")
    await asyncio.to_thread(node.lives.histories.catch_up)
    found = await asyncio.to_thread(node.lives.histories.page, thing.id, own, place, limit, wanted)
    entries = [_view(node, request.user, entry) for entry in found]
    if len(found) < limit and own[0][0] == 0 and (not wanted or "life" in wanted) and place[0] > thing.created_us:
        entries.append(_registered(thing))
    return HistoryView(thing.id, entries, place_of(found[-1]) if len(found) == limit else "")


@post("/things/{thing_id:str}/history", summary="Note what was done to a Thing", tags=["lifecycle"])
async def note_history(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[NewNote]
) -> NotedView:
    """Keep that somebody serviced, upgraded, moved or looked at a device; it is in the ledger for good."""
    thing = permitted_to(node, request.user, thing_id, "thing.manage")
    if not 0 < len(data.words.strip()) <= MAX_WORDS:
        raise Invalid(f"words: 1 to {MAX_WORDS} characters are needed")
    if len(data.evidence) > MAX_EVIDENCE or any(not 0 < len(one) <= MAX_EVIDENCE_CHARS for one in data.evidence):
        raise Invalid(f"evidence: at most {MAX_EVIDENCE} references, of 1 to {MAX_EVIDENCE_CHARS} characters each")
    told = {"why": data.words, "evidence": list(data.evidence)}
    event = await node.lives.lifecycles.tell(thing, f"thing.{data.what}", by=request.user.principal, data=told)
    return NotedView(event)


def past(node: Node, caller: Caller, thing_id: str) -> tuple[Thing, list[tuple[int, int | None]]]:
    """Return a Thing, and when it was the caller's organisation's; raise alike for one that never was, or is none."""
    try:
        thing = node.things.get(thing_id)
        own = periods(thing, caller.organisation)
    except NotFound:
        permitted_to(node, caller, thing_id, "thing.read")
        raise
    if own and thing.organisation != caller.organisation:  # it was once: decided as of then, for what was then
        node.authority.on_thing(caller, "thing.read", Thing(thing.id, caller.organisation, thing.title, thing.model))
        return thing, own
    node.authority.on_thing(caller, "thing.read", thing)
    return thing, own


def _view(node: Node, caller: Caller, entry: Entry) -> HistoryEntryView:
    name = ""
    if entry.by.startswith("urn:"):
        try:
            known = node.identity.directory.principal(entry.by)
            name = known.name if known.organisation == caller.organisation else ""
        except NotFound:
            name = ""
    return HistoryEntryView(
        format_rfc3339(entry.at_us), entry.kind, entry.type, words(entry), entry.by, name, entry.receipt, entry.data
    )


def _registered(thing: Thing) -> HistoryEntryView:
    at = format_rfc3339(thing.created_us)
    return HistoryEntryView(at, "life", "thing.registered", "registered", "", "", "", {"model": thing.model})
