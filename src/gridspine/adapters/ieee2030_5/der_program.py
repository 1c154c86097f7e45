"""What a Thing follows, in words of IEEE 2030.5: assignments, DER programs and DER controls. Pure; no I/O.

::

    enrolment in a programme ──────────► FunctionSetAssignments ─► DERProgram (primacy, default)
                                                                     event, each interval ─► DERControl
                                              chance: drawn by the device, or here, where its words lack
    site: its limits, its envelopes ───► FunctionSetAssignments ─► DERProgram: the tightest of all
                                                                     between edges of intervals ─► DERControl
    a lease on a point of the Thing ───► FunctionSetAssignments ─► DERProgram ─► DERControl

    interval   scheduled (0) ─► active (1) ─► over: not listed any more        cancelled (2), superseded (4): listed
                                                                               until it would have been over

A programme without modes commands nothing: its assignment lists no DER program. A control is superseded when better
ones of the same programme lie over all that is left of it, from when the first of them begins; before, and where a part
of it is left, it is potentially so.

Source: IEEE 2030.5-2018 ``sep.xsd``, EventStatus with its notes on who marks an event superseded, and when.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from gridspine.adapters.ieee2030_5.mrid import short
from gridspine.adapters.ieee2030_5.tariff import Tariff, tariffs
from gridspine.energy.control import MODE_OF, Control, tightest
from gridspine.energy.envelope import Envelope
from gridspine.energy.followed import Followed
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import Drawn, ProgrammeEvent, drawn, span
from gridspine.energy.site import Site
from gridspine.energy.timeline import Claim, Limited, intersect, resolve
from gridspine.kernel.time import MAX_US

SCHEDULED, ACTIVE, CANCELLED, SUPERSEDED = 0, 1, 2, 4
_BY_ANOTHER = "superseded by "


class DerControl(NamedTuple):
    """A DERControl: ``names`` make its mRID; ``event`` is the event it is of, "" for none; times in µs since 1970."""

    names: tuple[str, ...]
    title: str
    control: Control
    from_us: int
    until_us: int
    created_us: int
    status: int
    status_us: int
    event: str = ""
    reason: str = ""
    potentially_superseded: bool = False
    randomise_start_s: float = 0.0
    """By how much chance may move it as a whole [s], to end by ``until_us`` at the latest."""
    randomise_duration_s: float = 0.0

    @property
    def key(self) -> str:
        """How it is called in paths."""
        return short("DERControl", *self.names)


class DerProgram(NamedTuple):
    """A DERProgram; ``controls`` in the order of their start."""

    names: tuple[str, ...]
    title: str
    primacy: int
    version: int
    changed_us: int
    default: Control
    controls: tuple[DerControl, ...]
    defaults: bool = True
    """Whether there is a default, be it empty."""

    @property
    def key(self) -> str:
        """How it is called in paths."""
        return short("DERProgram", *self.names)


class Assignment(NamedTuple):
    """FunctionSetAssignments: what is assigned to an EndDevice together."""

    names: tuple[str, ...]
    title: str
    version: int
    changed_us: int
    programs: tuple[DerProgram, ...]
    tariffs: tuple[Tariff, ...] = ()

    @property
    def key(self) -> str:
        """How it is called in paths."""
        return short("FunctionSetAssignments", *self.names)


def assignments(followed: Followed, now_us: int, envelope_primacy: int) -> list[Assignment]:
    """Return what is assigned to one that follows ``followed``, as it stands at ``now_us`` [µs since 1970]."""
    found: list[Assignment] = []
    if followed.site is not None:
        found += _of_site(followed.site, followed.envelopes, now_us, envelope_primacy)
    seen: set[str] = set()
    for part in followed.parts:
        enrolment, programme = part.enrolment, part.programme
        if programme.id in seen or programme.retired_us or not enrolment.from_us <= now_us < enrolment.until_us:
            continue
        seen.add(programme.id)
        programs = (_of_programme(enrolment, programme, part.events, now_us),) if programme.modes else ()
        found.append(
            Assignment(
                (programme.id,), programme.title, programme.version, enrolment.decided_us, programs,
                tariffs(part, now_us),
            )
        )  # fmt: skip
    return found


def next_change_us(found: Iterable[Assignment], followed: Followed, now_us: int) -> int:
    """Return when time alone makes another answer of it [µs since 1970]."""
    times = [edge for one in followed.parts for edge in (one.enrolment.from_us, one.enrolment.until_us)]
    for control in (control for one in found for program in one.programs for control in program.controls):
        times += [control.from_us, control.until_us]
    for rate in (rate for one in found for tariff in one.tariffs for rate in tariff.rates):
        times += [edge for one in rate.intervals for edge in (one.from_us, one.until_us)]
    return min((one for one in times if one > now_us), default=MAX_US)


def _of_site(site: Site, envelopes: Sequence[Envelope], now_us: int, primacy: int) -> Iterator[Assignment]:
    """Yield what holds at a connection point: one program, as of two a device carries out the newer, be it looser."""
    if not envelopes and not site.limits.modes:
        return
    default = tightest([site.limits, *(one.default for one in envelopes)])
    version = site.version + sum(one.version for one in envelopes)
    changed_us = max([site.created_us, *(one.created_us for one in envelopes)])
    title = envelopes[0].title if len(envelopes) == 1 else site.title
    controls = tuple(_of_envelopes(site, envelopes, title, now_us))
    program = DerProgram(("limits", site.id), title, primacy, version, changed_us, default, controls)
    yield Assignment(("site", site.id), site.title, site.version, site.created_us, (program,))


def _of_envelopes(site: Site, envelopes: Sequence[Envelope], title: str, now_us: int) -> Iterator[DerControl]:
    """Yield the tightest limits of a site and all its envelopes, wherever an interval of one of them lies.

    From one start or end of an interval to the next is one control; its name changes whenever what it says could.
    """
    spans = [span for span in _spans(envelopes) if span[1] > now_us]
    if not spans:
        return
    from_us, until_us = spans[0][0], spans[-1][1]
    layers = [one.layer(from_us, until_us) for one in envelopes]
    held = intersect([*layers, [Limited(from_us, until_us, site.limits)]], from_us, until_us)
    created_us = max(one.created_us for one in envelopes)
    versions = [str(site.version), *(word for one in envelopes for word in (one.id, str(one.version)))]
    at = 0
    for begin_us, end_us in spans:
        while held[at].until_us <= begin_us:
            at += 1
        yield DerControl(
            ("limits", site.id, str(begin_us), *versions), title, held[at].control, begin_us, end_us, created_us,
            *_by_time(begin_us, created_us, now_us),
        )  # fmt: skip


def _spans(envelopes: Sequence[Envelope]) -> Iterator[tuple[int, int]]:
    """Yield from when until when [µs since 1970] the same intervals lie, where any does, in order."""
    steps: Counter[int] = Counter()
    for one in (interval for envelope in envelopes for interval in envelope.intervals):
        steps[one.from_us] += 1
        steps[one.until_us] -= 1
    depth = 0
    for begin_us, end_us in pairwise(sorted(steps)):
        depth += steps[begin_us]
        if depth:
            yield begin_us, end_us


def _of_programme(
    enrolment: ProgrammeEnrolment, programme: Programme, events: Sequence[ProgrammeEvent], now_us: int
) -> DerProgram:
    modes = {MODE_OF[mode] for mode in enrolment.modes if mode in programme.modes}
    for_it = [one for one in events if one.aimed_at(enrolment.words) and one.until_us > now_us]
    standing = [one for one in for_it if not one.cancelled_us]
    superseded = _superseded(programme, standing, modes, now_us)
    controls = [
        control
        for event in for_it
        for control in _of_event(event, drawn(event, enrolment.id), modes, superseded, now_us)
        if any(enrolment.takes_part(event.id, control.from_us, control.until_us))
    ]
    controls.sort(key=lambda one: (one.from_us, one.created_us, one.names))
    default = programme.default_control.only(modes)
    changed_us = max([programme.created_us, *(max(one.created_us, one.cancelled_us) for one in for_it)])
    return DerProgram(
        (programme.id,), programme.title, programme.primacy, programme.version, changed_us, default, tuple(controls),
    )  # fmt: skip


def _of_event(
    event: ProgrammeEvent, chance: Drawn, modes: Set[str], superseded: dict[tuple[str, int], int], now_us: int
) -> Iterator[DerControl]:
    for at, one in enumerate(event.intervals):
        control = one.control.only(modes)
        from_us, until_us, *random_s = _times(event, at, chance)
        if until_us <= now_us or not control.modes:
            continue
        status, status_us = _by_time(from_us, event.created_us, now_us)
        overlaid_us = superseded.get((event.id, at), MAX_US)
        reason = ""
        if event.cancelled_us:
            status, status_us, reason = CANCELLED, event.cancelled_us, event.reason
            if event.reason.startswith(_BY_ANOTHER):
                status, reason = SUPERSEDED, ""
        elif 0 <= overlaid_us <= now_us:
            status, status_us = SUPERSEDED, overlaid_us
        yield DerControl(
            (event.id, str(at)), event.title, control, from_us, until_us, event.created_us, status, status_us,
            event.id, reason, overlaid_us != MAX_US, *random_s,
        )  # fmt: skip


def _times(event: ProgrammeEvent, at: int, chance: Drawn) -> tuple[int, int, float, float]:
    """Return from when until when an interval is told to hold [µs since 1970], and what chance its device draws [s].

    A device draws start and duration apart, and for each control by itself (IEEE 2030.5-2018 C.22). Where that is not
    what the event means, what chance took here is told: where the end stays, or intervals follow at once.
    """
    one, others = event.intervals[at], event.intervals[max(0, at - 1) : at + 2]
    joined = any(before.until_us == after.from_us for before, after in pairwise(others))
    if joined or (event.randomise_start_s and not event.randomise_keeps_length):
        return *span(event, at, chance), 0.0, 0.0
    return one.from_us, one.until_us, event.randomise_start_s, event.randomise_duration_s


def _by_time(from_us: int, since_us: int, now_us: int) -> tuple[int, int]:
    return (ACTIVE, max(from_us, since_us)) if from_us <= now_us else (SCHEDULED, since_us)


def _superseded(
    programme: Programme, events: Sequence[ProgrammeEvent], modes: Set[str], now_us: int
) -> dict[tuple[str, int], int]:
    """Return of intervals over which better ones lie, by event and place, since when all of it is; -1 for a part."""
    claims: dict[str, tuple[tuple[str, int], Claim]] = {}
    for event in events:
        for at, one in enumerate(event.intervals):
            control = one.control.only(modes)
            if control.modes and one.until_us > now_us:
                by = f"{event.id}/{at}"
                since_us = event.created_us
                claim = Claim(
                    programme.id, by, programme.primacy, event.priority, since_us, one.from_us, one.until_us, control
                )  # fmt: skip
                claims[by] = (event.id, at), claim
    if len(claims) < 2:
        return {}
    until_us = max(claim.until_us for _, claim in claims.values())
    stretches = resolve([claim for _, claim in claims.values()], now_us, until_us)
    found: dict[tuple[str, int], int] = {}
    for by, (place, claim) in claims.items():
        over = [one for one in stretches if one.from_us < claim.until_us and one.until_us > claim.from_us]
        lost = [one for one in over for mode in claim.control.modes if one.held[mode].by != by]
        if lost:
            begin_us = min(one.held[mode].from_us for one in lost for mode in claim.control.modes if mode in one.held)
            whole = all(one.held[mode].by != by for one in over for mode in claim.control.modes)
            found[place] = max(begin_us, 0) if whole else -1
    return found
