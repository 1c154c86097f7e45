"""What programmes claim of one site or Thing: their events and defaults, as far as it is enrolled and takes part."""

from collections.abc import Iterable, Iterator

from gridspine.energy.control import LIMITS, MODE_OF, Control, Mode
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import ProgrammeEvent, drawn, spans
from gridspine.energy.timeline import Claim


def claims_of(
    enrolment: ProgrammeEnrolment, programme: Programme, events: Iterable[ProgrammeEvent], from_us: int, until_us: int
) -> Iterator[Claim]:
    """Yield what ``programme`` asks of one that is enrolled in ``[from_us, until_us)`` [µs since 1970].

    Only what its owner consented to; of events those that are aimed at it and stand, after chance took its part.
    """
    begin_us, end_us = max(from_us, enrolment.from_us), min(until_us, enrolment.until_us)
    if enrolment.state != "active" or programme.retired_us or end_us <= begin_us:
        return
    modes = {MODE_OF[mode] for mode in enrolment.modes if mode in programme.modes}
    default = programme.default_control.only(modes & set(LIMITS))
    if default.modes:
        yield _claim(programme, "", 0, 0, begin_us, end_us, default)
    for event in events:
        if event.cancelled_us or event.until_us <= begin_us or event.from_us >= end_us:
            continue
        if event.aimed_at(enrolment.words):
            yield from _of_event(enrolment, programme, event, begin_us, end_us, frozenset(modes))


def _of_event(
    enrolment: ProgrammeEnrolment, programme: Programme, event: ProgrammeEvent, begin_us: int, end_us: int,
    modes: frozenset[Mode],
) -> Iterator[Claim]:  # fmt: skip
    for span_from_us, span_until_us, control in spans(event, drawn(event, enrolment.id), begin_us, end_us):
        kept = control.only(modes)
        if not kept.modes:
            continue
        for part_from_us, part_until_us in enrolment.takes_part(event.id, span_from_us, span_until_us):
            inside = max(part_from_us, begin_us), min(part_until_us, end_us)
            if inside[0] < inside[1]:
                yield _claim(programme, event.id, event.priority, event.created_us, *inside, kept)


def _claim(
    programme: Programme, by: str, priority: int, since_us: int, from_us: int, until_us: int, control: Control
) -> Claim:
    return Claim(programme.id, by, programme.primacy, priority, since_us, from_us, until_us, control)
