"""Enrolments in a caller's name: the policies are asked first, leases follow."""

from collections.abc import Sequence

import msgspec

from gridspine.apps.node.asked import Asked
from gridspine.apps.node.control_plan import Holder
from gridspine.energy.control_port import Action
from gridspine.energy.programme_enrolment import ProgrammeEnrolment, Verb
from gridspine.kernel.errors import NotFound


class CallerEnrolments:
    """See `gridspine.energy.control_port.EnrolmentPort`."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._enrolments = asked, asked.controls.enrolments

    def all(self, programme: str) -> Sequence[ProgrammeEnrolment]:
        """Return all in an own programme, the organisation's own in another's."""
        return self._enrolments.seen(self._asked.programme(programme), self._asked.organisation)

    def get(self, programme: str, id: str) -> ProgrammeEnrolment:
        """Return one of them."""
        found = self._asked.programme(programme)
        one = self._enrolments.get(found.id, id)
        if self._asked.organisation not in {one.organisation, found.organisation}:
            raise NotFound("there is no such enrolment")
        return one

    async def ask(self, enrolment: ProgrammeEnrolment) -> ProgrammeEnrolment:
        """Enrol a site or Thing of the caller's organisation."""
        programme = self._asked.programme(enrolment.programme, "programme.enrol")
        own = {"id": "", "owner": "", "organisation": self._asked.organisation, "programme": programme.id}
        made = await self._enrolments.ask(msgspec.structs.replace(enrolment, **own), self._asked.actor)
        return await self._followed(made)

    async def decide(
        self, programme: str, id: str, verb: Verb, reason: str = "", targets: tuple[str, ...] | None = None
    ) -> ProgrammeEnrolment:
        """Admit, refuse or end one in an own programme, or withdraw an own one; leases follow before this returns."""
        if verb == "withdraw":
            found = self._own(programme, id, "programme.enrol")
        else:
            found = self._enrolments.get(self._asked.own_programme(programme).id, id)
        return await self._followed(await self._enrolments.decide(found, verb, self._asked.actor, reason, targets))

    async def aim(self, programme: str, id: str, targets: tuple[str, ...]) -> ProgrammeEnrolment:
        """Let an own programme know one by other words."""
        found = self._enrolments.get(self._asked.own_programme(programme).id, id)
        return await self._followed(await self._enrolments.aim(found, targets, self._asked.actor))

    async def opt_out(
        self, programme: str, id: str, reason: str = "", *, event: str = "", from_us: int = 0, until_us: int = 0
    ) -> ProgrammeEnrolment:
        """Let an own one not take part in ``event``, or in a time [µs since 1970]."""
        found = self._own(programme, id, "programme.opt")
        times = {"from_us": from_us, "until_us": until_us}
        kept = await self._enrolments.opt_out(found, self._asked.actor, reason, event=event, **times)
        return await self._followed(kept)

    async def opt_in(self, programme: str, id: str, *, opt: str = "", event: str = "") -> ProgrammeEnrolment:
        """Take an opt-out back."""
        found = self._own(programme, id, "programme.opt")
        return await self._followed(await self._enrolments.opt_in(found, self._asked.actor, opt=opt, event=event))

    async def _followed(self, one: ProgrammeEnrolment) -> ProgrammeEnrolment:
        await self._asked.controls.desk.carry_out([Holder(one.kind, one.subject)])
        return one

    def _own(self, programme: str, id: str, action: Action) -> ProgrammeEnrolment:
        found = self._enrolments.get(self._asked.programme(programme, action).id, id)
        if found.organisation != self._asked.organisation:
            raise NotFound("there is no such enrolment")
        return found
