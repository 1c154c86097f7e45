"""Events of programmes as events of OpenADR 2.0b. Pure; no I/O.

::

    event   [ 0: PRICE ──)[ 1: PRICE ──)      [ 2: importLimitW ──)
    told    eventID, two intervals            eventID-1, one interval

Intervals of an eiEvent follow each other and have the same signals throughout: an event with gaps, or whose signals
come and go, is told as several, its first under its own id.

    targetW                   LOAD_DISPATCH setpoint, powerReal in W, import positive
    importLimitW, …           signals named x-…, setpoint, powerReal in W: the standard has no limit in watts
    PRICE                     ELECTRICITY_PRICE price, currencyPerKWh
    SIMPLE and the standard's own names          as they are
    other signals             x-…, level

Lost: signals that are texts or have several values, connect, energise, ramps, and ends that chance brings forward.
Source: ``oadr_ei_20b.xsd`` (signalName, signalType, EventStatusEnumeratedType); the specification's text was not read.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from gridspine.adapters.openadr2.book import Link
from gridspine.adapters.openadr2.message import (
    ActivePeriod,
    Descriptor,
    EiEvent,
    Item,
    Signal,
    SignalInterval,
    Status,
    Target,
)
from gridspine.energy.control import MODE_OF, Mode
from gridspine.energy.followed import Part
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent
from gridspine.kernel.time import MAX_US, MIN_US, US

NO_PRIORITY = 2**31 - 1
CONTROLS: dict[Mode, str] = {
    "target_w": "LOAD_DISPATCH",
    "import_limit_w": "x-IMPORT_CAPACITY_LIMIT", "export_limit_w": "x-EXPORT_CAPACITY_LIMIT",
    "generation_limit_w": "x-GENERATION_CAPACITY_LIMIT", "load_limit_w": "x-LOAD_CAPACITY_LIMIT",
}  # fmt: skip
"""Signals that modes of a control are told by."""
POWER = "power:powerReal"
_OWN_NAMES = frozenset(
    {"SIMPLE", "ELECTRICITY_PRICE", "ENERGY_PRICE", "DEMAND_CHARGE", "BID_PRICE", "BID_LOAD", "BID_ENERGY",
     "CHARGE_STATE", "LOAD_DISPATCH", "LOAD_CONTROL"}
)  # fmt: skip
_OF_MONEY = frozenset({"ELECTRICITY_PRICE", "ENERGY_PRICE", "DEMAND_CHARGE", "BID_PRICE"})
_PER = {"": "oadr:currencyPerKWh", "KWH": "oadr:currencyPerKWh", "KW": "oadr:currencyPerKW"}


class Told(NamedTuple):
    """An event as a VEN is told of it; ``noun`` is that of the node, ``part`` which of its runs it is."""

    noun: str
    part: int
    event: EiEvent

    @property
    def id(self) -> str:
        """Its eventID."""
        return self.event.descriptor.event_id

    @property
    def number(self) -> int:
        """Its modificationNumber."""
        return self.event.descriptor.modification_number

    def over(self, now_us: int) -> bool:
        """Whether its time has passed at ``now_us`` [µs since 1970]."""
        lasts_us = self.event.period.duration_us
        return bool(lasts_us) and self.event.period.start_us + lasts_us <= now_us


def wire_id(noun: str) -> str:
    """Return how the wire calls an event or programme."""
    return noun.removeprefix("urn:uuid:")


def market_context(programme: Programme) -> str:
    """Return the URI by which a programme is known."""
    return programme.description_url or programme.id


def tell(parts: Sequence[Part], ven_id: str, links: dict[str, Link], ramp_up_us: int, now_us: int) -> list[Told]:
    """Return all events of a VEN that are not over, also those that were cancelled, the most urgent first.

    Each as far as its owner consented: of controls the modes, and nothing before the enrolment or after its end. What
    lies in times that were opted out of is left out; where only a part of it does it is told whole. ``links`` say by
    which event the wire knows those that took another's place.
    """
    found: list[Told] = []
    for part in parts:
        replaced = {one.supersedes for one in part.events}
        modes = {MODE_OF[mode] for mode in part.enrolment.modes if mode in part.programme.modes}
        for event in part.events:
            if event.until_us <= now_us or event.id in replaced:
                continue
            link = links.get(event.id) or Link(event.id, 0, 0)
            words = (part.enrolment.words & set(event.targets)) - {part.enrolment.id, part.enrolment.subject}
            target = Target(ven_ids=(ven_id,), group_ids=tuple(sorted(words)))
            for at, all_ in enumerate(_runs(event, modes)):
                if not (run := _within(all_, part.enrolment)):
                    continue
                made = _event(part.programme, event, run, at, link, target, ramp_up_us, now_us)
                if made is not None and (one := Told(event.id, at, made)) and not one.over(now_us):
                    found.append(one)
    return sorted(found, key=lambda one: (one.event.descriptor.priority or 2**32, one.event.period.start_us, one.id))


def next_change_us(told: Sequence[Told], ramp_up_us: int, now_us: int) -> int:
    """Return when the status of one changes next [µs since 1970]."""
    times = [MAX_US]
    for one in told:
        start_us, lasts_us = one.event.period.start_us, one.event.period.duration_us
        times += [start_us - ramp_up_us, start_us, start_us + lasts_us if lasts_us else MAX_US]
        at_us = start_us
        for interval in one.event.signals[0].intervals:
            at_us += interval.duration_us or 0
            times.append(at_us)
    return min(time for time in times if time > now_us)


def _within(run: Sequence[EventInterval], enrolment: ProgrammeEnrolment) -> list[EventInterval]:
    """Return what of a run is for one that is enrolled; one without an end has none: it is told no more then.

    Who was enrolled from now on is told when an event began that ran already; who is from a later time, of whole
    seconds from that time.
    """
    begin_us = -(-enrolment.from_us // US) * US if enrolment.from_us > enrolment.asked_us else MIN_US
    found = []
    for one in run:
        until_us = MAX_US if one.until_us >= MAX_US else min(one.until_us, enrolment.until_us)
        from_us = max(one.from_us, begin_us)
        if from_us < until_us:
            found.append(msgspec.structs.replace(one, from_us=from_us, until_us=until_us))
    # What was opted out of by its name is the VEN's to know where it was the VEN that did: see `view`.
    return found if found and any(enrolment.takes_part("", found[0].from_us, found[-1].until_us)) else []


def _runs(event: ProgrammeEvent, modes: Collection[str]) -> Iterator[list[EventInterval]]:
    run: list[EventInterval] = []
    for given in event.intervals:
        one = msgspec.structs.replace(given, control=given.control.only(modes))
        if run and (run[-1].until_us != one.from_us or _kinds(run[-1]) != _kinds(one)):
            yield run
            run = []
        run.append(one)
    yield run


def _kinds(interval: EventInterval) -> list[str]:
    return [*_values(interval)]


def _values(interval: EventInterval) -> dict[str, float]:
    """Return what of an interval can be told: numbers, by the type of the signal or the mode."""
    found: dict[str, float] = {}
    for signal in interval.signals:
        value = signal.values[0] if len(signal.values) == 1 else ""
        if not isinstance(value, str):
            found[f"signal {signal.type}"] = float(value)
    return found | {mode: value for mode, value in interval.control.asked() if mode in CONTROLS}


def _event(
    programme: Programme, event: ProgrammeEvent, run: list[EventInterval], at: int, link: Link, target: Target,
    ramp_up_us: int, now_us: int,
) -> EiEvent | None:  # fmt: skip
    kinds = _kinds(run[0])
    if not kinds:
        return None
    from_us, until_us = run[0].from_us, run[-1].until_us
    descriptor = Descriptor(
        event_id=wire_id(link.root) + (f"-{at}" if at else ""),
        modification_number=link.number + bool(event.cancelled_us),
        modified_us=event.cancelled_us or event.created_us,
        priority=0 if event.priority >= NO_PRIORITY else event.priority + 1,
        market_context=market_context(programme), created_us=event.created_us,
        status=_status(event, from_us, until_us, ramp_up_us, now_us), test="false", comment=event.title,
    )  # fmt: skip
    period = ActivePeriod(
        start_us=from_us, duration_us=_length(from_us, until_us),
        start_after_us=round(event.randomise_start_s * US) or None, ramp_up_us=ramp_up_us or None,
    )  # fmt: skip
    signals = tuple(_signal(programme, kind, run, number, now_us) for number, kind in enumerate(kinds))
    return EiEvent(descriptor=descriptor, period=period, signals=signals, target=target)


def _length(from_us: int, until_us: int) -> int:
    """Return how long something lasts, 0 for until further notice [µs]."""
    return 0 if until_us >= MAX_US else until_us - from_us


def _whole(one: EventInterval, begin_us: int) -> int:
    """Return how long an interval lasts in whole seconds [µs], so that what is cut off does not add up."""
    if one.until_us >= MAX_US:
        return 0
    return (one.until_us - begin_us) // US * US - (one.from_us - begin_us) // US * US


def _status(event: ProgrammeEvent, from_us: int, until_us: int, ramp_up_us: int, now_us: int) -> Status:
    if event.cancelled_us:
        return "cancelled"
    if now_us >= from_us:
        return "active" if now_us < until_us else "completed"
    return "near" if now_us >= from_us - ramp_up_us else "far"


def _signal(programme: Programme, kind: str, run: list[EventInterval], number: int, now_us: int) -> Signal:
    mode = next((mode for mode in CONTROLS if mode == kind), None)
    name, type_, item = _meaning(programme, kind) if mode is None else (CONTROLS[mode], "setpoint", _WATTS)
    values = [_values(one)[kind] for one in run]
    begin_us = run[0].from_us
    intervals = tuple(
        SignalInterval(duration_us=_whole(one, begin_us), uid=str(at), value=value)
        for at, (one, value) in enumerate(zip(run, values, strict=True))
    )
    current = next((value for one, value in zip(run, values, strict=True) if one.from_us <= now_us < one.until_us), 0.0)
    return Signal(intervals=intervals, name=name, type=type_, id=str(number), item=item, current=current)


_WATTS = Item(kind=POWER, units="W", hertz=50.0, voltage=230.0, ac=True)


def _meaning(programme: Programme, kind: str) -> tuple[str, str, Item | None]:
    """Return name and type of a signal that informs, and what its numbers mean."""
    said = kind.removeprefix("signal ")
    described = next((one for one in programme.signals if one.payload_type == said), None)
    units, currency = ("", "") if described is None else (described.units, described.currency)
    name = "ELECTRICITY_PRICE" if said == "PRICE" else said if said in _OWN_NAMES else f"x-{said}"
    if name in _OF_MONEY and len(currency) == 3 and units.upper() in _PER:
        return name, "price", Item(kind=_PER[units.upper()], units=currency.upper())
    type_ = "price" if name in _OF_MONEY else "setpoint" if name in {"CHARGE_STATE", "LOAD_DISPATCH"} else "level"
    return name, type_, Item(kind="oadr:customUnit", units=units, description=said) if units else None
