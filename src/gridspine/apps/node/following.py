"""What a Thing follows, for whoever speaks for it: `gridspine.energy.followed.FollowPort`.

A device that speaks for a Thing is told what concerns that Thing by a node that its operator bound to the adapter; it
learns nothing of the organisation's other sites, enrolments or programmes. To opt out for it the policies are asked.

::

    answer of a Thing ─┬ enrolment of its own ─────────────────────────────────────────┬─► opted out, in again
                       ├ of its site, and it is the guard, or alone there ─────────────┘
                       └ of its site, where others are commanded, or speak for themselves ─► nothing: who asked notes it
"""

from collections.abc import Callable, Iterator

from gridspine.apps.node.authority import Authority
from gridspine.apps.node.control_plan import Holder
from gridspine.apps.node.controls import Controls
from gridspine.energy.allocation import handles
from gridspine.energy.followed import Followed, Part
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.infra.identity.service import Identity
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import NotFound
from gridspine.kernel.time import US
from gridspine.things.adapter import Source
from gridspine.things.directory import Directory
from gridspine.things.thing import Thing

OVER_US = 86_400 * US
"""How long events that are over are still told of: devices say afterwards what became of them."""


class Following:
    """Tells of Things. ``may(source, thing)``: whether a source speaks for a Thing, or is the adapter that polls it."""

    def __init__(
        self, controls: Controls, things: Directory, authority: Authority, identity: Identity, clock: Clock,
        may: Callable[[Source, str], bool],
    ) -> None:  # fmt: skip
        self._controls, self._things, self._clock, self._may = controls, things, clock, may
        self._authority, self._identity = authority, identity

    def followed(self, source: Source, thing: str) -> Followed:
        """Return what ``thing`` follows; raise `NotFound` unless ``source`` speaks for it."""
        self._check(source, thing)
        sites = self._controls.sites
        site = sites.find(sites.of_thing(thing))
        if site is not None and site.organisation != source.organisation:
            site = None
        envelopes = () if site is None else tuple(sites.envelopes(site.id))
        parts = [self._part(one) for one in self._enrolments(thing, source.organisation)]
        parts.sort(key=lambda one: (one.programme.primacy, one.programme.id))
        return Followed(site, envelopes, tuple(parts))

    def answers_for(self, source: Source, thing: str, enrolment: ProgrammeEnrolment) -> bool:
        """Whether what ``source`` answers for ``thing`` is said for all of an enrolment, and nobody else's.

        It is the Thing's own; or its site's, where it is the guard, or alone: nothing else behind the site can be
        commanded, nor has a principal of its own.
        """
        if enrolment.kind == "thing":
            return enrolment.subject == thing
        site = self._controls.sites.find(enrolment.subject)
        if site is None or thing not in site.things:
            return False
        others = (one for one in self._controls.sites.things(site) if one.id != thing)
        return site.guard == thing or not any(self._is_party(source, one) for one in others)

    def _is_party(self, source: Source, other: Thing) -> bool:
        return not {source.principal}.issuperset(other.devices) or bool(handles(other.id, self._things.model(other)))

    async def opt(self, source: Source, thing: str, event: str, *, out: bool, reason: str = "") -> bool:
        """Let ``thing`` not take part in ``event``, or take part again; return whether its answer counts.

        It does not when the event is over, nor where the enrolment is others' as well (`answers_for`): nothing changes
        then, unless it takes back what was its own word. Raises `NotFound`, `Forbidden`, `Conflict`.
        """
        self._check_respond(source, thing)
        found = self._controls.programmes.event_book.get(event)
        own = self._enrolments(thing, source.organisation)
        one = next((one for one in own if one.programme == found.programme), None)
        if one is None or not found.aimed_at(one.words):
            raise NotFound("there is no such event")
        standing = [opt for opt in one.opt_outs if opt.event == event]
        took_back = not out and any(opt.by == source.principal for opt in standing)
        over = found.until_us <= self._clock.now_us()
        if not took_back and (over or not self.answers_for(source, thing, one)):
            return False
        if bool(standing) == out:
            return True
        if out:
            await self._controls.enrolments.opt_out(one, source.principal, reason, event=event)
        else:
            await self._controls.enrolments.opt_in(one, source.principal, event=event)
        await self._controls.desk.carry_out([Holder(one.kind, one.subject)])
        return True

    async def opt_out_of(
        self, source: Source, thing: str, programme: str, times: tuple[int, int], *, reason: str = ""
    ) -> str:
        """Let ``thing`` not take part in a programme's events in ``times`` [µs since 1970]; return the opt-out's id.

        It is "", and nothing changes, where the enrolment is others' as well (`answers_for`).
        """
        self._check_respond(source, thing)
        own = self._enrolments(thing, source.organisation)
        one = next((one for one in own if one.programme == programme), None)
        if one is None:
            raise NotFound("there is no such programme")
        if not self.answers_for(source, thing, one):
            return ""
        before, (from_us, until_us) = {opt.id for opt in one.opt_outs}, times
        book = self._controls.enrolments
        kept = await book.opt_out(one, source.principal, reason, from_us=from_us, until_us=until_us)
        await self._controls.desk.carry_out([Holder(one.kind, one.subject)])
        return next(opt.id for opt in kept.opt_outs if opt.id not in before)

    async def opt_back(self, source: Source, thing: str, opt: str) -> None:
        """Take back the opt-out with the id ``opt``; nothing happens where there is none any more."""
        self._check_respond(source, thing)
        for one in self._enrolments(thing, source.organisation):
            if any(known.id == opt for known in one.opt_outs):
                await self._controls.enrolments.opt_in(one, source.principal, opt=opt)
                await self._controls.desk.carry_out([Holder(one.kind, one.subject)])
                return

    def _check_respond(self, source: Source, thing: str) -> None:
        self._check(source, thing)
        caller = self._identity.by_session(source.principal, source.session, source.epoch, source.roles)
        self._authority.on_thing(caller, "programme.respond", self._things.get(thing))

    def _check(self, source: Source, thing: str) -> None:
        found = self._things.roll.get(thing)
        polled = found is not None and source.principal == f"adapter:{found.adapter}:{thing}" and not found.retired
        if not polled and not self._may(source, thing):
            raise NotFound("there is no such Thing")

    def _enrolments(self, thing: str, organisation: str) -> Iterator[ProgrammeEnrolment]:
        """Yield the enrolments that hold, or will, of a Thing and of the site it is behind."""
        now_us = self._clock.now_us()
        site = self._controls.sites.of_thing(thing)
        for subject in (thing, site) if site else (thing,):
            for one in self._controls.enrolments.of_subject(subject):
                if one.organisation == organisation and one.stands(now_us):
                    yield one

    def _part(self, one: ProgrammeEnrolment) -> Part:
        programmes, since_us = self._controls.programmes, self._clock.now_us() - OVER_US
        events = programmes.events(one.programme)
        kept = tuple(event for event in events if event.until_us > since_us and event.aimed_at(one.words))
        return Part(one, programmes.get(one.programme), kept)
