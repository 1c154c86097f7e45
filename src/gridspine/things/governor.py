"""The governor: what is ordered now, so that a device is neither switched too often nor moved too fast.

::

    leases ─► effective value ─► least times on and off ─► ramp ─► what is ordered now, and when to look again
                                    limits, safety and stops wait for neither

    ramp      value  ____┌┐       steps of ramp_per_s x ramp_step_s; near the end of the last lease down again,
                    ┌┘  └┐        so that the device's own reversion is a small step too
                   ┌┘    └┐

Pure: it knows the leases, the last order and the time. What a device does by itself (its lease ends while nobody
reaches it) is beyond it.
"""

from collections.abc import Sequence

import msgspec

from gridspine.kernel.time import US
from gridspine.things.command import OrderIssued
from gridspine.things.lease import Bounds, Effective, Lease, intersect, moments_after, resolve
from gridspine.things.model import LeaseRule

LONG_AGO_US = -(1 << 62)
_NEVER_US = 1 << 62


class Held(msgspec.Struct, frozen=True):
    """What a device holds as it was ordered: ``value`` [the point's unit], on or off since ``since_us`` [µs]."""

    value: float
    on: bool
    since_us: int


class Governed(msgspec.Struct, frozen=True):
    """What to order now: ``value`` [the point's unit] until ``until_us`` [µs since 1970]; None: to the fallback.

    ``wake_us`` [µs since 1970] is when to look again, 0 for never. ``lingers`` says that no lease asks for the value
    any more: it is the last order, not over yet.
    """

    value: float | None
    until_us: int
    wake_us: int = 0
    lingers: bool = False
    reason: str = ""


class Situation(msgspec.Struct, frozen=True):
    """All that the governor looks at."""

    leases: Sequence[Lease]
    rule: LeaseRule
    wanted: Effective
    held: Held
    issued: OrderIssued | None
    now_us: int

    @property
    def target(self) -> float:
        """The value the leases ask for; without any, the fallback."""
        return self.rule.fallback if self.wanted.at_fallback else self.wanted.value

    @property
    def bounds(self) -> Bounds:
        """Where limits in force let the value be."""
        return intersect(self.leases, self.rule, self.now_us)

    @property
    def end_us(self) -> int:
        """When the lease that sets the value ends; 0 where none does [µs since 1970]."""
        return next((lease.until_us for lease in self.leases if lease.id == self.wanted.winner), 0)

    @property
    def lasting_us(self) -> int:
        """Until when the last order lets the device hold its value [µs since 1970]; not after now: it does not."""
        order = self.issued.order if self.issued else None
        return 0 if order is None or order.value is None else order.until_us

    def clip(self, value: float) -> float:
        """Return ``value`` within the bounds."""
        return min(max(value, self.bounds.low), self.bounds.high)


def held(issued: OrderIssued | None, rule: LeaseRule, now_us: int) -> Held:
    """Return what the device holds at ``now_us`` [µs since 1970] by the last order, its own reversion included."""
    rests = rule.fallback != rule.off
    if issued is None:
        return Held(rule.fallback, rests, LONG_AGO_US)
    order = issued.order
    if order.value is None:
        return Held(rule.fallback, rests, issued.switched_us)
    on = order.value != rule.off
    if now_us < order.until_us:
        return Held(order.value, on, issued.switched_us)
    return Held(rule.fallback, rests, issued.switched_us if on == rests else order.until_us)


def govern(situation: Situation) -> Governed:
    """Return what to order now."""
    wanted = situation.wanted
    plain = Governed(None if wanted.at_fallback else wanted.value, wanted.until_us)
    if not situation.rule.governed:
        return plain
    return _dwell(situation) or _ramp(situation, plain)


def _dwell(it: Situation) -> Governed | None:
    """Return what keeps a device on, or off, for the least time; None where nothing stands in the way."""
    on = it.target != it.rule.off
    if on == it.held.on:
        return None
    free_us = it.held.since_us + round((it.rule.min_on_s if it.held.on else it.rule.min_off_s) * US)
    word = "on" if it.held.on else "off"
    if it.now_us < free_us:
        stays = it.clip(it.held.value)
        if (stays != it.rule.off) != it.held.on:
            return None  # a limit wants it so
        reason = f"it must stay {word} for another {(free_us - it.now_us) / US:.0f} s"
        return _stay(it, stays, free_us, reason)
    rests = it.rule.fallback != it.rule.off
    least_us = round((it.rule.min_on_s if on else it.rule.min_off_s) * US)
    if on != rests and it.end_us and it.end_us - it.now_us < least_us and it.clip(it.held.value) == it.held.value:
        reason = f"too little of its time is left: the device would have to stay {'on' if on else 'off'} for longer"
        return _stay(it, it.held.value, 0, reason)
    return None


def _stay(it: Situation, value: float, wake_us: int, reason: str) -> Governed:
    """Hold ``value`` as the last order does, or nothing where the device rests at it."""
    if it.now_us < it.lasting_us:
        return Governed(value, it.lasting_us, wake_us, lingers=True, reason=reason)
    return Governed(None, 0, wake_us, reason=reason)


def _ramp(it: Situation, plain: Governed) -> Governed:
    rule, now_us = it.rule, it.now_us
    if not rule.ramp_per_s:
        return msgspec.structs.replace(plain, until_us=_long_enough(it, plain))
    step_us, most = round(rule.ramp_step_s * US), rule.ramp_per_s * rule.ramp_step_s
    if plain.value is None and now_us >= it.lasting_us:
        return plain
    next_us = now_us + step_us
    value, target = it.held.value, it.target
    if it.issued is not None and target != value and now_us < it.issued.at_us + step_us:
        next_us = it.issued.at_us + step_us
    else:
        value += min(max(target - value, -most), most)
    value, down_us = _before_end(it, value, most)
    value = it.clip(value)
    if plain.value is None and value == rule.fallback:
        return plain
    wake_us = next_us if value != target and down_us > now_us else max(down_us, next_us) if down_us < _NEVER_US else 0
    reason = "" if value == target else f"on its way to {target:g}, {rule.ramp_per_s:g} a second at most"
    if plain.value is None:
        return Governed(value, it.lasting_us, wake_us, lingers=True, reason=reason)
    shaped = Governed(value, plain.until_us, wake_us, reason=reason)
    return msgspec.structs.replace(shaped, until_us=_long_enough(it, shaped))


def _before_end(it: Situation, value: float, most: float) -> tuple[float, int]:
    """Return ``value`` near enough to the fallback for what is left of the last lease, and when that begins to bind."""
    end_us = _last_end_us(it)
    if not end_us:
        return value, _NEVER_US
    away = value - it.rule.fallback
    allowed = max(it.rule.ramp_per_s * (end_us - it.now_us) / US, most)
    away = min(max(away, -allowed), allowed)
    down_us = end_us - round(abs(away) / it.rule.ramp_per_s * US) if abs(away) > most else _NEVER_US
    return it.rule.fallback + away, down_us


def _last_end_us(it: Situation) -> int:
    """Return when the device will be left to its fallback [µs since 1970]: a lease that goes on for a moment after the
    one that sets the value leaves no time for the way down. 0 where that is not known."""
    end_us = it.end_us or it.lasting_us
    if not end_us:
        return 0
    moments = sorted({end_us, *(one.until_us for one in it.leases if one.until_us > end_us)})
    return next((moment for moment in moments if resolve(it.leases, it.rule, moment).at_fallback), 0)


def _long_enough(it: Situation, governed: Governed) -> int:
    """Return until when a value may be held, no sooner than the least time on, or off, is over."""
    if governed.value is None or not it.wanted.winner:
        return governed.until_us
    on = governed.value != it.rule.off
    least_s = it.rule.min_on_s if on else it.rule.min_off_s
    since_us = it.held.since_us if on == it.held.on else it.now_us
    until_us = max(governed.until_us, min(it.end_us, since_us + round(least_s * US)))
    for moment in moments_after(it.leases, it.now_us):
        bounds = intersect(it.leases, it.rule, moment)
        if governed.until_us <= moment < until_us and not bounds.low <= governed.value <= bounds.high:
            return max(moment, governed.until_us)
    return until_us
