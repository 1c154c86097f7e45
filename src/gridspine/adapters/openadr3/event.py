"""Events: the node's events of programmes, as OpenADR tells of them.

::

    POST    ─► published                        signals inform; controls become leases, for who is enrolled
    PUT     ─► another that supersedes it       under the id that the wire knows
    DELETE  ─► cancelled                        what it commanded ends before this is answered

An event that says nothing for any time to come has no noun behind it: it is kept for the wire alone.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec

from gridspine.adapters.openadr3 import edition, program
from gridspine.adapters.openadr3.book import no_such
from gridspine.adapters.openadr3.call import Answer, Call, said
from gridspine.adapters.openadr3.native import body_of_event
from gridspine.adapters.openadr3.part import parts_of
from gridspine.adapters.openadr3.payload import CONTROLS
from gridspine.adapters.openadr3.period import chance_s, spans
from gridspine.adapters.openadr3.vtn import Vtn, noun_id, wire_id
from gridspine.adapters.openadr3.wire import EventRequest, Record, body_of, read
from gridspine.energy.control import WIRE_NAMES
from gridspine.energy.control_port import Beside
from gridspine.energy.programme import Programme, SignalDescriptor
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import MAX_US

NO_PRIORITY = 2**31 - 1
"""What an event without a priority has: it gives way to all that have one."""
_KEPT, _TURN, _ENDS = 3_000, 200, 50_000


async def search(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /events``."""
    wanted, of, active = call.targets(), call.one("programID"), call.flag("active")
    skip, limit = call.window()
    found: list[Record] = []
    records = (record for one in program.seen(vtn, call) if of in {None, one.id} for record in below(vtn, call, one))
    for at, record in enumerate(records):
        if at % _TURN == _TURN - 1:
            await asyncio.sleep(0)  # others are served between them
        if (wanted is None or record.targets & wanted) and not (active and _over(vtn, call, record)):
            if skip:
                skip -= 1
                continue
            found.append(record)
            if len(found) >= limit:
                break
    return said([edition.shown(one, call.edition) for one in found])


async def get(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /events/{eventID}``."""
    return said(edition.shown(find(vtn, call, call.path[1]), call.edition))


async def create(vtn: Vtn, call: Call) -> Answer:
    """Answer ``POST /events``."""
    call.check_bl()
    request, further = edition.read_request(call, "EVENT", EventRequest)
    programme = _programme(call, request.program_id)
    vtn.book.check_room("EVENT", call.organisation)
    kept: list[Record] = []

    def record_of_it(noun: ProgrammeEvent | None) -> Record:
        return Record(
            kind="EVENT", id=vtn.new_id() if noun is None else wire_id(noun.id), organisation=programme.organisation,
            client=call.client, created_us=call.now_us, modified_us=call.now_us, body=body_of(request),
            parent=request.program_id, noun="" if noun is None else noun.id, types=further.types,
        )  # fmt: skip

    async def beside(noun: ProgrammeEvent) -> None:
        kept.append(record_of_it(noun))
        await vtn.book.keep(kept[0])

    try:
        made = await _publish(vtn, call, programme, request, "", beside)
    except BaseException:
        await _undo(vtn, call, programme, kept)
        raise
    record = kept[0] if kept else await vtn.book.keep(record_of_it(made))
    vtn.tell(record, "CREATE", vtn.guard(record))
    await _make_room(vtn, call, programme)
    return said(edition.shown(record, call.edition), 201)


async def update(vtn: Vtn, call: Call) -> Answer:
    """Answer ``PUT /events/{eventID}``: the event is superseded by another, which the wire knows by the same id."""
    before = _own(vtn, call)
    request, further = edition.read_request(call, "EVENT", EventRequest)
    if request.program_id != before.parent:
        raise Invalid("programID: an event stays in its program")
    programme = _programme(call, request.program_id)
    older = _live(call, programme, before)
    made = await _publish(vtn, call, programme, request, older)
    if made is None and older:
        await _cancel(vtn, call, programme, older)
    record = msgspec.structs.replace(
        before, modified_us=call.now_us, body=body_of(request), noun="" if made is None else made.id,
        types=further.types,
    )  # fmt: skip
    await vtn.kept(record, "UPDATE")
    return said(edition.shown(record, call.edition))


async def delete(vtn: Vtn, call: Call) -> Answer:
    """Answer ``DELETE /events/{eventID}``: what it commanded ends before this is answered."""
    found = _own(vtn, call)
    programme = _programme(call, found.parent)
    if older := _live(call, programme, found):
        await _cancel(vtn, call, programme, older)
    await vtn.gone([found])
    return said(edition.shown(found, call.edition))


def below(vtn: Vtn, call: Call, of: Record) -> Iterator[Record]:
    """Yield the events of a programme that the asker may see, the oldest first."""
    try:
        events = call.port.programmes.events(of.noun)
    except NotFound:  # it was retired and let go since it was listed
        return
    for one in reversed(events):
        if not one.cancelled_us:
            record = record_of(vtn, one)
            if visible(vtn, call, record):
                yield record
    if of.organisation == call.organisation:
        for record in vtn.book.below(of.id):
            if record.kind == "EVENT" and not record.noun and visible(vtn, call, record):
                yield record


def find(vtn: Vtn, call: Call, id: str) -> Record:
    """Return an event that the asker may see; raise `NotFound`."""
    try:
        known = vtn.book.get("EVENT", id)
    except NotFound:
        return _native(vtn, call, noun_id(id, "EVENT"))
    try:
        of = program.find(vtn, call, known.parent)
        noun = call.port.programmes.event(of.noun, known.noun) if known.noun else None
    except NotFound as error:
        raise no_such("EVENT") from error
    foreign = noun is None and of.organisation != call.organisation
    if foreign or (noun is not None and noun.cancelled_us) or not visible(vtn, call, known):
        raise no_such("EVENT")
    return known


def record_of(vtn: Vtn, event: ProgrammeEvent) -> Record:
    """Return an event as the wire has it; one that was made elsewhere has what its noun says."""
    known = vtn.book.of_noun(event.id)
    if known is not None:
        return known
    return Record(
        kind="EVENT", id=wire_id(event.id), organisation=event.organisation, client=event.by,
        created_us=event.created_us, modified_us=event.created_us, parent=wire_id(event.programme), noun=event.id,
        body=body_of_event(event, wire_id(event.programme)),
    )  # fmt: skip


def _native(vtn: Vtn, call: Call, noun: str) -> Record:
    try:
        found = call.port.programmes.find_event(noun)
        program.find(vtn, call, wire_id(found.programme))
    except NotFound as error:
        raise no_such("EVENT") from error
    record = record_of(vtn, found)
    if found.cancelled_us or record.id != wire_id(noun) or not visible(vtn, call, record):
        raise no_such("EVENT")
    return record


def visible(vtn: Vtn, call: Call, record: Record) -> bool:
    """Whether the asker may see an event that the node shows to its organisation."""
    if record.organisation != call.organisation or call.bl or not record.targets:
        return True
    return bool(record.targets & vtn.book.words(call.organisation, call.client))


def _own(vtn: Vtn, call: Call) -> Record:
    """Return an event of a programme that the asker runs."""
    found = find(vtn, call, call.path[1])
    call.check_bl()
    if not call.runs(found.organisation):
        raise no_such("EVENT")
    return found


def _programme(call: Call, id: str) -> Programme:
    try:
        found = call.port.programmes.own(noun_id(id, "PROGRAM"))
    except NotFound as error:
        raise Invalid("programID: you run no such program") from error
    if found.retired_us:
        raise Invalid("programID: you run no such program")
    return found


def _live(call: Call, programme: Programme, record: Record) -> str:
    """Return the noun behind an event while it is running or to come, else ""."""
    if not record.noun:
        return ""
    status = call.port.programmes.event(programme.id, record.noun).status(call.now_us)
    return record.noun if status in {"scheduled", "active"} else ""


async def _publish(
    vtn: Vtn, call: Call, programme: Programme, request: EventRequest, supersedes: str, beside: Beside | None = None
) -> ProgrammeEvent | None:
    """Publish what an event says for the time to come; return None where it says nothing."""
    modes = frozenset(name for name, mode in CONTROLS.items() if WIRE_NAMES[mode] in programme.modes)
    units = {one.payload_type: one.units for one in programme.signals}
    units |= {one.payload_type: one.units or "" for one in request.payload_descriptors or ()}
    intervals = parts_of(request, programme.interval_s, call.now_us, modes, units)
    if not intervals or max(one.until_us for one in intervals) <= call.now_us:
        return None
    await _describe(vtn, call, programme, request, intervals)
    commands = any(one.control.modes for one in intervals)
    event = ProgrammeEvent(
        id="", programme=programme.id, organisation="", title=(request.event_name or "").strip()[:128] or "event",
        intervals=tuple(intervals), priority=NO_PRIORITY if request.priority is None else request.priority,
        targets=tuple(dict.fromkeys(request.targets or ())), supersedes=supersedes,
        randomise_start_s=chance_s(request) if commands else 0.0,
    )  # fmt: skip
    made = await call.port.programmes.publish(event, beside)
    if supersedes:
        vtn.done.add((supersedes, call.port.programmes.event(programme.id, supersedes).version))
    return made


async def _cancel(vtn: Vtn, call: Call, programme: Programme, noun: str) -> None:
    ended = await call.port.programmes.cancel(programme.id, noun, "by OpenADR")
    vtn.done.add((noun, ended.version))


async def _undo(vtn: Vtn, call: Call, programme: Programme, kept: list[Record]) -> None:
    """Let an event that was answered with an error command nothing: it may be kept, or its record."""
    for record in kept:
        with contextlib.suppress(NotFound, Conflict):
            await _cancel(vtn, call, programme, record.noun)
    await vtn.book.forget(kept)


async def _describe(
    vtn: Vtn, call: Call, programme: Programme, request: EventRequest, intervals: list[EventInterval]
) -> None:
    """Let the programme describe the signals that an event brings and it does not know yet, as the event does."""
    known = {one.payload_type for one in programme.signals}
    described = {one.payload_type: one for one in request.payload_descriptors or ()}
    new = {signal.type: None for one in intervals for signal in one.signals if signal.type not in known}
    if not new:
        return
    more = []
    for name in new:
        given = described.get(name)
        currency = (given.currency or "") if given else ""
        more.append(
            SignalDescriptor(name, (given.units or "") if given else "", currency if len(currency) <= 3 else "")
        )
    changed = msgspec.structs.replace(programme, signals=(*programme.signals, *more))
    after = await call.port.programmes.change(programme.id, changed)
    vtn.done.add((after.id, after.version))


def _over(vtn: Vtn, call: Call, record: Record) -> bool:
    """Whether an event is over: by its noun, or by what it says where it has none, which is read once."""
    if record.noun:
        try:
            return call.port.programmes.find_event(record.noun).until_us <= call.now_us
        except NotFound:  # it was let go since it was listed: only those that are over are
            return True
    until_us = vtn.ends.get((record.id, record.modified_us))
    if until_us is None:
        until_us = _until_us(record)
        if len(vtn.ends) >= _ENDS:
            vtn.ends.clear()
        vtn.ends[record.id, record.modified_us] = until_us
    return until_us <= call.now_us


def _until_us(record: Record) -> int:
    """Return when the last interval of an event is over [µs since 1970]: never, where it has none."""
    try:
        found = spans(read(record.body, EventRequest), 0, record.created_us)
    except Invalid:
        return MAX_US
    return max((one.until_us for one in found), default=MAX_US)


async def _make_room(vtn: Vtn, call: Call, programme: Programme) -> None:
    """Let records go whose nouns the node let go, when there are many."""
    known: list[Record] = [one for one in vtn.book.below(wire_id(programme.id)) if one.kind == "EVENT"]
    if len(known) > _KEPT:
        there: set[str] = {one.id for one in call.port.programmes.events(programme.id)}
        gone: Any = [one for one in known if one.noun and one.noun not in there]
        await vtn.gone(gone or known[:1])
