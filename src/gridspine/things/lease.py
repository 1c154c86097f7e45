"""Leases: what a Thing is told to do, from when until when, and what several of them come to together.

::

    set-points   authority, then priority, then the newest ──► winner ──┐
    limits       the tightest ceiling, the tightest floor ──────────────┴─► clamp ──► value ──► device
    nothing in force ──────────────────────────────────────────────────────────────► fallback

    a  aggregator, 4 kW      [────────────────────────)
    b  network, at most 1 kW         [───────)
    value             0      4       1       4         0 (fallback)

Everything here is pure: the same leases at the same moment give the same answer, in whatever order they came.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Literal

import msgspec

from gridspine.kernel.time import US
from gridspine.things.model import LeaseRule
from gridspine.things.schedule import Step, step_at

Role = Literal["setpoint", "limit_max", "limit_min"]
MAX_LEASES_PER_POINT = 64
"""Leases one point holds at most, running and to come; more are refused."""
MAX_STEPS_PER_POINT = 1_000
"""Steps that the schedules of one point have together at most."""
GRACE_US = 30 * US
"""How long beyond a step of a schedule a device keeps its value while the next one is on its way [µs]."""


class Authority(Enum):
    """In whose name a lease is asked for, the weakest first: a stronger one is heard before a weaker one."""

    SERVICE = "service"
    AGGREGATOR = "aggregator"
    OWNER = "owner"
    NETWORK = "network"
    SAFETY = "safety"

    @property
    def rank(self) -> int:
        """0 for the weakest, rising."""
        return _RANK[self]


_RANK = {authority: rank for rank, authority in enumerate(Authority)}


class Lease(msgspec.Struct, gc=False, frozen=True, kw_only=True, rename="camel"):
    """An order that holds in ``[from_us, until_us)`` [µs since 1970] and then ends without anyone's help.

    ``value`` is in the point's unit. ``priority`` is higher for the more important, within one authority.
    ``from_us`` may lie in the future: the lease is delivered ahead. ``issued_us`` [µs since 1970] breaks ties.
    With ``steps`` it is a schedule, and ``value`` that of the first. ``start_delay_us`` and ``end_advance_us`` [µs] are
    what chance took of the time that was asked for. A ``bounding`` limit is for what others ask: on a point that is a
    limit itself it lets the device do no more than its fallback.
    """

    id: str
    command: str
    thing: str
    point: str
    value: float
    role: Role
    authority: Authority
    principal: str
    from_us: int
    until_us: int
    issued_us: int
    priority: int = 0
    steps: tuple[Step, ...] = ()
    start_delay_us: int = 0
    end_advance_us: int = 0
    bounding: bool = False

    def in_force(self, now_us: int) -> bool:
        """Whether ``now_us`` lies in ``[from_us, until_us)``."""
        return self.from_us <= now_us < self.until_us

    def at(self, now_us: int) -> "Lease":
        """Return the lease with the value its schedule has at ``now_us`` [µs since 1970]."""
        return msgspec.structs.replace(self, value=step_at(self.steps, now_us).value) if self.steps else self

    @property
    def values(self) -> tuple[float, ...]:
        """Every value it asks for [the point's unit]."""
        return tuple(step.value for step in self.steps) or (self.value,)

    @property
    def moments(self) -> tuple[int, ...]:
        """When what it asks for changes [µs since 1970]: its start, its end, the steps between."""
        inner = (step.from_us for step in self.steps if self.from_us < step.from_us < self.until_us)
        return (self.from_us, *inner, self.until_us)

    @property
    def standing(self) -> tuple[int, int, int, str]:
        """What set-points are compared by: authority, priority, newest; the id only where all else is equal."""
        return self.authority.rank, self.priority, self.issued_us, self.id


class Bounds(msgspec.Struct, frozen=True):
    """Where a value may lie: ``low <= high`` [the point's unit], and the leases that set them ("" the model)."""

    low: float
    high: float
    low_by: str = ""
    high_by: str = ""
    reasons: tuple[str, ...] = ()


class Effective(msgspec.Struct, frozen=True):
    """What the leases come to.

    ``value`` [the point's unit] is what the device must hold; ``until_us`` [µs since 1970] how long it may hold it
    by itself should nobody reach it again (0 when it is the fallback). ``winner`` is the lease that set the value, ""
    when none did; ``clamped_by`` the limits that moved it; ``reasons`` say so in words.
    """

    value: float
    until_us: int
    winner: str = ""
    clamped_by: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def at_fallback(self) -> bool:
        """Whether no lease shapes the value: the device is left to its fallback."""
        return not self.winner and not self.clamped_by


def intersect(leases: Iterable[Lease], rule: LeaseRule, now_us: int) -> Bounds:
    """Return the bounds that the limits in force and the model leave; never empty.

    The tightest ceiling and the tightest floor win, whoever asked. Where a floor lies above a ceiling, the limits of
    the weaker authority give way; between equals the safe side is the value between the two nearest the fallback.
    """
    bounds = Bounds(rule.minimum, rule.maximum)
    limits = [lease.at(now_us) for lease in leases if lease.role != "setpoint" and lease.in_force(now_us)]
    for authority in sorted({lease.authority for lease in limits}, key=lambda a: -a.rank):
        bounds = _narrow(bounds, [lease for lease in limits if lease.authority is authority], rule.fallback)
    return bounds


def _narrow(bounds: Bounds, limits: Sequence[Lease], fallback: float) -> Bounds:
    """Narrow ``bounds`` by limits of one authority, weaker than those that made ``bounds``."""
    floors = [lease for lease in limits if lease.role == "limit_min"]
    ceilings = [lease for lease in limits if lease.role == "limit_max"]
    floor = max(floors, key=lambda lease: (lease.value, lease.standing), default=None)
    ceiling = min(ceilings, key=lambda lease: (lease.value, *_reverse(lease)), default=None)
    low, low_by = (bounds.low, bounds.low_by) if floor is None else (floor.value, floor.id)
    high, high_by = (bounds.high, bounds.high_by) if ceiling is None else (ceiling.value, ceiling.id)
    reasons = list(bounds.reasons)
    if floor is not None and ceiling is not None and low > high:
        low = high = _clip(fallback, ceiling.value, floor.value)
        reasons.append(f"limits {low_by} and {high_by} contradict each other: held at {low:g}, nearest the fallback")
    if low > bounds.high or high < bounds.low:
        weaker = low_by if low > bounds.high else high_by
        reasons.append(f"limit {weaker} gives way to the device's range or a stronger authority")
    if low <= bounds.low:
        low_by = bounds.low_by
    if high >= bounds.high:
        high_by = bounds.high_by
    low, high = _clip(low, bounds.low, bounds.high), _clip(high, bounds.low, bounds.high)
    return Bounds(low, high, low_by, high_by, tuple(reasons))


def _reverse(lease: Lease) -> tuple[int, int, int, str]:
    rank, priority, issued_us, name = lease.standing
    return -rank, -priority, -issued_us, name


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def resolve(leases: Sequence[Lease], rule: LeaseRule, now_us: int) -> Effective:
    """Return what ``leases`` of one point come to at ``now_us`` [µs since 1970]; see `Effective`.

    On a limit point (``rule.role`` is a limit) the value is the tightest limit in force. ``until_us`` is chosen so
    that a device nobody reaches any more stays on the safe side: a set-point is held until its lease ends, is
    outranked, or breaks a limit known to come; a limit until the last of those tighter than the fallback ends.
    """
    if rule.role == "setpoint":
        return _resolve_setpoint(leases, rule, now_us)
    return _resolve_limit(leases, rule, now_us)


def value_at(leases: Sequence[Lease], rule: LeaseRule, now_us: int) -> float | None:
    """Return what set-points come to at ``now_us`` [the point's unit]; None where the device is left to itself."""
    winner, bounds = _winner(leases, now_us), intersect(leases, rule, now_us)
    wanted = rule.fallback if winner is None else winner.value
    value = _clip(wanted, bounds.low, bounds.high)
    return None if winner is None and not _clamping(wanted, value, bounds) else value


def _resolve_setpoint(leases: Sequence[Lease], rule: LeaseRule, now_us: int) -> Effective:
    winner = _winner(leases, now_us)
    bounds = intersect(leases, rule, now_us)
    wanted = rule.fallback if winner is None else winner.value
    value = _clip(wanted, bounds.low, bounds.high)
    clamped_by = _clamping(wanted, value, bounds)
    reasons = bounds.reasons
    if value != wanted:
        by = " and ".join(clamped_by) or "the model's range"
        reasons += (f"{wanted:g} is clamped to {value:g} by {by}",)
    if winner is not None:
        until_us = _outlasts(winner, value, leases, rule, now_us)
        return Effective(value, until_us, winner.id, clamped_by, reasons)
    until_us = max((lease.until_us for lease in leases if lease.id in clamped_by), default=0)
    return Effective(value, until_us, "", clamped_by, reasons)


def _clamping(wanted: float, value: float, bounds: Bounds) -> tuple[str, ...]:
    by = bounds.high_by if value < wanted else bounds.low_by if value > wanted else ""
    return (by,) if by else ()


def _winner(leases: Iterable[Lease], now_us: int) -> Lease | None:
    running = (lease for lease in leases if lease.role == "setpoint" and lease.in_force(now_us))
    winner = max(running, key=lambda lease: lease.standing, default=None)
    return winner and winner.at(now_us)


def _outlasts(winner: Lease, value: float, leases: Sequence[Lease], rule: LeaseRule, now_us: int) -> int:
    """Return until when ``value`` may be held unattended: the winner's end, its next step and some grace, or sooner."""
    end_us = winner.until_us
    for moment in moments_after(leases, now_us):
        if moment >= end_us:
            break
        bounds, then = intersect(leases, rule, moment), _winner(leases, moment)
        if then is None or then.id != winner.id or not bounds.low <= value <= bounds.high:
            return moment
        if then.value != winner.value:
            end_us = min(end_us, moment + GRACE_US)
    return end_us


def _resolve_limit(leases: Sequence[Lease], rule: LeaseRule, now_us: int) -> Effective:
    running = [lease.at(now_us) for lease in leases if lease.role == rule.role and lease.in_force(now_us)]
    sign = 1.0 if rule.role == "limit_max" else -1.0
    tightest = min(running, key=lambda lease: (sign * lease.value, *_reverse(lease)), default=None)
    loosening = [lease.until_us for lease in running if not lease.bounding]
    if tightest is None or (not loosening and sign * tightest.value >= sign * rule.fallback):
        return Effective(_clip(rule.fallback, rule.minimum, rule.maximum), 0)
    value, reasons = _held(tightest.value, rule)
    tighter_than_fallback = [lease.until_us for lease in running if sign * lease.value < sign * rule.fallback]
    until_us = max(tighter_than_fallback) if tighter_than_fallback else min(tightest.until_us, max(loosening))
    return Effective(value, until_us, tightest.id, (), reasons)


def _held(value: float, rule: LeaseRule) -> tuple[float, tuple[str, ...]]:
    """Return what a device is told for a limit, and why it is another: one below what it can do is a pause."""
    if pauses(rule, rule.role, value):
        return rule.off, (f"{value:g} is tighter than the device can hold while it is on: it pauses",)
    kept = _clip(value, rule.minimum, rule.maximum)
    return kept, () if kept == value else (f"{value:g} is looser than the device: {kept:g}",)


def reaches(rule: LeaseRule, role: Role, value: float) -> bool:
    """Whether a device can hold a limit of ``value`` [the point's unit] while it is on; set-points have no limit."""
    if role == "setpoint":
        return True
    return value <= rule.maximum if role == "limit_min" else value >= rule.minimum


def pauses(rule: LeaseRule, role: Role, value: float) -> bool:
    """Whether a limit tighter than the device can hold while it is on is kept by its being off.

    So it is on a point that is a limit itself and has its ``off`` beyond what the device can hold: amperes from 6 on,
    off at 0. The ``off`` of a point that takes set-points may be a number that means nothing to the device.
    """
    if rule.role != role or reaches(rule, role, value):
        return False
    return value <= rule.off if role == "limit_min" else rule.off <= value


def moments_after(leases: Iterable[Lease], now_us: int) -> list[int]:
    """Return every start, step and end after ``now_us``, in order."""
    return sorted({t for lease in leases for t in lease.moments if t > now_us})


def next_change_us(leases: Sequence[Lease], rule: LeaseRule, now_us: int) -> int | None:
    """Return when value, winner or clamping next change [µs since 1970], or None when they never will."""
    present = resolve(leases, rule, now_us)
    for moment in moments_after(leases, now_us):
        then = resolve(leases, rule, moment)
        if (then.value, then.winner, then.clamped_by) != (present.value, present.winner, present.clamped_by):
            return moment
    return None


def replaces(newer: Lease, older: Lease, now_us: int) -> bool:
    """Whether ``newer`` supersedes ``older``.

    It does when the same principal asks again, with the same role and authority and no lower priority, for all the
    time ``older`` has left. So a principal can loosen its own limit, and nobody else's.
    """
    same = (newer.thing, newer.point, newer.role, newer.authority, newer.principal) == (
        older.thing,
        older.point,
        older.role,
        older.authority,
        older.principal,
    )
    covers = newer.from_us <= max(older.from_us, now_us) and newer.until_us >= older.until_us
    return same and covers and newer.priority >= older.priority and newer.id != older.id


def shifted(lease: Lease, by_us: int) -> Lease:
    """Return ``lease`` with all its times later by ``by_us`` [µs]."""
    if not by_us:
        return lease
    steps = tuple(msgspec.structs.replace(step, from_us=step.from_us + by_us) for step in lease.steps)
    from_us, until_us = lease.from_us + by_us, lease.until_us + by_us
    return msgspec.structs.replace(lease, from_us=from_us, until_us=until_us, steps=steps)
