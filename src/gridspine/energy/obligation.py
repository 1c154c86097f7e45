"""Obligations: the leases that controls come to, point by point, each as long as one may be.

::

    stretches   [ 3 kW ─)[ 5 kW ──)         [ 3 kW ────
    leases      [ 3 kW ─ 5 kW ────)         [ 3 kW ────)      one lease with steps for what follows without a gap
                now ──────────────── horizon ──────────┤

What is longer than a lease may last, or has more steps, is cut, and asked for anew before it is over.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gridspine.energy.allocation import Told
from gridspine.kernel.time import US
from gridspine.things.lease import Authority, Lease, Role
from gridspine.things.schedule import MAX_STEPS, Step, step_at

Place = tuple[str, str, Role]
"""Thing, point and role of a lease."""


class Source(NamedTuple):
    """Whose word an obligation is: the principal of its leases, their authority and priority, and the reason told."""

    principal: str
    authority: Authority
    priority: int
    reason: str


class Obligation(NamedTuple):
    """What ``source`` wants of a point by a lease of ``role`` in ``[from_us, until_us)``; ``whole_us``, to what end."""

    source: Source
    thing: str
    point: str
    role: Role
    steps: tuple[Step, ...]
    from_us: int
    until_us: int
    whole_us: int
    bounding: bool = False

    @property
    def place(self) -> tuple[str, str, str, Role]:
        """By whom and what for: leases are compared with those of the same place."""
        return self.source.principal, self.thing, self.point, self.role


def obligations(
    source: Source, stretches: Iterable[tuple[int, int, Sequence[Told]]], longest_s: dict[tuple[str, str], float]
) -> Iterator[Obligation]:
    """Yield the leases that come of what points are told from when until when [µs since 1970], in the order of time.

    ``longest_s`` [s] is how long one lease of a point may last.
    """
    running: dict[Place, _Running] = {}
    for from_us, until_us, told in stretches:
        present = {(one.thing, one.point, one.role): one for one in told}
        for place in [place for place, one in running.items() if not one.goes_on(present.get(place), from_us)]:
            yield from _cut(source, place, running.pop(place), longest_s)
        for place, one in present.items():
            known = running.get(place) or _Running([], from_us, one.bounding, one.beyond)
            if not known.steps or known.steps[-1].value != one.value:
                known.steps.append(Step(from_us, one.value))
            running[place] = known._replace(until_us=until_us)
    for place, left in running.items():
        yield from _cut(source, place, left, longest_s)


class _Running(NamedTuple):
    """A lease that is being put together: what it says so far, and of what kind it is."""

    steps: list[Step]
    until_us: int
    bounding: bool
    beyond: bool

    def goes_on(self, told: Told | None, from_us: int) -> bool:
        """Whether it is the same lease that says what is ``told`` from ``from_us`` on."""
        if told is None or self.until_us != from_us:
            return False
        return (self.bounding, self.beyond) == (told.bounding, told.beyond)


def _cut(
    source: Source, place: Place, running: _Running, longest_s: dict[tuple[str, str], float]
) -> Iterator[Obligation]:
    thing, point, role = place
    steps, until_us = running.steps, running.until_us
    from_us = steps[0].from_us
    longest_us = longest_s.get((thing, point), 0.0) * US
    end_us = until_us if longest_us >= until_us - from_us else from_us + int(longest_us)
    if len(steps) > MAX_STEPS:
        end_us = min(end_us, steps[MAX_STEPS].from_us)
    kept = tuple(step for step in steps[:MAX_STEPS] if step.from_us < end_us)
    if end_us > from_us:
        yield Obligation(source, thing, point, role, kept, from_us, end_us, until_us, running.bounding)


def fulfils(lease: Lease, wanted: Obligation, now_us: int) -> bool:
    """Whether ``lease`` does what is ``wanted`` from ``now_us`` [µs since 1970] on, and need not be renewed yet.

    It may end sooner where what is wanted was cut, as long as half of that is left.
    """
    begin_us = max(now_us, wanted.from_us)
    if max(now_us, lease.from_us) != begin_us or lease.until_us > wanted.whole_us:
        return False
    if (lease.authority, lease.priority) != (wanted.source.authority, wanted.source.priority):
        return False
    if lease.bounding != wanted.bounding:
        return False
    if lease.until_us != wanted.whole_us and lease.until_us - begin_us < (wanted.until_us - begin_us) // 2:
        return False
    end_us = min(lease.until_us, wanted.until_us)
    own = lease.steps or (Step(lease.from_us, lease.value),)
    moments = {begin_us, *(step.from_us for step in (*own, *wanted.steps) if begin_us < step.from_us < end_us)}
    return all(step_at(own, moment).value == step_at(wanted.steps, moment).value for moment in moments)
