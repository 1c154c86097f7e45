"""Programs: the node's programmes, as OpenADR tells of them.

::

    program.programName, payloadDescriptors ◄─► Programme.title, signals, modes       the rest is of the wire alone
    targets                                 ──► who sees it; without any it is open
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from gridspine.adapters.openadr3 import edition
from gridspine.adapters.openadr3.book import no_such
from gridspine.adapters.openadr3.call import Answer, Call, said
from gridspine.adapters.openadr3.payload import CONTROLS
from gridspine.adapters.openadr3.period import length
from gridspine.adapters.openadr3.vtn import Vtn, noun_id, wire_id
from gridspine.adapters.openadr3.wire import EventPayloadDescriptor, ProgramRequest, Record, body_of
from gridspine.energy.control import NOTHING, WIRE_NAMES
from gridspine.energy.programme import MAX_WORD, Programme, SignalDescriptor
from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.time import US

_YEAR_S = 366 * 86_400


async def search(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /programs``."""
    wanted = call.targets()
    found = (record for record in seen(vtn, call) if wanted is None or record.targets & wanted)
    return said([edition.shown(one, call.edition) for one in call.page(found)])


async def get(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /programs/{programID}``."""
    return said(edition.shown(find(vtn, call, call.path[1]), call.edition))


async def create(vtn: Vtn, call: Call) -> Answer:
    """Answer ``POST /programs``."""
    call.check_bl()
    request, further = edition.read_request(call, "PROGRAM", ProgramRequest)
    _check_name(vtn, call, request.program_name, "")
    vtn.book.check_room("PROGRAM", call.organisation)
    made = await call.port.programmes.create(_programme(request, None))
    record = _record(made, request, further, call)
    await vtn.kept(record, "CREATE")
    return said(edition.shown(record, call.edition), 201)


async def update(vtn: Vtn, call: Call) -> Answer:
    """Answer ``PUT /programs/{programID}``."""
    before = call.port.programmes.own(noun_id(call.path[1], "PROGRAM"))
    if before.retired_us:
        raise no_such("PROGRAM")
    request, further = edition.read_request(call, "PROGRAM", ProgramRequest)
    _check_name(vtn, call, request.program_name, before.id)
    after = await call.port.programmes.change(before.id, _programme(request, before))
    vtn.done.add((after.id, after.version))
    record = _record(after, request, further, call)
    await vtn.kept(record, "UPDATE")
    return said(edition.shown(record, call.edition))


async def delete(vtn: Vtn, call: Call) -> Answer:
    """Answer ``DELETE /programs/{programID}``: its events end with it."""
    found = call.port.programmes.own(noun_id(call.path[1], "PROGRAM"))
    if found.retired_us:
        raise no_such("PROGRAM")
    record = record_of(vtn, found)
    live = [one.id for one in call.port.programmes.events(found.id) if not one.cancelled_us]
    retired = await call.port.programmes.retire(found.id)
    vtn.done.add((retired.id, retired.version))
    ended = (one for one in call.port.programmes.events(found.id) if one.id in live and one.cancelled_us)
    vtn.done.update((one.id, one.version) for one in ended)
    await vtn.gone([record, *vtn.book.below(record.id)])
    return said(edition.shown(record, call.edition))


def seen(vtn: Vtn, call: Call) -> Iterator[Record]:
    """Yield the programmes that the asker may see, by name."""
    for one in call.port.programmes.all():
        record = record_of(vtn, one)
        if not one.retired_us and visible(vtn, call, one, record):
            yield record


def find(vtn: Vtn, call: Call, id: str) -> Record:
    """Return a programme that the asker may see; raise `NotFound`."""
    found = call.port.programmes.get(noun_id(id, "PROGRAM"))
    record = record_of(vtn, found)
    if found.retired_us or not visible(vtn, call, found, record):
        raise no_such("PROGRAM")
    return record


def record_of(vtn: Vtn, programme: Programme) -> Record:
    """Return a programme as the wire has it; one that was made elsewhere has what its noun says."""
    known = vtn.book.of_noun(programme.id)
    body: dict[str, Any]
    if known is not None:
        body = {**known.body, "programName": programme.title}
        return msgspec.structs.replace(known, body=body) if body != known.body else known
    descriptors = [
        {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": one.payload_type}
        | ({"units": one.units} if one.units else {}) | ({"currency": one.currency} if one.currency else {})
        for one in programme.signals
    ]  # fmt: skip
    body = {"programName": programme.title, "payloadDescriptors": descriptors}
    if programme.interval_s:
        body["intervalPeriod"] = {"duration": f"PT{programme.interval_s}S"}
    if programme.description_url:
        body["programDescriptions"] = [{"URL": programme.description_url}]
    if programme.targets:
        body["targets"] = list(programme.targets)
    return Record(
        kind="PROGRAM", id=wire_id(programme.id), organisation=programme.organisation, client=programme.by,
        created_us=programme.created_us, modified_us=vtn.modified_us(programme.id, programme.created_us), body=body,
        noun=programme.id,
    )  # fmt: skip


def visible(vtn: Vtn, call: Call, programme: Programme, record: Record) -> bool:
    """Whether the asker may see a programme: of its own organisation by its targets, of others by the node's word."""
    if programme.organisation != call.organisation or call.bl or not record.targets:
        return True
    return bool(record.targets & vtn.book.words(call.organisation, call.client))


def _record(made: Programme, request: ProgramRequest, further: edition.Further, call: Call) -> Record:
    return Record(
        kind="PROGRAM", id=wire_id(made.id), organisation=made.organisation, client=made.by, noun=made.id,
        created_us=made.created_us, modified_us=max(call.now_us, made.created_us), body=body_of(request),
        further=further.fields, types=further.types,
    )  # fmt: skip


def _programme(request: ProgramRequest, before: Programme | None) -> Programme:
    """Return the noun of a request; what the wire does not say stays as it was ``before``."""
    descriptors = [one for one in request.payload_descriptors or () if isinstance(one, EventPayloadDescriptor)]
    signals = {one.payload_type: signal_of(one) for one in descriptors}
    modes = tuple(dict.fromkeys(WIRE_NAMES[CONTROLS[name]] for name in signals if name in CONTROLS))
    period = request.interval_period
    lasts = length(period.duration if period is not None else None)
    interval_s = lasts.us // US if not lasts.months and lasts.us <= _YEAR_S * US else 0
    urls = [one.url for one in request.program_descriptions or () if one.url.startswith(("https://", "http://"))]
    said_of_it: dict[str, Any] = {
        "title": request.program_name, "signals": tuple(signals.values()), "interval_s": interval_s, "modes": modes,
        "description_url": urls[0] if urls else "", "open": not request.targets,
    }  # fmt: skip
    if before is None:
        return Programme(id="", organisation="", **said_of_it)
    if before.default_control != NOTHING:  # a default that was given elsewhere keeps its modes
        said_of_it["modes"] = tuple(dict.fromkeys((*modes, *before.modes)))
    return msgspec.structs.replace(before, **said_of_it)


def signal_of(one: EventPayloadDescriptor) -> SignalDescriptor:
    """Return what a payload means, as a programme says it."""
    currency = one.currency or ""
    return SignalDescriptor(one.payload_type, (one.units or "")[:MAX_WORD], currency if len(currency) <= 3 else "")


def _check_name(vtn: Vtn, call: Call, name: str, own: str) -> None:
    """Raise `Conflict` for a name that another programme of the organisation has, `Invalid` for one of white space."""
    if not name.strip():
        raise Invalid("programName: a name of 1 to 128 characters is needed")
    for one in call.port.programmes.all():
        if one.organisation == call.organisation and one.title == name and one.id != own and not one.retired_us:
            raise Conflict(f"a program named {name!r} is there already")
