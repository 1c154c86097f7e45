"""What a VTN distributes, kept as programmes and events of the node: its leases and ends follow from them.

::

    marketContext ─► programme of the Thing's organisation ◄─ enrolment of its site or Thing: what it consents to
    eiEvent       ─► event: published, superseded by its next modification, cancelled, or gone from the list
                       └► oadrCreatedEvent: optIn, unless nobody takes part, or not in all that it asks for

Nothing is dropped because the VTN does not answer: what was published holds to its end. Who retires a programme, opts
out or withdraws the enrolment at the node has the last word, and the VTN is told.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.client.connection import Connection
from gridspine.adapters.openadr2.client.plan import Plan, plan_of
from gridspine.adapters.openadr2.client.record import Kept, KnownEvent
from gridspine.adapters.openadr2.event import NO_PRIORITY
from gridspine.adapters.openadr2.problem import INVALID_DATA, OUT_OF_SEQUENCE
from gridspine.adapters.openadr2.wire_event import MAX_EVENTS
from gridspine.energy.control_port import ControlPort, controls_of
from gridspine.energy.programme import MAX_DESCRIPTORS, Programme
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.energy.upstream.consent import Consent, enrolled
from gridspine.energy.upstream.event import cancel_strays, is_live
from gridspine.energy.upstream.programme import made
from gridspine.energy.upstream.record import KnownProgramme
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.things.adapter import AdapterContext, Binding

_ONE_ONLY = (Invalid, Conflict, NotFound, Overloaded)
"""What is wrong with one event, and keeps no other from being read."""


class Mirror:
    """All that is published of one VTN for one Thing. Lives on the event loop."""

    def __init__(
        self, context: AdapterContext, binding: Binding, connection: Connection, kept: Kept, making: asyncio.Lock
    ) -> None:  # fmt: skip
        """Make a mirror; ``making`` is held, by one of all mirrors, while a programme is made and noted."""
        self._context, self._connection, self._kept, self._making = context, connection, kept, making
        self._source = context.source_of(binding.thing)
        self.problems: list[str] = []
        """What of the last events could not be kept."""
        self._looked = False

    def port(self) -> ControlPort:
        """Return the port in the name of the Thing's application; raise `Unauthenticated` where it has none."""
        return controls_of(self._context).of(self._source)

    async def take(self, given: m.DistributeEvent) -> tuple[m.EventResponse, ...]:
        """Let events be those of the VTN; return what is to be answered to them, which `answered` is told then."""
        port, self.problems = self.port(), []
        await self._consent(port)
        await self._drop_strays(port)
        listed = {one.event.descriptor.event_id for one in given.events}
        for id_ in [one for one in self._kept.now.events if one not in listed]:
            await self._drop(port, id_, "the VTN tells of it no more")
        responses = []
        for one in given.events:
            known = await self._event(port, one.event)
            descriptor = one.event.descriptor
            if known is None or one.response_required == "never":
                continue
            opt = self._opt(port, known) if known.code == 200 else m.OPT_OUT
            of = m.QualifiedEvent(event_id=descriptor.event_id, modification_number=descriptor.modification_number)
            description = "OK" if known.code == 200 else (self.problems[-1] if self.problems else "it cannot be kept")
            responses.append(
                m.EventResponse(
                    code=known.code, description=description[:200], request_id=given.request_id, event=of, opt=opt
                )
            )
        return tuple(responses)

    async def consent(self) -> None:
        """Let the subject take part as its owner consents now, whether or not the VTN answers."""
        await self._consent(self.port())

    async def answered(self, responses: Sequence[m.EventResponse]) -> None:
        """Note what the VTN has heard."""
        events = dict(self._kept.now.events)
        for one in responses:
            known = events.get(one.event.event_id)
            if known is not None:
                events[one.event.event_id] = msgspec.structs.replace(known, answered=one.opt)
        await self._kept.change(events=events)

    def changed_opts(self) -> list[tuple[str, KnownEvent, str]]:
        """Return events by their ids that the VTN was answered otherwise than stands now, and what that is."""
        if not any(one.answered and one.noun for one in self._kept.now.events.values()):
            return []
        port = self.port()
        found = [
            (id_, one, self._opt(port, one))
            for id_, one in self._kept.now.events.items()
            if one.answered and one.noun and self._live(port, one)
        ]
        return [(id_, one, opt) for id_, one, opt in found if opt != one.answered]

    # -- events --------------------------------------------------------------------------------------------------

    async def _event(self, port: ControlPort, given: m.EiEvent) -> KnownEvent | None:
        """Let an event be as the VTN has it; return what is known of it, None for one that is over."""
        descriptor, known = given.descriptor, self._kept.now.events.get(given.descriptor.event_id)
        id_, number, market = descriptor.event_id, descriptor.modification_number, descriptor.market_context
        if descriptor.status == "completed":
            await self._drop(port, id_, "it is over")
            return None
        if known is not None and number == known.number and self._stands(port, known, descriptor.status):
            if descriptor.status == "cancelled":
                await self._end(port, known, "the VTN cancelled it")
            return known
        if known is not None and number < known.number:
            self.problems.append(f"event {id_[:60]}: modification {number} is older than {known.number}")
            return msgspec.structs.replace(known, code=OUT_OF_SEQUENCE)
        if descriptor.status == "cancelled":
            if known is not None:
                await self._end(port, known, "the VTN cancelled it")
            return await self._keep(id_, KnownEvent(market, "", number))
        return await self._read(port, given, known)

    async def _read(self, port: ControlPort, given: m.EiEvent, known: KnownEvent | None) -> KnownEvent:
        """Publish an event, in place of what is ``known`` of it, as far as it is consented to; return what is known."""
        descriptor = given.descriptor
        id_, number, market = descriptor.event_id, descriptor.modification_number, descriptor.market_context
        answered = known.answered if known is not None and known.number == number else ""
        after = KnownEvent(
            market, "", number, answered, commands=True, unmet=True, terms=self._connection.terms(market)
        )
        if not self._connection.follows(market) or (known is None and len(self._kept.now.events) >= MAX_EVENTS):
            if known is not None:
                await self._end(port, known, "it is followed no more")
            return await self._keep(id_, after)
        older = known.noun if known is not None and self._live(port, known) else ""
        plan = plan_of(given, self._connection.modes, self._context.clock.now_us())
        try:
            noun = await self._publish(port, given, plan, older)
        except _ONE_ONLY as error:
            self.problems.append(f"event {id_[:60]}: {error.detail}")
            if known is not None and older:
                await self._end(port, known, "the VTN changed it to what cannot be kept")
            after = msgspec.structs.replace(after, code=INVALID_DATA, commands=False, unmet=False)
        else:
            after = msgspec.structs.replace(after, noun=noun, commands=plan.commands, unmet=plan.unmet)
        return await self._keep(id_, after)

    def _stands(self, port: ControlPort, known: KnownEvent, status: str) -> bool:
        """Whether what is known of an event, of the same modification, holds: what was ended at the node stays so."""
        if status == "cancelled":
            return bool(known.noun)
        anew = known.terms != self._connection.terms(known.market)
        return not anew or (bool(known.noun) and not self._live(port, known))

    async def _publish(self, port: ControlPort, given: m.EiEvent, plan: Plan, supersedes: str) -> str:
        """Publish what is to come of an event; return the node's event, "" where there is nothing."""
        of = await self._market(port, given.descriptor.market_context)
        if not plan.parts:
            if supersedes:
                await port.programmes.cancel(of.id, supersedes, "the VTN changed it: nothing is to come")
            return ""
        known = {one.payload_type for one in of.signals}
        more = tuple(one for one in plan.signals if one.payload_type not in known)
        if more:
            signals = (*of.signals, *more)[-MAX_DESCRIPTORS:]
            await port.programmes.change(of.id, msgspec.structs.replace(of, signals=signals))
        descriptor = given.descriptor
        event = await port.programmes.publish(
            ProgrammeEvent(
                id="", programme=of.id, organisation="", intervals=plan.parts, supersedes=supersedes,
                title=(descriptor.comment or descriptor.event_id).strip()[:128] or "event",
                priority=descriptor.priority - 1 if 0 < descriptor.priority <= NO_PRIORITY else NO_PRIORITY,
                randomise_start_s=plan.chance_s,
            )
        )  # fmt: skip
        return event.id

    async def _keep(self, id: str, known: KnownEvent) -> KnownEvent:
        await self._kept.change(events={**self._kept.now.events, id: known})
        return known

    async def _drop(self, port: ControlPort, id: str, why: str) -> None:
        events = dict(self._kept.now.events)
        known = events.pop(id, None)
        if known is not None:
            await self._end(port, known, why)
            await self._kept.change(events=events)

    async def _end(self, port: ControlPort, known: KnownEvent, why: str) -> None:
        if self._live(port, known):
            await port.programmes.cancel(self._kept.now.markets[known.market].noun, known.noun, why)

    def _live(self, port: ControlPort, known: KnownEvent) -> bool:
        """Whether the node's event is running or to come."""
        of = self._kept.now.markets.get(known.market)
        return of is not None and is_live(port, of.noun, known.noun, self._context.clock.now_us())

    def _opt(self, port: ControlPort, known: KnownEvent) -> str:
        """Return whether the subject takes part in all that an event asks for."""
        if not known.commands:
            return m.OPT_IN
        of = self._kept.now.markets.get(known.market)
        if known.unmet or of is None or not of.enrolment:
            return m.OPT_OUT
        if not known.noun:
            return m.OPT_IN  # nothing of it is to come
        try:
            enrolment = port.enrolments.get(of.noun, of.enrolment)
            event = port.programmes.event(of.noun, known.noun)
        except NotFound:
            return m.OPT_OUT
        part = enrolment.state == "active" and any(enrolment.takes_part(event.id, event.from_us, event.until_us))
        return m.OPT_IN if part else m.OPT_OUT

    # -- programmes ----------------------------------------------------------------------------------------------

    async def _market(self, port: ControlPort, context: str) -> Programme:
        """Return the programme of a marketContext, made where there is none; the subject takes part in it."""
        known = self._kept.now.markets.get(context)
        if known is None:
            now_us = self._context.clock.now_us()
            async with self._making:
                known = await made(port, self._kept, context, self._programme(context), now_us)
        found = port.programmes.own(known.noun)
        if found.retired_us:
            raise Conflict("its programme was retired at this node")
        return await self._enrolled(port, context, known, found)

    async def _consent(self, port: ControlPort) -> None:
        """Let the subject take part in all programmes that stand as its owner consents now."""
        for context, known in list(self._kept.now.markets.items()):
            found = None
            with contextlib.suppress(NotFound):  # it was retired here, and let go since
                found = port.programmes.own(known.noun)
            if found is None or found.retired_us:
                continue
            try:
                await self._enrolled(port, context, known, found)
            except _ONE_ONLY as error:
                self.problems.append(f"programme {context[:60]}: {error.detail}")

    async def _enrolled(self, port: ControlPort, context: str, known: KnownProgramme, found: Programme) -> Programme:
        """Let a programme, and the enrolment in it, be as the connection says; return it."""
        wanted = msgspec.structs.replace(found, modes=self._connection.modes, primacy=self._connection.primacy)
        if wanted != found:
            await port.programmes.change(found.id, wanted)
        now_us = self._context.clock.now_us()
        consent = self._connection.consent if self._connection.follows(context) else Consent()
        await self._kept.note(context, await enrolled(port, known, consent, now_us))
        return port.programmes.own(known.noun)

    def _programme(self, context: str) -> Programme:
        url = context if context.startswith(("http://", "https://")) else ""
        return Programme(
            id="", organisation="", title=context.strip()[:128] or "OpenADR 2.0b", primacy=self._connection.primacy,
            description_url=url, modes=self._connection.modes,
        )  # fmt: skip

    async def _drop_strays(self, port: ControlPort) -> None:
        """Cancel, once, what was published before the node stopped and is not noted."""
        if self._looked:
            return
        mine = {one.noun for one in self._kept.now.events.values()}
        programmes = [one.noun for one in self._kept.now.markets.values()]
        await cancel_strays(port, programmes, mine, self._context.clock.now_us())
        self._looked = True
