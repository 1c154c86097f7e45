"""What a VTN publishes, kept as programmes and events of the node: its leases, ends and defaults follow from them.

::

    program ─► programme of the Thing's organisation ◄─ enrolment of its site or Thing: what the connection consents to
    event   ─► event: published, superseded by what it became, cancelled as soon as it is listed no more

Nothing is dropped because the VTN does not answer: what was published holds to its end. Who retires a programme, or
withdraws the enrolment, at the node has the last word.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gridspine.adapters.openadr3 import remote_event
from gridspine.adapters.openadr3.period import length
from gridspine.adapters.openadr3.remote import BegunProgram, Connection, KnownEvent, KnownProgram
from gridspine.adapters.openadr3.vtn import noun_id
from gridspine.adapters.openadr3.wire import ProgramRequest
from gridspine.energy.control_port import ControlPort, controls_of
from gridspine.energy.programme import MAX_DESCRIPTORS, Programme, SignalDescriptor
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, NotFound, Overloaded
from gridspine.kernel.time import US, parse_rfc3339
from gridspine.things.adapter import AdapterContext, Binding

PREFIX = "remote/"
"""What all keys begin with that are kept of VTNs that are followed."""
_UNTIL_US = parse_rfc3339("2100-01-01T00:00:00Z")
_YEAR_S = 366 * 86_400
_ONE_ONLY = (Invalid, Conflict, NotFound, Overloaded)
"""What is wrong with one program or event, and keeps no other from being read."""
_GONE = "the VTN tells of it no more"


class Mirror:
    """All that is kept of one VTN for one Thing. Lives on the event loop."""

    def __init__(
        self, context: AdapterContext, binding: Binding, connection: Connection, making: asyncio.Lock
    ) -> None:  # fmt: skip
        """Make a mirror; ``making`` is held, by one of all mirrors, while a programme is made and noted."""
        self._context, self._connection, self._making = context, connection, making
        self._source = context.source_of(binding.thing)
        self._prefix = f"{PREFIX}{binding.thing}/"
        self._begun: dict[str, BegunProgram] = {}
        self.programs: dict[str, KnownProgram] = {}
        self.events: dict[str, KnownEvent] = {}
        self.problems: list[str] = []
        """What of the last reading could not be kept."""
        self._looked = False

    async def load(self) -> None:
        """Read what was kept."""
        for key, value in (await self._context.store.items()).items():
            kind, _, id_ = key.removeprefix(self._prefix).partition("/") if key.startswith(self._prefix) else ("",) * 3
            if kind == "program":
                self.programs[id_] = msgspec.json.decode(value, type=KnownProgram)
            elif kind == "begun":
                self._begun[id_] = msgspec.json.decode(value, type=BegunProgram)
            elif kind == "event":
                self.events[id_] = msgspec.json.decode(value, type=KnownEvent)

    def port(self) -> ControlPort:
        """Return the port in the name of the Thing's application; raise `Unauthenticated` where it has none."""
        return controls_of(self._context).of(self._source)

    async def take(
        self, programs: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]], words: frozenset[str]
    ) -> None:
        """Let programmes and events be those of the VTN, for one that it knows by ``words``; see ``problems``."""
        port = self.port()
        self.problems = []
        read: dict[str, ProgramRequest] = {}
        seen = set()
        for document in programs:
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
        for id_ in [one for one in self.programs if one not in seen]:
            await self._drop_program(port, id_)
        for id_ in [one for one in self._begun if one not in seen]:
            await self._drop_begun(port, id_)
        await self._drop_strays(port)
        seen = {id_ for id_, one in self.events.items() if one.program in seen - read.keys()}
        for document in events:
            id_ = str(document["id"])
            try:
                if await self._event(port, id_, document, read, words):
                    seen.add(id_)
            except _ONE_ONLY as error:
                self._cannot("event", id_, error)
                seen.add(id_)  # what stands of it stays: it is listed
        for id_ in [one for one in self.events if one not in seen]:
            await self._drop_event(port, id_)

    async def keep(self, id: str, event: KnownEvent | None) -> None:
        """Keep what is known of an event; None forgets it."""
        value = None if event is None else msgspec.json.encode(event)
        await self._context.store.put(f"{self._prefix}event/{id}", value)
        if event is None:
            self.events.pop(id, None)
        else:
            self.events[id] = event

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
        known = self.programs.get(id)
        wanted = self._programme(program)
        if known is None:
            known = await self._made(port, id, wanted)
        found = port.programmes.own(known.noun)
        if found.retired_us:
            raise Conflict("it was retired at this node")
        await self._changed(port, found, wanted)
        try:
            after = await self._enrolled(port, known)
        except _ONE_ONLY as error:  # nobody takes part; what its events tell is known all the same
            self._cannot("program", id, error)
            return
        if after != known:
            await self._keep_program(id, after)

    def _programme(self, program: ProgramRequest) -> Programme:
        period = program.interval_period
        lasts = length(period.duration if period is not None else None)
        url = next((one.url for one in program.program_descriptions or () if one.url.startswith("http")), "")
        return Programme(
            id="", organisation="", title=program.program_name.strip() or "program", primacy=self._connection.primacy,
            description_url=url, modes=self._connection.modes, signals=remote_event.signals_described(program),
            interval_s=lasts.us // US if not lasts.months and lasts.us <= _YEAR_S * US else 0,
        )  # fmt: skip

    async def _made(self, port: ControlPort, id: str, wanted: Programme) -> KnownProgram:
        """Make the programme of a program, or find the one that was made before the node stopped; note it."""
        async with self._making:
            begun = self._begun.get(id)
            found = None if begun is None else await self._left(port, begun)
            if found is None:
                if begun is None or begun.title != wanted.title:
                    await self._begin(id, BegunProgram(wanted.title, self._context.clock.now_us()))
                found = await port.programmes.create(wanted)
            known = KnownProgram(found.id)
            await self._keep_program(id, known)
            await self._begin(id, None)
            return known

    async def _begin(self, id: str, begun: BegunProgram | None) -> None:
        """Note that a programme is being made; None: that it is made and noted, or not wanted any more."""
        value = None if begun is None else msgspec.json.encode(begun)
        await self._context.store.put(f"{self._prefix}begun/{id}", value)
        if begun is None:
            del self._begun[id]
        else:
            self._begun[id] = begun

    async def _left(self, port: ControlPort, begun: BegunProgram) -> Programme | None:
        """Return what was made and is noted of no Thing: two of one application may follow programs of one name."""
        kept = (await self._context.store.items()).items()
        notes = [value for key, value in kept if key.startswith(PREFIX) and "/program/" in key]
        noted = {msgspec.json.decode(value, type=KnownProgram).noun for value in notes}
        for one in port.programmes.all():
            mine = one.by == port.source.principal and one.title == begun.title and one.created_us >= begun.from_us
            if mine and one.id not in noted and not one.retired_us:
                return one
        return None

    async def _changed(self, port: ControlPort, found: Programme, wanted: Programme) -> None:
        signals = {one.payload_type: one for one in (*found.signals, *wanted.signals)}
        after = msgspec.structs.replace(
            found, title=wanted.title, primacy=wanted.primacy, description_url=wanted.description_url,
            modes=wanted.modes, interval_s=wanted.interval_s, signals=tuple(signals.values())[:MAX_DESCRIPTORS],
        )  # fmt: skip
        if after != found:
            await port.programmes.change(found.id, after)

    async def _enrolled(self, port: ControlPort, known: KnownProgram) -> KnownProgram:
        """Let the subject take part as the connection says; what was withdrawn since stays so until that changes."""
        said = self._connection
        consent = "|".join((said.subject, said.authority, *sorted(said.modes)))
        if known.consent == consent:
            return known
        if known.enrolment and port.enrolments.get(known.noun, known.enrolment).state == "active":
            await port.enrolments.decide(known.noun, known.enrolment, "withdraw", "its connection was changed")
        if not said.subject:
            return msgspec.structs.replace(known, enrolment="", consent=consent)
        made = await port.enrolments.ask(
            ProgrammeEnrolment(
                id="", programme=known.noun, owner="", organisation="", subject=said.subject, modes=said.modes,
                kind="site" if said.site else "thing", from_us=self._context.clock.now_us(), until_us=_UNTIL_US,
                authority=said.authority,
            )
        )  # fmt: skip
        return msgspec.structs.replace(known, enrolment=made.id, consent=consent)

    async def _drop_program(self, port: ControlPort, id: str) -> None:
        known = self.programs[id]
        if not port.programmes.own(known.noun).retired_us:
            await port.programmes.retire(known.noun)
        await self._context.store.put(f"{self._prefix}program/{id}", None)
        del self.programs[id]

    async def _drop_begun(self, port: ControlPort, id: str) -> None:
        async with self._making:
            found = await self._left(port, self._begun[id])
            if found is not None:
                await port.programmes.retire(found.id)
            await self._begin(id, None)

    async def _keep_program(self, id: str, known: KnownProgram) -> None:
        await self._context.store.put(f"{self._prefix}program/{id}", msgspec.json.encode(known))
        self.programs[id] = known

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
        known, now_us = self.events.get(id), self._context.clock.now_us()
        if known is not None and known.digest == read.digest and not 0 < known.again_us <= now_us:
            return True
        of = port.programmes.own(self.programs[read.request.program_id].noun)
        first_us = known.first_us if known is not None else now_us
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
        after = KnownEvent(read.request.program_id, noun, read.digest, first_us, plan.again_us, kept)
        await self.keep(id, after)
        return True

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
        made = await port.programmes.publish(
            ProgrammeEvent(
                id="", programme=of.id, organisation="", title=(request.event_name or "").strip()[:128] or "event",
                intervals=plan.parts, randomise_start_s=plan.chance_s, supersedes=supersedes,
                priority=remote_event.NO_PRIORITY if request.priority is None else request.priority,
            )
        )  # fmt: skip
        return made.id

    async def _drop_event(self, port: ControlPort, id: str) -> None:
        """Cancel an event that is listed no more; reports that are due already are still told."""
        known, now_us = self.events[id], self._context.clock.now_us()
        noun = self._live(port, known, now_us)
        if noun:
            await port.programmes.cancel(self.programs[known.program].noun, noun, _GONE)
        due = tuple(one for one in known.due if one.intervals and one.intervals[-1][2] <= now_us)
        after = msgspec.structs.replace(known, noun="" if noun else known.noun, due=due, again_us=0, digest="")
        if not due:
            await self.keep(id, None)
        elif after != known:
            await self.keep(id, after)

    def _live(self, port: ControlPort, known: KnownEvent, now_us: int) -> str:
        of = self.programs.get(known.program)
        if of is None or not known.noun:
            return ""
        try:
            status = port.programmes.event(of.noun, known.noun).status(now_us)
        except NotFound:  # it is over, and was let go
            return ""
        return known.noun if status in {"scheduled", "active"} else ""

    async def _drop_strays(self, port: ControlPort) -> None:
        """Cancel what was published before the node stopped, and not noted any more: it is published anew."""
        if self._looked:
            return
        now_us, mine = self._context.clock.now_us(), {one.noun for one in self.events.values()}
        for of in self.programs.values():
            for one in port.programmes.events(of.noun):
                if one.id not in mine and one.by == port.source.principal and one.status(now_us) in {
                    "scheduled", "active"
                }:  # fmt: skip
                    await port.programmes.cancel(of.noun, one.id, "it is published anew")
        self._looked = True

    def _cannot(self, noun: str, id: str, error: GridspineError) -> None:
        self.problems.append(f"{noun} {id[:60]}: {error.detail}")
