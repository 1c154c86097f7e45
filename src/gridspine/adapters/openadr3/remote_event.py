"""Events of somebody else's VTN as events of the node: read leniently, cut to what the node holds. Pure; no I/O."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from gridspine.adapters.openadr3 import edition
from gridspine.adapters.openadr3.part import parts_of
from gridspine.adapters.openadr3.payload import CONTROLS
from gridspine.adapters.openadr3.period import chance_s, spans
from gridspine.adapters.openadr3.program import signal_of
from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.remote_record import Due
from gridspine.adapters.openadr3.wire import EventPayloadDescriptor, EventRequest, ProgramRequest, read
from gridspine.energy.control import WIRE_NAMES
from gridspine.energy.programme import MAX_DESCRIPTORS, SignalDescriptor
from gridspine.energy.programme_event import MAX_INTERVALS, MAX_RANDOM_S, MAX_SIGNALS, MAX_VALUES, EventInterval
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import MAX_US, US

NO_PRIORITY = 2**31 - 1
_MAX_DEPTH, _MAX_NAME = 40, 500


class Read(NamedTuple):
    """An event that was read: its request, whom it is for, and what its words come to."""

    request: EventRequest
    targets: frozenset[str]
    digest: str


class Plan(NamedTuple):
    """What of an event is to be published: ``parts`` that are not over, and from when on more [µs], 0 for never."""

    parts: tuple[EventInterval, ...]
    again_us: int
    chance_s: float
    lost: str


def read_program(document: Mapping[str, Any], edition_: str) -> ProgramRequest:
    """Return a program; raise `Invalid`."""
    found: ProgramRequest = read(_newer(document, edition_), ProgramRequest)
    return found


def read_event(document: Mapping[str, Any], edition_: str) -> Read:
    """Return an event; raise `Invalid`. A name that is too long is cut, a priority beyond all others is the last."""
    newer = _newer(document, edition_)
    if isinstance(name := newer.get("eventName"), str):  # the OpenAPI document bounds neither
        newer["eventName"] = name[:_MAX_NAME]
    if isinstance(priority := newer.get("priority"), int) and priority > NO_PRIORITY:
        newer["priority"] = NO_PRIORITY
    request: EventRequest = read(newer, EventRequest)
    digest = hashlib.blake2b(msgspec.json.encode(newer, order="sorted"), digest_size=12).hexdigest()
    return Read(request, frozenset(request.targets or ()), digest)


def signals_described(program: ProgramRequest) -> tuple[SignalDescriptor, ...]:
    """Return what a program says its payloads mean, each once."""
    found = {
        one.payload_type: signal_of(one)
        for one in program.payload_descriptors or ()
        if isinstance(one, EventPayloadDescriptor)
    }
    return tuple(found.values())[:MAX_DESCRIPTORS]


def terms_of(event: EventRequest, program: ProgramRequest, interval_s: int, connection: Connection) -> str:
    """Return what besides an event's own words it is read by: lengths and units of its program, and the consent."""
    used = {payload.type for one in event.intervals or () for payload in one.payloads}
    units = {name: unit for name, unit in _units(event, program).items() if name in used}
    modes = sorted(used & _modes(connection))
    said = msgspec.json.encode((interval_s, units, modes), order="sorted")
    return hashlib.blake2b(said, digest_size=12).hexdigest()


def _modes(connection: Connection) -> frozenset[str]:
    """Return the payload types that may command, by the owner's consent."""
    return frozenset(name for name, mode in CONTROLS.items() if WIRE_NAMES[mode] in connection.modes)


def _units(event: EventRequest, program: ProgramRequest) -> dict[str, str]:
    """Return the units of payload types: the event's word, else its program's."""
    return {
        one.payload_type: one.units or ""
        for one in (*(program.payload_descriptors or ()), *(event.payload_descriptors or ()))
        if isinstance(one, EventPayloadDescriptor)
    }


def plan_of(
    event: EventRequest, program: ProgramRequest, interval_s: int, connection: Connection, first_us: int, now_us: int
) -> Plan:
    """Return what of an event is to be published now; raise `Invalid` for what is no event.

    What it would command without saying in which unit is for knowing only, and ``lost`` says so.
    """
    modes, units = _modes(connection), _units(event, program)
    lost = ""
    try:
        found = parts_of(event, interval_s, first_us, modes, units)
    except Invalid as error:
        lost = error.detail
        found = parts_of(event, interval_s, first_us, frozenset(), units)
    ahead = [_within(one) for one in found if one.until_us > now_us]
    kept = tuple(ahead[:MAX_INTERVALS])
    again_us = kept[MAX_INTERVALS // 2].from_us if len(ahead) > len(kept) else 0
    chance = 0.0
    if any(one.control.modes for one in kept):
        shortest_s = min(one.until_us - one.from_us for one in kept) / US
        chance = max(0.0, min(chance_s(event), MAX_RANDOM_S, shortest_s - 1.0))
    return Plan(kept, again_us, chance, lost)


def reports_of(event: EventRequest, interval_s: int, first_us: int) -> tuple[Due, ...]:
    """Return the reports that an event asks for: upon its intervals, or upon every ``frequency`` of them."""
    try:
        found = [one for one in spans(event, interval_s, first_us) if one.until_us < MAX_US]
    except Invalid:
        return ()
    due: list[Due] = []
    for one in event.report_descriptors or ():
        begin = max(0, one.start_interval)
        end = begin + one.num_intervals if one.num_intervals > 0 else len(found)
        asked = [(span.interval.id, span.from_us, span.until_us) for span in found[begin:end]]
        step = one.frequency if one.frequency > 0 else max(1, len(asked))
        parts = [tuple(asked[at : at + step]) for at in range(0, len(asked), step)]
        parts = parts if one.repeat < 0 or one.frequency <= 0 else parts[: one.repeat]
        due += [Due(one.payload_type, one.units or "", part) for part in parts]
    return tuple(due[:MAX_INTERVALS])


def _within(one: EventInterval) -> EventInterval:
    """Return an interval with as many signals and values as the node holds."""
    signals = tuple(
        msgspec.structs.replace(signal, values=signal.values[:MAX_VALUES]) for signal in one.signals[:MAX_SIGNALS]
    )
    return msgspec.structs.replace(one, signals=signals)


def _newer(document: Mapping[str, Any], edition_: str) -> dict[str, Any]:
    """Return a document in the form of 3.1.0, without what is null; raise `Invalid`."""
    found: dict[str, Any] = _said(document, 0)
    found = edition.newer(found, {}) if edition_ == "3.0.1" else found
    for one in found.get("payloadDescriptors") or ():
        if isinstance(one, dict):  # not all VTNs say it
            one.setdefault("objectType", "EVENT_PAYLOAD_DESCRIPTOR")
    return found


def _said(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise Invalid("the object nests too deeply")
    if isinstance(value, list):
        return [_said(one, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _said(one, depth + 1) for name, one in value.items() if one is not None}
