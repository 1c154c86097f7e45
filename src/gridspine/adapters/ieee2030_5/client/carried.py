"""A server's programs as programmes of the node: made, changed, cancelled and ended as the server says.

::

    DERProgram ──────────► programme of the site's organisation (primacy, default) ─► enrolment of the site
    DERControl, new ─────► event of it: priority by creationTime, chance drawn by the node
    cancelled, superseded, listed no more ─► the event is cancelled
    over, then unlisted ─► it ran its course
    listed no more ──────► the programme is retired: what it commanded ends, its default, too
    listed again ────────► carried out again; what was said of it is not said twice
    retired here ────────► it stays ended for as long as the server lists it, also when the node has let it go

What was made is found again by the mRID in its title, so that nothing is made twice when the node stops in between.
What was cancelled here, and by no person, while the record still names it, is followed by what was made next; an event
that no record names, and no control, is cancelled.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from gridspine.adapters.ieee2030_5.client.answer import DECIDED, OPTED_OUT, Standing, last_of
from gridspine.adapters.ieee2030_5.client.der_control import EXPIRED, INVALID, SUPERSEDED, SeenControl, SeenProgram
from gridspine.adapters.ieee2030_5.client.end_device import Upstream
from gridspine.adapters.ieee2030_5.client.held import rank
from gridspine.adapters.ieee2030_5.client.record import ControlRecord, ProgramRecord, Record
from gridspine.adapters.ieee2030_5.mrid import short
from gridspine.energy.control import WIRE_NAMES
from gridspine.energy.control_port import ControlPort
from gridspine.energy.programme import Programme, ReportDescriptor
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, drawn, spans
from gridspine.energy.timeline import Claim, resolve
from gridspine.energy.upstream.consent import Consent
from gridspine.energy.upstream.event import is_live
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, NotFound, Overloaded
from gridspine.kernel.time import MAX_US, MIN_US, US

log = logging.getLogger(__name__)
_KEPT_OVER_US, _KEPT_GONE_US = 86_400 * US, 7 * 86_400 * US
"""How long a control stays known that is over, and one that is listed no more [µs]: its server may list it again."""
_MOVED_US = 30 * US
"""By how much a control's times may differ from its event's [µs]: a slow answer tells the time 10 s amiss."""
_UNLISTED, _MOVED = "the server lists it no more", "it is at another time by the clock that is right now"
_OURS = frozenset({_UNLISTED, _MOVED})
"""Why an event was cancelled that may be followed by another of the same control."""


class Carrier:
    """Carries what one EndDevice is told, in the name of ``port``; ``thing`` stands for it."""

    def __init__(self, port: ControlPort, clock: Clock, thing: str, upstream: Upstream) -> None:
        self._port, self._clock, self._thing, self._upstream = port, clock, thing, upstream

    async def carry(
        self, record: Record, seen: Iterable[SeenProgram], offset_us: int, *, whole: bool = True
    ) -> Record:  # fmt: skip
        """Make the node's nouns what ``seen`` says; ``offset_us`` [µs] is how much the server's clock is before ours.

        Where ``seen`` is not ``whole``, what is missing may be what could not be read: it stands as it is; as does a
        program that cannot be made as it is now, beside which the others are. Returns what is to be kept.
        """
        programs = dict(record.programs)
        listed: set[str] = set()
        for one in seen:
            listed.add(one.mrid)
            try:
                programs[one.mrid] = await self._program(programs.get(one.mrid), one, offset_us)
            except (Conflict, Invalid, Overloaded) as error:
                log.warning("a program is not followed now: mRID=%s %s", one.mrid, error.detail)
        if not whole:
            return msgspec.structs.replace(record, programs=programs)
        for mrid in programs.keys() - listed:
            programs[mrid] = await self._gone(programs[mrid])
        kept = {mrid: one for mrid, one in programs.items() if mrid in listed or one.controls}
        return msgspec.structs.replace(record, programs=kept)

    async def end(self, record: Record) -> None:
        """End all that was made: the Thing stands for it no more."""
        mirror = () if record.mirror is None else (record.mirror,)
        for one in (*record.programs.values(), *mirror):
            await self._gone(one)

    async def mirror(self, record: Record) -> Record:
        """Make the programme by which the node's readings are had, where they are wanted."""
        wanted = tuple(
            ReportDescriptor(payload_type="READING", point=point, interval_s=self._upstream.post_s)
            for point in self._upstream.mirror
        )
        if not wanted:
            return record
        made = await self._programme(record.mirror, "readings", "Readings for the utility", Programme(
            id="", organisation="", title="", reports=wanted,
        ))  # fmt: skip
        return msgspec.structs.replace(record, mirror=made)

    def enrolment(self, one: ProgramRecord) -> ProgrammeEnrolment | None:
        """Return the enrolment by which a program is followed, None where it is there no more."""
        try:
            return self._port.enrolments.get(one.programme, one.enrolment) if one.enrolment else None
        except NotFound:
            return None

    # -- programmes ----------------------------------------------------------------------------------------------------

    async def _program(self, before: ProgramRecord | None, seen: SeenProgram, offset_us: int) -> ProgramRecord:
        wanted = Programme(
            id="", organisation="", title="", primacy=seen.primacy, modes=tuple(WIRE_NAMES.values()),
            default_control=seen.default,
        )  # fmt: skip
        found = await self._programme(before, seen.mrid, seen.title or "DERProgram", wanted)
        controls = dict(found.controls)
        if before is not None and before.programme != found.programme:
            controls = self._left(before.controls)
        events = self._by_mrid(found)
        for one in sorted(seen.controls, key=lambda control: control.created_s):
            try:
                known = controls.get(one.mrid)
                controls[one.mrid] = await self._control(found, known, one, events.get(one.mrid, ()), offset_us)
            except GridspineError as error:
                log.warning("a control is not followed: mRID=%s %s", one.mrid, error.detail)
        listed = seen.may_list(controls)
        missing = {mrid: one for mrid, one in controls.items() if mrid not in listed}
        for gone in missing.values():
            if not gone.gone_us:
                await self._cancel(found.programme, gone.event, _UNLISTED)
        controls |= self._left(missing)
        await self._cancel_strays(found, seen, controls, events)
        kept = {mrid: one for mrid, one in controls.items() if mrid in listed or self._is_kept(one)}
        return msgspec.structs.replace(found, controls=kept)

    def _by_mrid(self, of: ProgramRecord) -> dict[str, list[ProgrammeEvent]]:
        """Return the events of a programme by the mRIDs of what they were made of, the newest first."""
        found: dict[str, list[ProgrammeEvent]] = {}
        for one in self._events(of).values():
            if not one.title.endswith(")"):
                continue  # somebody published it here
            found.setdefault(one.title.removesuffix(")").rpartition("(")[2], []).append(one)
        return found

    async def _cancel_strays(
        self, of: ProgramRecord, seen: SeenProgram, controls: Mapping[str, ControlRecord],
        events: Mapping[str, list[ProgrammeEvent]],
    ) -> None:  # fmt: skip
        """Cancel what was published before something broke off, was not noted, and is listed no more.

        What is listed, or may be, and could not be noted now is found again at the next look.
        """
        listed = seen.may_list(events)
        for mrid, found in events.items():
            noted = controls.get(mrid)
            if mrid in listed and (noted is None or any(one.id == noted.event and _is_ours(one) for one in found)):
                continue
            for one in found:
                if one.by == self._port.source.principal and (noted is None or one.id != noted.event):
                    await self._cancel(of.programme, one.id, _UNLISTED)

    def _left(self, controls: Mapping[str, ControlRecord]) -> dict[str, ControlRecord]:
        """Return controls that are listed no more, since now where they were before."""
        now_us = self._clock.now_us()
        return {mrid: msgspec.structs.replace(one, gone_us=one.gone_us or now_us) for mrid, one in controls.items()}

    def _is_kept(self, one: ControlRecord) -> bool:
        now_us = self._clock.now_us()
        return one.until_us > now_us - _KEPT_OVER_US and (not one.gone_us or one.gone_us > now_us - _KEPT_GONE_US)

    async def _programme(
        self, before: ProgramRecord | None, mrid: str, title: str, wanted: Programme
    ) -> ProgramRecord:  # fmt: skip
        """Return the programme and enrolment that a program became, as ``wanted``; they are made where they lack."""
        tail = f" ({mrid}, {short(self._thing)})"
        wanted = msgspec.structs.replace(wanted, title=title[:64] + tail)
        try:
            found = self._known(before, tail)
        except NotFound:
            if before is None:
                raise
            return before
        if found is None:
            found = await self._port.programmes.create(wanted)
        elif not found.retired_us and _differs(found, wanted):
            found = await self._port.programmes.change(found.id, _as(found, wanted))
        if before is not None and before.programme == found.id and before.enrolment:
            return before
        made = ProgramRecord(found.id, await self._enrolled(found))
        if before is not None and (one := self.enrolment(before)) is not None and one.state == "withdrawn":
            reason = "it was withdrawn before the server listed it again"
            await self._port.enrolments.decide(made.programme, made.enrolment, "withdraw", reason)
        return made

    def _known(self, before: ProgramRecord | None, tail: str) -> Programme | None:
        """Return what was made of a program, None for nothing; raise `NotFound` if it was retired here and let go."""
        if before is not None and not before.gone:
            return self._port.programmes.own(before.programme)
        own = (one for one in self._port.programmes.all() if one.title.endswith(tail) and not one.retired_us)
        return next(own, None)

    async def _enrolled(self, programme: Programme) -> str:
        now_us, port = self._clock.now_us(), self._port.enrolments
        for one in port.all(programme.id):
            if one.stands(now_us):
                return one.id
            if one.waits(now_us):  # the node stopped between its being asked for and its being admitted
                return (await port.decide(programme.id, one.id, "admit", "it was asked for by the same")).id
        consent = Consent(self._upstream.site, self._upstream.thing, authority="network")
        return (await port.ask(consent.enrolment(programme.id, now_us, MAX_US))).id

    async def _gone(self, one: ProgramRecord) -> ProgramRecord:
        """End a programme; its controls stay known until they are answered."""
        try:
            if not self._port.programmes.own(one.programme).retired_us:
                await self._port.programmes.retire(one.programme)
        except (NotFound, Conflict):
            pass
        kept = {mrid: control for mrid, control in self._left(one.controls).items() if self._is_kept(control)}
        return msgspec.structs.replace(one, controls=kept, gone=True)

    # -- controls ------------------------------------------------------------------------------------------------------

    async def _control(
        self, of: ProgramRecord, before: ControlRecord | None, seen: SeenControl,
        events: Sequence[ProgrammeEvent], offset_us: int,
    ) -> ControlRecord:  # fmt: skip
        """Let a control be as its server has it; ``events`` were made of it, the newest first."""
        from_us, until_us = seen.from_us - offset_us, seen.until_us - offset_us
        now = ControlRecord("", until_us, seen.reply_to, seen.required, seen.problem)
        event = None
        if before is not None:
            now = msgspec.structs.replace(before, reply_to=seen.reply_to, required=seen.required, gone_us=0)
            event = next((one for one in events if one.id == before.event), None)
        if seen.cancelled or seen.status == SUPERSEDED:
            for one in events:
                await self._cancel(of.programme, one.id, "the server says so")
            return now
        goes_on = event is None or not (_is_ours(event) or _moved(event, from_us, until_us))
        if before is not None and not before.gone_us and goes_on:
            return now
        moved = [one for one in events if _moved(one, from_us, until_us)]
        for one in moved:
            await self._cancel(of.programme, one.id, _MOVED)
        if seen.problem or until_us <= self._clock.now_us():
            problem = seen.problem or EXPIRED
            return msgspec.structs.replace(now, event="", until_us=until_us, problem=problem)
        made = next((one for one in events if not _is_ours(one) and one not in moved), None)
        return await self._publish(of, now, seen, (from_us, until_us), made)

    async def _publish(
        self, of: ProgramRecord, now: ControlRecord, seen: SeenControl, times: tuple[int, int],
        made: ProgrammeEvent | None,
    ) -> ControlRecord:  # fmt: skip
        """Make the event that a control becomes, unless it was ``made`` before something broke off."""
        event = ProgrammeEvent(
            id="", programme=of.programme, organisation="", title=_title(seen),
            intervals=(EventInterval(*times, control=seen.control),), priority=rank(seen),
            randomise_start_s=seen.randomise_start_s, randomise_duration_s=seen.randomise_duration_s,
            randomise_keeps_length=bool(seen.randomise_start_s),
        )  # fmt: skip
        try:
            made = made or await self._port.programmes.publish(event)
        except Invalid as error:
            log.warning("a control cannot be followed: mRID=%s %s", seen.mrid, error.detail)
            return msgspec.structs.replace(now, event="", until_us=times[1], problem=INVALID)
        if last_of(now.told, DECIDED) == OPTED_OUT:  # of what it was before: that holds for what it is now
            await self._port.enrolments.opt_out(of.programme, of.enrolment, "it was opted out of before", event=made.id)
        return msgspec.structs.replace(now, event=made.id, until_us=times[1])

    async def _cancel(self, programme: str, event: str, reason: str) -> None:
        try:
            if is_live(self._port, programme, event, self._clock.now_us()):
                await self._port.programmes.cancel(programme, event, reason)
        except (NotFound, Conflict):
            pass

    # -- how it stands -------------------------------------------------------------------------------------------------

    def standings(
        self, record: Record, seen: Mapping[str, Mapping[str, SeenControl | None]]
    ) -> Iterator[tuple[str, str, ControlRecord, Standing]]:
        """Yield program, mRID and record of each control, and how it stands by the node's documents.

        ``seen`` are the controls that the server lists, by their programs' mRIDs and their own, None for one that
        cannot be read. Of that, and of a program that is not there, nothing is known now, as while the server is away:
        then nothing of it is gone.
        """
        now_us = self._clock.now_us()
        events = {mrid: self._events(one) for mrid, one in record.programs.items()}
        held = self._held(record, events, now_us)
        listed = {mrid: one for controls in seen.values() for mrid, one in controls.items() if one is not None}
        for program, one in record.programs.items():
            enrolment = self.enrolment(one)
            for mrid, control in one.controls.items():
                event = events[program].get(control.event)
                said = listed.get(mrid)
                superseded = said is not None and said.status == SUPERSEDED
                missing = program in seen and mrid not in seen[program]
                begin_us = end_us = control.until_us
                out, is_held = False, False
                if event is not None and enrolment is not None:
                    begin_us, end_us = _span(event, enrolment)
                    part = enrolment.takes_part(event.id, max(begin_us, now_us), max(end_us, now_us + 1))
                    out = now_us < end_us and (not enrolment.stands(now_us) or not any(part))
                    is_held = event.id in held
                missing = missing and _in_time(event, end_us, now_us)
                gone = not superseded and (said.cancelled if said is not None else missing)
                problem = 0 if control.problem == EXPIRED else control.problem
                yield program, mrid, control, Standing(begin_us, end_us, is_held, out, gone, superseded, problem)

    def _events(self, one: ProgramRecord) -> dict[str, ProgrammeEvent]:
        try:
            return {event.id: event for event in self._port.programmes.events(one.programme)}
        except NotFound:
            return {}

    def _held(
        self, record: Record, events: Mapping[str, Mapping[str, ProgrammeEvent]], now_us: int
    ) -> frozenset[str]:  # fmt: skip
        """Return the events of which anything holds, among those of this EndDevice."""
        claims = []
        for program, one in record.programs.items():
            enrolment = self.enrolment(one)
            if enrolment is None:
                continue
            primacy = self._port.programmes.get(one.programme).primacy
            for event in events[program].values():
                if event.cancelled_us or not any(enrolment.takes_part(event.id, now_us, now_us + 1)):
                    continue
                begin_us, end_us = _span(event, enrolment)
                control = event.intervals[0].control
                claims.append(Claim(
                    one.programme, event.id, primacy, event.priority, event.created_us, begin_us, end_us, control
                ))  # fmt: skip
        found = resolve(claims, now_us, now_us + 1) if claims else []
        return frozenset(claim.by for stretch in found for claim in stretch.held.values())


def _span(event: ProgrammeEvent, enrolment: ProgrammeEnrolment) -> tuple[int, int]:
    """Return when an event is carried out, after chance took its part [µs since 1970]."""
    found = [(begin, end) for begin, end, _ in spans(event, drawn(event, enrolment.id), MIN_US, MAX_US)]
    return found[0] if found else (event.from_us, event.until_us)


def _in_time(event: ProgrammeEvent | None, end_us: int, now_us: int) -> bool:
    """Whether one that is listed no more was not over by then: a server need not list what ran its course."""
    return now_us < end_us or (event is not None and 0 < event.cancelled_us < end_us)


def _moved(event: ProgrammeEvent, from_us: int, until_us: int) -> bool:
    """Whether an event that stands is at another time than its control, as after a clock was set."""
    apart_us = max(abs(event.from_us - from_us), abs(event.until_us - until_us))
    return apart_us > _MOVED_US and not event.cancelled_us


def _is_ours(event: ProgrammeEvent) -> bool:
    """Whether an event was cancelled by the node itself, so that another of the same control may follow it."""
    return bool(event.cancelled_us) and event.reason in _OURS


def _title(seen: SeenControl) -> str:
    return f"{seen.title or 'DERControl'} ({seen.mrid})"


def _differs(found: Programme, wanted: Programme) -> bool:
    return _as(found, wanted) != found


def _as(found: Programme, wanted: Programme) -> Programme:
    return msgspec.structs.replace(
        found, title=wanted.title, primacy=wanted.primacy, default_control=wanted.default_control,
        reports=wanted.reports,
    )  # fmt: skip
