"""Programmes and their events in a caller's name: the policies are asked first, leases follow."""

from collections.abc import Sequence

import msgspec

from gridspine.apps.node.asked import Asked, any_version
from gridspine.energy.control_port import Beside, Match
from gridspine.energy.programme import Programme
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.kernel.errors import NotFound


class CallerProgrammes:
    """See `gridspine.energy.control_port.ProgrammePort`."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._programmes = asked, asked.controls.programmes

    def all(self) -> Sequence[Programme]:
        """Return the programmes that the caller's organisation runs, takes part in or may see, by title."""
        self._asked.check("programme.read")
        return self._programmes.seen_by(self._asked.organisation)

    def get(self, id: str) -> Programme:
        """Return one of them."""
        return self._asked.programme(id)

    def own(self, id: str) -> Programme:
        """Return one that the organisation runs, if the caller may manage it."""
        return self._asked.own_programme(id)

    async def create(self, programme: Programme) -> Programme:
        """Keep a new programme of the caller's organisation."""
        self._asked.check("programme.manage")
        own = msgspec.structs.replace(programme, id="", organisation=self._asked.organisation)
        return await self._programmes.register(own, self._asked.actor)

    async def change(self, id: str, programme: Programme, *, match: Match = any_version) -> Programme:
        """Replace what is said of an own programme; what it commands follows before this returns."""
        before = self.own(id)
        match(before.version)
        after = await self._programmes.change(before, programme, self._asked.actor)
        await self._asked.look(after.id)
        return after

    async def retire(self, id: str, *, match: Match = any_version) -> Programme:
        """End an own programme: its events are cancelled and its leases end."""
        found = self.own(id)
        match(found.version)
        retired = await self._programmes.retire(found, self._asked.actor)
        await self._asked.look(found.id)
        return retired

    def events(self, programme: str) -> Sequence[ProgrammeEvent]:
        """Return its events, the newest first: of another's, those that are for the caller's organisation."""
        found = self.get(programme)
        mine = self._for_whom(found)
        seen = self._programmes.events(found.id)
        return seen if mine is None else [one for one in seen if is_for(one, mine)]

    def event(self, programme: str, id: str) -> ProgrammeEvent:
        """Return one of them."""
        found = self.get(programme)
        event = self._programmes.event(found.id, id)
        mine = self._for_whom(found)
        if mine is not None and not is_for(event, mine):
            raise NotFound("there is no such event")
        return event

    def find_event(self, id: str) -> ProgrammeEvent:
        """Return one of whichever programme."""
        found = self._programmes.event_book.kept.get(id)
        if found is None:
            self._asked.check("programme.read")
            raise NotFound("there is no such event")
        return self.event(found.programme, id)

    async def publish(self, event: ProgrammeEvent, beside: Beside | None = None) -> ProgrammeEvent:
        """Keep a new event of an own programme; what it commands within a day is asked for before this returns."""
        programme = self.own(event.programme)
        own = msgspec.structs.replace(event, id="", organisation=programme.organisation)
        made = await self._programmes.publish(own, self._asked.actor, beside)
        if made.commands or made.supersedes:
            desk = self._asked.controls.desk
            await desk.look(desk.holders_of(programme.id))
        return made

    async def cancel(self, programme: str, id: str, reason: str = "") -> ProgrammeEvent:
        """Cancel an event of an own programme: its leases end before this returns."""
        known = self.own(programme)
        found = self._programmes.event(known.id, id)
        ended = await self._programmes.cancel(found, self._asked.actor, reason)
        await self._asked.look(known.id)
        return ended

    def _for_whom(self, programme: Programme) -> list[frozenset[str]] | None:
        """Return the words of the enrolments the organisation has; None where it runs the programme, and sees all."""
        if programme.organisation == self._asked.organisation:
            return None
        own = self._asked.controls.enrolments.seen(programme, self._asked.organisation)
        return [one.words for one in own if one.state == "active"]


def is_for(event: ProgrammeEvent, mine: list[frozenset[str]]) -> bool:
    """Whether an event is for one of those who are known by these words."""
    return any(event.aimed_at(words) for words in mine)
