"""What a VTN publishes, kept as programmes and events of the node: its leases, ends and defaults follow from them.

::

    program ─► programme of the Thing's organisation ◄─ enrolment of its site or Thing: what the connection consents to
    event   ─► event: published, superseded by what it became, cancelled as soon as it is listed no more

Nothing is dropped because the VTN does not answer: what was published holds to its end. Who retires a programme, or
withdraws the enrolment, at the node has the last word.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gridspine.adapters.openadr3 import remote_event
from gridspine.adapters.openadr3.period import length
from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.remote_record import Kept, KnownEvent
from gridspine.adapters.openadr3.vtn import noun_id
from gridspine.adapters.openadr3.wire import ProgramRequest
from gridspine.energy.control_port import ControlPort, controls_of
from gridspine.energy.programme import MAX_DESCRIPTORS, Programme, SignalDescriptor
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.energy.upstream.consent import enrolled
from gridspine.energy.upstream.event import cancel_strays, is_live
from gridspine.energy.upstream.programme import left, made
from gridspine.energy.upstream.record import KnownProgramme
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, NotFound, Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding

_YEAR_S = 366 * 86_400
_ONE_ONLY = (Invalid, Conflict, NotFound, Overloaded)
"""What is wrong with one program or event, and keeps no other from being read."""
_GONE = "the VTN tells of it no more"
_TURN = 50


class Mirror:
    """All that is kept of one VTN for one Thing. Lives on the event loop."""

    def __init__(
        self, context: AdapterContext, binding: Binding, connection: Connection, kept: Kept, making: asyncio.Lock
    ) -> None:  # fmt: skip
        """Make a mirror; ``making`` is held, by one of all mirrors, while a programme is made and noted."""
        self._context, self._connection, self._kept, self._making = context, connection, kept, making
        self._source = context.source_of(binding.thing)
        self.problems: list[str] = []
        """What of the last reading could not be kept."""
        self._looked = False

    def port(self) -> ControlPort:
        """Return the port in the name of the Thing's application; raise `Unauthenticated` where it has none."""
        return controls_of(self._context).of(self._source)

    async def consent(self) -> None:
        """Let the subject take part as its owner consents now, whether or not the VTN answers."""
        port = self.port()
        for id_, known in list(self._kept.programs.items()):
            found = None
            with contextlib.suppress(NotFound):  # it was retired here, and let go since
                found = port.programmes.own(known.noun)
            if found is not None and not found.retired_us:
                wanted = msgspec.structs.replace(found, modes=self._connection.modes)
                if wanted != found:
                    await port.programmes.change(found.id, wanted)
                await self._enrolled(port, id_, known)

    async def take(
        self, programs: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]], words: frozenset[str]
    ) -> None:
        """Let programmes and events be those of the VTN, for one that it knows by ``words``; see ``problems``."""
        port = self.port()
        self.problems = []
        read: dict[str, ProgramRequest] = {}
        seen = set()
        for at, document in enumerate(programs):
            await _in_turn(at)
            id_ = str(document["id"])
            try:
                found = remote_event.read_program(document, self._connection.edition)
                if not self._follows(port, id_, found, words):
                    continue
                seen.add(id_)
                await self._program(port, id_, found)
                read[id_] = found
            except _ONE_ONLY as error:
                self._cannot("program", id_, error)
                seen.add(id_)
        for id_ in [one for one in self._kept.programs if one not in seen]:
            await self._drop_program(port, id_)
        for id_ in [one for one in self._kept.all_begun() if one not in seen]:
            await self._drop_begun(port, id_)
        await self._drop_strays(port)
        seen = {id_ for id_, one in self._kept.events.items() if one.program in seen - read.keys()}
        for at, document in enumerate(events):
            await _in_turn(at)
            id_ = str(document["id"])
            try:
                if await self._event(port, id_, document, read, words):
                    seen.add(id_)
            except _ONE_ONLY as error:
                self._cannot("event", id_, error)
                seen.add(id_)  # what stands of it stays: it is listed
        for id_ in [one for one in self._kept.events if one not in seen]:
            await self._drop_event(port, id_)

    def settled(self, now_us: int) -> bool:
        """Whether all of the last reading was kept, and none of it is to be published by now."""
        return not self.problems and not any(0 < one.again_us <= now_us for one in self._kept.events.values())

    # -- programs ------------------------------------------------------------------------------------------------

    def _follows(self, port: ControlPort, id: str, program: ProgramRequest, words: frozenset[str]) -> bool:
        """Whether a program is followed: not one that the node itself made of another, or runs."""
        wanted = not self._connection.programs or program.program_name in self._connection.programs
        if not wanted or (program.targets and words.isdisjoint(program.targets)):
            return False
        try:
            port.programmes.own(noun_id(id, "PROGRAM"))
        except NotFound:
            return True
        return False

    async def _program(self, port: ControlPort, id: str, program: ProgramRequest) -> None:
        known = self._kept.programs.get(id)
        wanted = self._programme(program)
        if known is None:
            async with self._making:
                known = await made(port, self._kept, id, wanted, self._context.clock.now_us())
        found = port.programmes.own(known.noun)
        if found.retired_us:
            raise Conflict("it was retired at this node")
        await self._changed(port, found, wanted)
        await self._enrolled(port, id, known)

    async def _enrolled(self, port: ControlPort, id: str, known: KnownProgramme) -> None:
        try:
            after = await enrolled(port, known, self._connection.consent, self._context.clock.now_us())
        except _ONE_ONLY as error:  # nobody takes part; what its events tell is known all the same
            self._cannot("program", id, error)
            return
        if after != known:
            await self._kept.note(id, after)

    def _programme(self, program: ProgramRequest) -> Programme:
        period = program.interval_period
        lasts = length(period.duration if period is not None else None)
        url = next((one.url for one in program.program_descriptions or () if one.url.startswith("http")), "")
        return Programme(
            id="", organisation="", title=program.program_name.strip() or "program", primacy=self._connection.primacy,
            description_url=url, modes=self._connection.modes, signals=remote_event.signals_described(program),
            interval_s=lasts.us // US if not lasts.months and lasts.us <= _YEAR_S * US else 0,
        )  # fmt: skip

    async def _changed(self, port: ControlPort, found: Programme, wanted: Programme) -> None:
        signals = {one.payload_type: one for one in (*found.signals, *wanted.signals)}
        after = msgspec.structs.replace(
            found, title=wanted.title, primacy=wanted.primacy, description_url=wanted.description_url,
            modes=wanted.modes, interval_s=wanted.interval_s, signals=tuple(signals.values())[:MAX_DESCRIPTORS],
        )  # fmt: skip
        if after != found:
            await port.programmes.change(found.id, after)

    async def _drop_program(self, port: ControlPort, id: str) -> None:
        known = self._kept.programs[id]
        with contextlib.suppress(NotFound):  # it was retired here, and let go since
            if not port.programmes.own(known.noun).retired_us:
                await port.programmes.retire(known.noun)
        await self._kept.forget(id)

    async def _drop_begun(self, port: ControlPort, id: str) -> None:
        async with self._making:
            begun = self._kept.begun(id)
            found = None if begun is None else await left(port, self._kept, begun)
            if found is not None:
                await port.programmes.retire(found.id)
            await self._kept.give_up(id)

    # -- events --------------------------------------------------------------------------------------------------

    async def _event(
        self, port: ControlPort, id: str, document: Mapping[str, Any], programs: Mapping[str, ProgramRequest],
        words: frozenset[str],
    ) -> bool:  # fmt: skip
        """Let an event be as the VTN has it; return whether it is for this VEN."""
        read = remote_event.read_event(document, self._connection.edition)
        program = programs.get(read.request.program_id)
        if program is None or (read.targets and words.isdisjoint(read.targets)):
            return False
        known, now_us = self._kept.events.get(id), self._context.clock.now_us()
        of = port.programmes.own(self._kept.programs[read.request.program_id].noun)
        terms = remote_event.terms_of(read.request, program, of.interval_s, self._connection)
        if known is not None and self._stands(port, of, known, read.digest, terms):
            if known.terms != terms:
                await self._kept.keep(id, msgspec.structs.replace(known, terms=terms))
            return True
        first_us = known.first_us if known is not None and known.digest in {read.digest, ""} else now_us
        older = self._live(port, known, now_us) if known is not None else ""
        try:
            plan = remote_event.plan_of(read.request, program, of.interval_s, self._connection, first_us, now_us)
            noun = await self._publish(port, of, read, plan, older)
        except (Invalid, Conflict) as error:
            self._cannot("event", id, error)
            noun, plan = "", remote_event.Plan((), 0, 0.0, "")
        if plan.lost:
            self.problems.append(f"event {id[:60]}: only to know, as {plan.lost}")
        if older and not noun:
            await port.programmes.cancel(of.id, older, "the VTN changed it")
        due = remote_event.reports_of(read.request, of.interval_s, first_us)
        kept = known.due if known is not None and known.digest == read.digest else due
        opted = known is not None and known.opted
        after = KnownEvent(read.request.program_id, noun, read.digest, first_us, plan.again_us, kept, opted, terms)
        await self._kept.keep(id, after)
        return True

    def _stands(self, port: ControlPort, of: Programme, known: KnownEvent, digest: str, terms: str) -> bool:
        """Whether what was made of an event holds: by the same words and terms, or as it was cancelled at this node."""
        if known.digest != digest or 0 < known.again_us <= self._context.clock.now_us():
            return False
        if known.terms == terms or not known.noun:
            return known.terms == terms
        with contextlib.suppress(NotFound):  # it is over, and was let go
            return bool(port.programmes.event(of.id, known.noun).cancelled_us)
        return False

    async def _publish(
        self, port: ControlPort, of: Programme, read: remote_event.Read, plan: remote_event.Plan, supersedes: str
    ) -> str:
        """Publish what is to come of an event, and return the node's event, "" where there is nothing."""
        if not plan.parts:
            return ""
        request = read.request
        types = {signal.type for one in plan.parts for signal in one.signals}
        new = types - {one.payload_type for one in of.signals}
        if new:
            more = tuple(SignalDescriptor(name) for name in sorted(new))
            await port.programmes.change(of.id, msgspec.structs.replace(of, signals=(*of.signals, *more)))
        event = await port.programmes.publish(
            ProgrammeEvent(
                id="", programme=of.id, organisation="", title=(request.event_name or "").strip()[:128] or "event",
                intervals=plan.parts, randomise_start_s=plan.chance_s, supersedes=supersedes,
                priority=remote_event.NO_PRIORITY if request.priority is None else request.priority,
            )
        )  # fmt: skip
        return event.id

    async def _drop_event(self, port: ControlPort, id: str) -> None:
        """Cancel an event that is listed no more; reports that are due already are still told."""
        known, now_us = self._kept.events[id], self._context.clock.now_us()
        noun = self._live(port, known, now_us)
        if noun:
            await port.programmes.cancel(self._kept.programs[known.program].noun, noun, _GONE)
        due = tuple(one for one in known.due if one.intervals and one.intervals[-1][2] <= now_us)
        after = msgspec.structs.replace(known, noun="" if noun else known.noun, due=due, again_us=0, digest="")
        if not due:
            await self._kept.keep(id, None)
        elif after != known:
            await self._kept.keep(id, after)

    def _live(self, port: ControlPort, known: KnownEvent, now_us: int) -> str:
        of = self._kept.programs.get(known.program)
        return known.noun if of is not None and is_live(port, of.noun, known.noun, now_us) else ""

    async def _drop_strays(self, port: ControlPort) -> None:
        """Cancel, once, what was published before the node stopped and is not noted."""
        if self._looked:
            return
        mine = {one.noun for one in self._kept.events.values()}
        programmes = [one.noun for one in self._kept.programs.values()]
        await cancel_strays(port, programmes, mine, self._context.clock.now_us())
        self._looked = True

    def _cannot(self, noun: str, id: str, error: GridspineError) -> None:
        self.problems.append(f"{noun} {id[:60]}: {error.detail}")


async def _in_turn(at: int) -> None:
    """Let others have their turn after so many objects that were read: a list has thousands of them."""
    if at % _TURN == _TURN - 1:
        await asyncio.sleep(0)
