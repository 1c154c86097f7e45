"""Enrolments in programmes: asked for by who owns a site or Thing, admitted by who runs the programme."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from gridspine.apps.node.book import Book
from gridspine.apps.node.programmes import Programmes
from gridspine.apps.node.sites import Sites
from gridspine.energy.plant import ADAPTER
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import OptOut, ProgrammeEnrolment, Verb
from gridspine.energy.site import Site
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.kernel.time import MAX_US
from gridspine.things.directory import Directory

MAX_ENROLMENTS, MAX_ASKED, KEPT_OVER = 10_000, 1_000, 10_000
"""Enrolments of a programme that stand; those of an organisation that wait; those of a programme that are over."""
_AT_ONCE = 500
"""Enrolments that are let go in one transaction."""


class ProgrammeEnrolments:
    """Keeps them. Lives on the event loop."""

    def __init__(
        self, registry: Registry, programmes: Programmes, sites: Sites, things: Directory, clock: Clock
    ) -> None:
        self._programmes, self._sites, self._things, self._clock = programmes, sites, things, clock
        self.book = Book(ProgrammeEnrolment, "enrolment", registry, clock)
        self._of_subject: dict[str, dict[str, None]] = {}
        self._of_programme: dict[str, dict[str, None]] = {}
        self._of_side: dict[tuple[str, str], dict[str, None]] = {}
        self._asking = asyncio.Lock()
        programmes.sees = self._takes_part
        sites.busy = self._busy
        sites.taken = self._taken

    def load(self) -> None:
        """Read them when the node starts; blocks."""
        self.book.load()
        for one in sorted(self.book.kept.values(), key=lambda one: one.id):
            self._index(one)

    def of_programme(self, programme: str) -> list[ProgrammeEnrolment]:
        """Return the enrolments of a programme, the oldest first."""
        return [self.book.kept[one] for one in self._of_programme.get(programme, {})]

    def of_subject(self, subject: str) -> list[ProgrammeEnrolment]:
        """Return the enrolments of a site or Thing, the oldest first."""
        return [self.book.kept[one] for one in self._of_subject.get(subject, {})]

    def stand(self, subject: str, now_us: int) -> bool:
        """Whether a site or Thing takes part anywhere, or will: what is asked of it may be far ahead."""
        return any(one.stands(now_us) for one in self.of_subject(subject))

    def subjects(self) -> list[tuple[Literal["site", "thing"], str]]:
        """Return what is enrolled anywhere, or was."""
        return [(self.book.kept[next(iter(ids))].kind, subject) for subject, ids in self._of_subject.items() if ids]

    def seen(self, programme: Programme, organisation: str) -> list[ProgrammeEnrolment]:
        """Return the enrolments of a programme that an organisation may see: all of its own programme, else its own."""
        own = programme.organisation == organisation
        return [one for one in self.of_programme(programme.id) if own or one.organisation == organisation]

    def get(self, programme: str, id: str) -> ProgrammeEnrolment:
        """Return an enrolment of a programme; raise `NotFound`."""
        found = self.book.get(id)
        if found.programme != programme:
            raise NotFound("there is no such enrolment")
        return found

    async def ask(self, enrolment: ProgrammeEnrolment, actor: str) -> ProgrammeEnrolment:
        """Keep a request of the owner of its subject, who consents by asking; in an own programme it stands at once."""
        programme, now_us = self._programmes.get(enrolment.programme), self._clock.now_us()
        if programme.retired_us:
            raise Conflict("the programme is retired")
        if enrolment.kind == "site":
            self._sites.get(enrolment.subject, enrolment.organisation)
        else:
            self._check_thing(enrolment)
        enrolment = msgspec.structs.replace(
            enrolment, id=new_urn(self._clock), owner=programme.organisation, asked_by=actor, asked_us=now_us,
            modes=enrolment.modes or programme.modes,
        )  # fmt: skip
        enrolment.check(programme, now_us)
        async with self._asking:  # else one could ask twice at once
            self._check_free(enrolment, now_us)
            self._check_room(enrolment, now_us)
            try:
                kept = await self.book.keep("programme-enrolment.requested", enrolment, actor)
            finally:  # it may be kept although the log did not take it at once
                if enrolment.id in self.book.kept:
                    self._index(enrolment)
        if programme.organisation == kept.organisation:
            kept = await self.decide(kept, "admit", actor, "the programme is its own organisation's")
        await self._make_room(programme.id, now_us)
        return kept

    async def decide(
        self, one: ProgrammeEnrolment, verb: Verb, actor: str, reason: str = "",
        targets: tuple[str, ...] | None = None,
    ) -> ProgrammeEnrolment:  # fmt: skip
        """Admit, refuse, withdraw or end an enrolment; ``targets`` are the words a programme knows it by then."""
        after = one.decided(verb, actor, self._clock.now_us(), reason)
        after = after if targets is None else after.aimed(targets)
        return await self.book.keep(f"programme-enrolment.{after.state}", after, actor)

    async def aim(self, one: ProgrammeEnrolment, targets: tuple[str, ...], actor: str) -> ProgrammeEnrolment:
        """Let a programme know an enrolment that stands by other words."""
        if not one.stands(self._clock.now_us()):
            raise Conflict(f"the enrolment is {one.state}, or over")
        return await self.book.keep("programme-enrolment.aimed", one.aimed(targets), actor)

    async def opt_out(
        self, one: ProgrammeEnrolment, actor: str, reason: str, *, event: str = "", from_us: int = 0, until_us: int = 0
    ) -> ProgrammeEnrolment:
        """Let an enrolment not take part: in an event, or in a time (from now on where ``from_us`` is 0)."""
        now_us = self._clock.now_us()
        if not one.stands(now_us):
            raise Conflict(f"the enrolment is {one.state}, or over")
        if event:
            from_us, until_us = 0, self._programmes.event(one.programme, event).until_us
        opt = OptOut(
            new_id(self._clock), event, from_us if event else from_us or now_us, min(until_us, MAX_US), reason[:500],
            actor, now_us,
        )  # fmt: skip
        if opt.until_us <= now_us:
            raise Invalid("until: lies in the past")
        return await self.book.keep("programme-enrolment.opted-out", one.out(opt, now_us), actor)

    async def opt_in(
        self, one: ProgrammeEnrolment, actor: str, *, opt: str = "", event: str = ""
    ) -> ProgrammeEnrolment:
        """Take an opt-out back; raise `NotFound`."""
        return await self.book.keep("programme-enrolment.opted-in", one.in_again(opt=opt, event=event), actor)

    def _index(self, one: ProgrammeEnrolment) -> None:
        for index, key in self._indices(one):
            index.setdefault(key, {})[one.id] = None

    def _takes_part(self, organisation: str, programme: str) -> bool:
        own = self._of_side.get((organisation, programme), {})
        return any(self.book.kept[one].state != "refused" for one in own)

    def _busy(self, site: Site) -> str:
        now_us = self._clock.now_us()
        standing = [one for one in self.of_subject(site.id) if self._counts(one, now_us)]
        return f"the site is enrolled in {len(standing)} programmes: withdraw it first" if standing else ""

    def _taken(self, site: str, thing: str) -> str:
        """Return why a Thing cannot be behind a site: one programme would command it twice, and loosen its own word."""
        now_us = self._clock.now_us()
        by_site, by_itself = (
            {one.programme for one in self.of_subject(subject) if self._counts(one, now_us)}
            for subject in (site, thing)
        )
        return f"{thing[:200]} takes part by itself in a programme of the site" if by_site & by_itself else ""

    def _counts(self, one: ProgrammeEnrolment, now_us: int) -> bool:
        """Whether anything comes of an enrolment, or may: nothing does of one in a programme that is retired."""
        programme = self._programmes.find(one.programme)
        return programme is not None and not programme.retired_us and (one.stands(now_us) or one.waits(now_us))

    def _check_thing(self, enrolment: ProgrammeEnrolment) -> None:
        thing = self._things.roll.get(enrolment.subject)
        if thing is None or thing.retired or thing.organisation != enrolment.organisation:
            raise NotFound("there is no such Thing")
        if thing.adapter == ADAPTER:
            raise Invalid("subject: an ensemble's members take part themselves")

    def _check_free(self, enrolment: ProgrammeEnrolment, now_us: int) -> None:
        """Raise `Conflict` where the subject, or what is behind or before it, takes part in the programme already."""
        related = {enrolment.subject}
        if enrolment.kind == "site":
            related.update(self._sites.get(enrolment.subject).things)
        else:
            related.add(self._sites.of_thing(enrolment.subject))
        for subject in related:
            for one in self.of_subject(subject):
                if one.programme == enrolment.programme and (one.stands(now_us) or one.waits(now_us)):
                    raise Conflict(f"{subject} takes part in this programme, or asked to: {one.id}")

    def _check_room(self, enrolment: ProgrammeEnrolment, now_us: int) -> None:
        standing = sum(one.stands(now_us) or one.waits(now_us) for one in self.of_programme(enrolment.programme))
        if standing >= MAX_ENROLMENTS:
            raise Overloaded(f"{MAX_ENROLMENTS} take part in this programme, and no more")
        waiting = sum(
            one.organisation == enrolment.organisation and one.waits(now_us) for one in self.book.kept.values()
        )
        if waiting >= MAX_ASKED:
            raise Overloaded(f"{waiting} requests of your organisation wait for an answer", retry_after_s=60)

    async def _make_room(self, programme: str, now_us: int) -> None:
        over = [one for one in self.of_programme(programme) if not one.stands(now_us) and not one.waits(now_us)]
        await self._let_go(over[: max(0, len(over) - KEPT_OVER)])

    async def forget(self, programme: str) -> None:
        """Let all enrolments in a programme go that is let go, too."""
        await self._let_go(self.of_programme(programme))
        self._of_programme.pop(programme, None)

    async def _let_go(self, gone: Sequence[ProgrammeEnrolment]) -> None:
        for at in range(0, len(gone), _AT_ONCE):
            part = gone[at : at + _AT_ONCE]
            await self.book.forget([one.id for one in part])
            for one in part:
                for index, key in self._indices(one):
                    own = index.get(key, {})
                    own.pop(one.id, None)
                    if not own:
                        index.pop(key, None)

    def _indices(self, one: ProgrammeEnrolment) -> Iterator[tuple[dict[Any, dict[str, None]], Any]]:
        """Yield each index, and the key by which an enrolment is in it."""
        yield self._of_subject, one.subject
        yield self._of_programme, one.programme
        yield self._of_side, (one.organisation, one.programme)
