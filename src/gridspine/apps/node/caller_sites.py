"""Sites and envelopes in a caller's name: the policies are asked first, leases follow."""

from collections.abc import Sequence

import msgspec

from gridspine.apps.node.asked import Asked, any_version
from gridspine.apps.node.book import with_changer
from gridspine.apps.node.control_plan import Holder
from gridspine.energy.control_port import Action, Match
from gridspine.energy.envelope import Envelope
from gridspine.energy.site import Site
from gridspine.energy.timeline import Together


class CallerSites:
    """See `gridspine.energy.control_port.SitePort`."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._sites, self._desk = asked, asked.controls.sites, asked.controls.desk

    def all(self) -> Sequence[Site]:
        """Return the sites of the caller's organisation, by title."""
        self._asked.check("site.read")
        return self._sites.of_organisation(self._asked.organisation)

    def get(self, id: str) -> Site:
        """Return one."""
        return self._known(id, "site.read")

    async def register(self, site: Site) -> Site:
        """Keep a new site."""
        self._asked.check("site.manage")
        own = msgspec.structs.replace(site, id="", organisation=self._asked.organisation)
        made = await self._sites.register(own, self._asked.actor)
        await self._desk.look([Holder("site", made.id)])
        return made

    async def change(self, id: str, site: Site, *, match: Match = any_version) -> Site:
        """Replace what is said of a site; limits reach its Things before this returns."""
        before = self._known(id, "site.manage")
        match(before.version)
        holder = Holder("site", before.id)
        given = self._desk.commands_of(holder)
        after = await self._sites.change(before, site, self._asked.actor)
        await self._desk.follow(holder, given)
        return after

    async def remove(self, id: str, *, match: Match = any_version) -> None:
        """Forget a site with its envelopes: its limits end."""
        site = self._known(id, "site.manage")
        match(site.version)
        holder = Holder("site", site.id)
        given = self._desk.commands_of(holder)
        await self._sites.remove(site, self._asked.actor)
        await self._desk.follow(holder, given)

    def envelopes(self, site: str) -> Sequence[Envelope]:
        """Return the envelopes of a site, the oldest first."""
        return self._sites.envelopes(self.get(site).id)

    def envelope(self, site: str, id: str) -> Envelope:
        """Return one."""
        return self._sites.envelope(self.get(site).id, id)

    async def set_envelope(self, site: str, envelope: Envelope, *, match: Match = any_version) -> Envelope:
        """Keep an envelope, new or changed; what runs is clamped anew before this returns."""
        known = self._known(site, "site.manage")
        holder = [Holder("site", known.id)]
        own = {"site": known.id, "organisation": known.organisation}
        if not envelope.id:
            new = msgspec.structs.replace(envelope, **own, by=self._asked.actor, changers=())
            made = await self._sites.set(new, self._asked.actor)
            await self._desk.look(holder)
            return made
        before = self._sites.envelope(known.id, envelope.id)
        match(before.version)
        was = {"created_us": before.created_us, "by": before.by}
        changers = with_changer(before.changers, self._asked.actor)
        changed = msgspec.structs.replace(envelope, **own, **was, changers=changers)
        after = await self._sites.set(changed, self._asked.actor)
        await self._desk.carry_out(holder)
        return after

    async def lift_envelope(self, site: str, id: str, *, match: Match = any_version) -> None:
        """Forget an envelope: its limits end, what else limits the site holds."""
        known = self._known(site, "site.manage")
        found = self._sites.envelope(known.id, id)
        match(found.version)
        await self._sites.lift(found, self._asked.actor)
        await self._desk.carry_out([Holder("site", known.id)])

    def held(self, site: str, from_us: int, until_us: int) -> Sequence[Together]:
        """Return what holds at a site in ``[from_us, until_us)`` [µs since 1970]."""
        return self._asked.controls.plan.together(Holder("site", self.get(site).id), from_us, until_us)

    def _known(self, id: str, action: Action) -> Site:
        self._asked.check(action)
        return self._sites.get(id, self._asked.organisation)
