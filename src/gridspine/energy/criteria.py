"""What is asked of an ensemble: which Things, where, in what state, able to do what."""

from typing import Literal

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, parse_rfc3339
from gridspine.kernel.units import UNITS, unit
from gridspine.things.place import Place

MAX_CONDITIONS, MAX_NAMES = 16, 100
_QUANTITIES = frozenset(one.quantity for one in UNITS.values())


class Condition(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A comparison of a point's last reported value with ``value`` [``unit``, "" the point's own].

    ``margin`` [the same unit] is what a member may go back beyond ``value`` before it leaves a live ensemble.
    """

    point: str
    op: Literal["<", "<=", ">", ">=", "==", "!="]
    value: float
    unit: str = ""
    margin: float = 0.0


class Capability(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What members must be able to do when commanded: move their net power by ``at_least_w`` [W] for ``for_s`` [s].

    ``shed`` is less import (or more export), ``raise`` more. ``from_`` (RFC 3339) is when it begins, "" for now: what
    is known of then is what is reported now, and which commands hold. ``committed`` ones, which are commanded already,
    count only when it is true. A store must hold the energy, or have room for it: ``rated_energy_wh`` [Wh] is its size
    where nobody else says.
    ``margin_w`` [W] is what a member may fall short before it leaves a live ensemble.
    """

    direction: Literal["shed", "raise"]
    at_least_w: float = 0.0
    for_s: float = 0.0
    from_: str = msgspec.field(name="from", default="")
    committed: bool = False
    rated_energy_wh: float = 0.0
    margin_w: float = 0.0

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if min(self.at_least_w, self.for_s, self.rated_energy_wh, self.margin_w) < 0:
            raise Invalid("can: nothing of it is negative")
        if self.for_s > 366 * 86_400:
            raise Invalid("can: forS: at most a year")
        if self.from_:
            parse_rfc3339(self.from_)

    def interval_us(self, now_us: int) -> tuple[int, int]:
        """Return from when until when it must be able to [µs since 1970], at ``now_us``."""
        start_us = max(now_us, parse_rfc3339(self.from_)) if self.from_ else now_us
        return start_us, start_us + max(1, round(self.for_s * US))


class Criteria(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which Things belong to an ensemble: those for which all of it holds.

    ``models`` are ids, ``quantities`` and ``points`` what a model must have; values older than ``max_age_s`` [s] do not
    count. One that stays as it is grows no older while its device goes on saying so.
    """

    models: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    place: Place | None = None
    state: tuple[Condition, ...] = ()
    can: Capability | None = None
    max_age_s: float = 300.0

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if len(self.state) > MAX_CONDITIONS:
            raise Invalid(f"state: at most {MAX_CONDITIONS} conditions")
        if max(len(self.models), len(self.quantities), len(self.points)) > MAX_NAMES:
            raise Invalid(f"models, quantities, points: at most {MAX_NAMES} each")
        if unknown := [one for one in self.quantities if one not in _QUANTITIES]:
            raise Invalid(f"quantities: {unknown[0][:40]!r} is not known; known are: {', '.join(sorted(_QUANTITIES))}")
        if not 0 < self.max_age_s <= 366 * 86_400:
            raise Invalid("maxAgeS: more than 0 s, at most a year")
        for condition in self.state:
            if condition.unit:
                unit(condition.unit)
            if condition.margin < 0:
                raise Invalid("margin: not negative")
        if self.place is not None:
            self.place.check()
        if self.can is not None:
            self.can.check()
