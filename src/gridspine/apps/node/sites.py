"""Sites and their envelopes: documents, kept; each Thing is behind one connection point at most."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from gridspine.apps.node.book import Book, with_changer
from gridspine.energy.envelope import Envelope
from gridspine.energy.plant import ADAPTER
from gridspine.energy.site import Site
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.things.directory import Directory
from gridspine.things.thing import Thing

MAX_SITES, MAX_ENVELOPES, MAX_INTERVALS = 10_000, 20, 500_000
"""Sites of an organisation, envelopes of a site, and intervals of all envelopes of an organisation, at most."""


class Sites:
    """Keeps them. Lives on the event loop; ``busy(site)`` says why a site cannot be removed, or ""."""

    def __init__(self, registry: Registry, things: Directory, clock: Clock) -> None:
        self._things, self._clock = things, clock
        self.book = Book(Site, "site", registry, clock)
        self.envelope_book = Book(Envelope, "envelope", registry, clock)
        self._behind: dict[str, str] = {}
        self._keeping = asyncio.Lock()
        self.busy: Callable[[Site], str] = lambda _site: ""
        self.taken: Callable[[str, str], str] = lambda _site, _thing: ""
        """Why a Thing cannot be behind a site, by their ids; "" when it can."""

    def load(self) -> None:
        """Read them when the node starts; blocks."""
        self.book.load()
        self.envelope_book.load()
        self._behind = {thing: one.id for one in self.book.kept.values() for thing in one.things}

    def all(self) -> Sequence[Site]:
        """Return all sites of the node."""
        return list(self.book.kept.values())

    def of_organisation(self, organisation: str) -> Sequence[Site]:
        """Return the sites of an organisation, by title."""
        own = (one for one in self.book.kept.values() if one.organisation == organisation)
        return sorted(own, key=lambda one: (one.title, one.id))

    def get(self, id: str, organisation: str = "") -> Site:
        """Return one (of an organisation); raise `NotFound`."""
        found = self.book.get(id)
        if organisation not in {"", found.organisation}:
            raise NotFound("there is no such site")
        return found

    def find(self, id: str) -> Site | None:
        """Return one, or None."""
        return self.book.kept.get(id)

    def of_thing(self, thing: str) -> str:
        """Return the id of the site that a Thing is behind, "" when there is none."""
        return self._behind.get(thing, "")

    def things(self, site: Site) -> list[Thing]:
        """Return the Things behind a connection point that are there, and still its organisation's."""
        found = (self._things.roll.get(one) for one in site.things)
        return [one for one in found if one and not one.retired and one.organisation == site.organisation]

    async def register(self, site: Site, actor: str) -> Site:
        """Keep a new site; its id is given here. Raises `Invalid`, `Conflict`, `Overloaded`."""
        if len(self.of_organisation(site.organisation)) >= MAX_SITES:
            raise Overloaded(f"your organisation has {MAX_SITES} sites, and no more")
        made = msgspec.structs.replace(site, id=new_urn(self._clock), created_us=self._clock.now_us(), by=actor)
        return await self._keep("site.registered", made, actor)

    async def change(self, before: Site, site: Site, actor: str) -> Site:
        """Keep a site as it is now."""
        kept = {"id": before.id, "organisation": before.organisation, "created_us": before.created_us, "by": before.by}
        return await self._keep("site.changed", msgspec.structs.replace(
            site, **kept, changed_by=actor, changers=with_changer(before.changers, actor)
        ), actor)  # fmt: skip

    async def remove(self, site: Site, actor: str) -> None:
        """Forget a site and its envelopes; raise `Conflict` while it is enrolled somewhere."""
        if why := self.busy(site):
            raise Conflict(why)
        envelopes = [one.id for one in self.envelopes(site.id)]
        try:
            await self.book.remove("site.removed", site, actor, [(Envelope, one) for one in envelopes])
        finally:  # it may be gone although the log did not take it at once
            if site.id not in self.book.kept:
                for one in envelopes:
                    self.envelope_book.kept.pop(one, None)
            self._place(self.book.kept.get(site.id, site))

    def envelopes(self, site: str) -> list[Envelope]:
        """Return the envelopes of a site, the oldest first."""
        return sorted((one for one in self.envelope_book.kept.values() if one.site == site), key=lambda one: one.id)

    def envelope(self, site: str, id: str) -> Envelope:
        """Return an envelope of a site; raise `NotFound`."""
        found = self.envelope_book.get(id)
        if found.site != site:
            raise NotFound("there is no such envelope")
        return found

    async def set(self, envelope: Envelope, actor: str) -> Envelope:
        """Keep an envelope, a new one (its ``id`` is "") or a changed one; raise `Invalid`, `Overloaded`."""
        envelope.check()
        own = (one for one in self.envelope_book.kept.values() if one.organisation == envelope.organisation)
        if sum(len(one.intervals) for one in own if one.id != envelope.id) + len(envelope.intervals) > MAX_INTERVALS:
            raise Overloaded(f"your organisation's envelopes have {MAX_INTERVALS} intervals together at most")
        if not envelope.id:
            if len(self.envelopes(envelope.site)) >= MAX_ENVELOPES:
                raise Overloaded(f"the site has {MAX_ENVELOPES} envelopes: change one of them")
            now_us = self._clock.now_us()
            envelope = msgspec.structs.replace(envelope, id=new_urn(self._clock), created_us=now_us, by=actor)
        return await self.envelope_book.keep("envelope.set", envelope, actor)

    async def lift(self, envelope: Envelope, actor: str) -> None:
        """Forget an envelope: what remains of limits holds."""
        await self.envelope_book.remove("envelope.lifted", envelope, actor)

    async def _keep(self, type_: str, site: Site, actor: str) -> Site:
        site.check()
        async with self._keeping:  # else two sites could take the same Thing at once
            return await self._keep_alone(type_, site, actor)

    async def _keep_alone(self, type_: str, site: Site, actor: str) -> Site:
        known = self.book.kept.get(site.id)
        for id_ in site.things:
            if known is None or id_ not in known.things:
                self._check_thing(id_, site)
                if why := self.taken(site.id, id_):
                    raise Conflict(why)
        if site.guard:
            self._check_thing(site.guard, site)
        try:
            return await self.book.keep(type_, site, actor)
        finally:  # it may be kept although the log did not take it at once
            self._place(self.book.kept.get(site.id, site))

    def _place(self, site: Site) -> None:
        """Note which Things are behind a site."""
        for thing in [thing for thing, at in self._behind.items() if at == site.id]:
            del self._behind[thing]
        if site.id in self.book.kept:
            self._behind.update(dict.fromkeys(site.things, site.id))

    def _check_thing(self, id: str, site: Site) -> None:
        thing = self._things.roll.get(id)
        if thing is None or thing.retired or thing.organisation != site.organisation:
            raise Invalid(f"things: {id[:200]!r} is not a Thing of your organisation")
        if thing.adapter == ADAPTER:
            raise Invalid(f"things: {id[:200]!r} is an ensemble; name the Things themselves")
        if self._behind.get(id, site.id) != site.id:
            raise Conflict(f"{id[:200]!r} is behind another connection point")
