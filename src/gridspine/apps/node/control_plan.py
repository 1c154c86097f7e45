"""What a site, or a Thing by itself, owes by its envelopes and programmes: leases, as they should be now.

::

    connection point ─┐
    envelopes ────────┴─ the tightest ──────┐
    enrolments ─► claims ─► which holds ────┴─► divided over the Things ─► obligations, by whose word

It reads documents and changes nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from gridspine.apps.node.programme_enrolments import ProgrammeEnrolments
from gridspine.apps.node.programmes import Programmes
from gridspine.apps.node.sites import Sites
from gridspine.energy.allocation import Handle, Told, aimed, handles, limited
from gridspine.energy.claims import claims_of
from gridspine.energy.control import LIMITS, NOTHING, Control, tightest
from gridspine.energy.obligation import Obligation, Source, obligations
from gridspine.energy.programme import Programme
from gridspine.energy.site import Site
from gridspine.energy.timeline import Limited, Stretch, Together, intersect, limits_of, resolve
from gridspine.kernel.time import US
from gridspine.things.directory import Directory
from gridspine.things.lease import Authority
from gridspine.things.thing import Thing

HORIZON_US = 86_400 * US
"""How far ahead leases are asked for."""
MAX_AHEAD = 1_000
"""Intervals that are looked at ahead: where there are more within the horizon, it is nearer."""
BATCH = "control:"
"""How the batches of commands begin that come of controls."""
_AUTHORITY = {"aggregator": Authority.AGGREGATOR, "network": Authority.NETWORK}


class Holder(NamedTuple):
    """What controls are for: a site with all behind it, or a Thing by itself."""

    kind: Literal["site", "thing"]
    id: str

    @property
    def batch(self) -> str:
        """By which name its commands are known."""
        return f"{BATCH}{self.id}"


class _Own(NamedTuple):
    """The points that a holder has, and what always holds for them."""

    handles: list[Handle]
    longest_s: dict[tuple[str, str], float]
    static: Control = NOTHING
    guard: str = ""
    set_aside_w: float = 0.0

    def limited(self, control: Control, *, alone: bool) -> list[Told]:
        return limited(
            control, self.static, self.handles, guard=self.guard, set_aside_w=self.set_aside_w, alone=alone
        )  # fmt: skip


class ControlPlan:
    """Plans for holders."""

    def __init__(
        self, sites: Sites, programmes: Programmes, enrolments: ProgrammeEnrolments, things: Directory
    ) -> None:
        self._sites, self._programmes, self._enrolments = sites, programmes, enrolments
        self._things = things

    def things(self, holder: Holder) -> list[Thing]:
        """Return the Things of a holder that are there now."""
        site = self.site(holder)
        if site is not None:
            return self._sites.things(site)
        thing = self._things.roll.get(holder.id)
        return [] if thing is None or thing.retired else [thing]

    def site(self, holder: Holder) -> Site | None:
        """Return the site that a holder is, if it is one and there."""
        return self._sites.find(holder.id) if holder.kind == "site" else None

    def limits(self, site: Site, from_us: int, until_us: int) -> list[Limited]:
        """Return the limits of a connection point by its envelopes and its own, in order and without gaps."""
        layers = [envelope.layer(from_us, until_us) for envelope in self._sites.envelopes(site.id)]
        return intersect([*layers, [Limited(from_us, until_us, site.limits)]], from_us, until_us)

    def held(self, holder: Holder, from_us: int, until_us: int, *, past: bool = False) -> list[Stretch]:
        """Return which claims of programmes hold for a holder when; with those of the ``past``, as far as known."""
        events = self._programmes.events if past else self._programmes.standing
        organisation = self._organisation(holder)
        claims = [
            claim
            for one in self._enrolments.of_subject(holder.id)
            if one.organisation == organisation and (programme := self._programmes.find(one.programme))
            for claim in claims_of(one, programme, events(programme.id), from_us, until_us)
        ]
        return resolve(claims, from_us, until_us) if claims else []

    def together(self, holder: Holder, from_us: int, until_us: int) -> list[Together]:
        """Return all that holds for a holder, in order and without gaps."""
        site = self.site(holder)
        limits = self.limits(site, from_us, until_us) if site else [Limited(from_us, until_us, NOTHING)]
        stretches = self.held(holder, from_us, until_us) or [Stretch(from_us, until_us, {})]
        found: list[Together] = []
        at = 0
        for limit in limits:
            while at < len(stretches) and stretches[at].from_us < limit.until_us:
                one = stretches[at]
                span = max(limit.from_us, one.from_us), min(limit.until_us, one.until_us)
                found.append(Together(*span, limit.control, one, tightest([limit.control, limits_of(one)])))
                if one.until_us > limit.until_us:
                    break
                at += 1
        return found

    def until_us(self, holder: Holder, now_us: int) -> int:
        """Return how far a holder's leases are planned ahead [µs since 1970], however many intervals others publish."""
        end_us = now_us + HORIZON_US
        begins: list[int] = []
        for one in self._enrolments.of_subject(holder.id):
            if one.stands(now_us):
                for event in self._programmes.standing(one.programme):
                    begins += event.begins(now_us, end_us)
        if holder.kind == "site":
            for envelope in self._sites.envelopes(holder.id):
                begins += (part.from_us for part in envelope.intervals if now_us <= part.from_us < end_us)
        return max(sorted(begins)[MAX_AHEAD], now_us + US) if len(begins) > MAX_AHEAD else end_us

    def owed(self, holder: Holder, now_us: int) -> list[Obligation]:
        """Return the leases that a holder's Things should have from ``now_us`` [µs since 1970] on, by whose word."""
        own = self._own(holder)
        if not own.handles:
            return []
        until_us = self.until_us(holder, now_us)
        return [*self._by_site(holder, own, now_us, until_us), *self._by_programmes(holder, own, now_us, until_us)]

    def _by_site(self, holder: Holder, own: _Own, now_us: int, until_us: int) -> Iterator[Obligation]:
        site = self.site(holder)
        if site is None:
            return
        layers = [envelope.layer(now_us, until_us) for envelope in self._sites.envelopes(site.id)]
        if not layers and not own.static.modes:
            return
        stretches = [
            (one.from_us, one.until_us, own.limited(one.control, alone=True))
            for one in intersect(layers, now_us, until_us)
        ]
        source = Source(site.principal, Authority.OWNER, 0, f"limits of the connection point {site.title[:200]!r}")
        yield from obligations(source, stretches, own.longest_s)

    def _by_programmes(self, holder: Holder, own: _Own, now_us: int, until_us: int) -> Iterator[Obligation]:
        stretches = self.held(holder, now_us, until_us)
        for id_ in {claim.source for stretch in stretches for claim in stretch.held.values()}:
            programme = self._programmes.get(id_)
            parts = [(one.from_us, one.until_us, _told(own, one.of(id_))) for one in stretches]
            yield from obligations(self._source(holder, programme), parts, own.longest_s)

    def _source(self, holder: Holder, programme: Programme) -> Source:
        own = (one for one in self._enrolments.of_subject(holder.id) if one.programme == programme.id)
        standing = max((one for one in own if one.state == "active"), key=lambda one: one.until_us)
        why = f"programme {programme.title[:200]!r}"
        return Source(programme.principal, _AUTHORITY[standing.authority], programme.lease_priority, why)

    def _own(self, holder: Holder) -> _Own:
        found: list[Handle] = []
        for thing in self.things(holder):
            found += handles(thing.id, self._things.model(thing))
        longest_s = {(one.thing, one.point): one.rule.max_duration_s for one in found}
        site = self.site(holder)
        if site is None:
            return _Own(found, longest_s)
        return _Own(found, longest_s, site.limits, site.guard, site.uncontrolled_load_w)

    def _organisation(self, holder: Holder) -> str:
        site = self.site(holder)
        if site is not None:
            return site.organisation
        return next((one.organisation for one in self.things(holder)), "")


def _told(own: _Own, control: Control) -> Sequence[Told]:
    limits = control.only(LIMITS)
    told = own.limited(limits, alone=False) if limits.modes else []
    return told if control.target_w is None else [*told, *aimed(control.target_w, own.handles)]
