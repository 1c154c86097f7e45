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
    running: dict[Place, tuple[list[Step], int]] = {}
    for from_us, until_us, told in stretches:
        present: dict[Place, float] = {(one.thing, one.point, one.role): one.value for one in told}
        for place in [one for one in running if one not in present or running[one][1] != from_us]:
            yield from _cut(source, place, *running.pop(place), longest_s)
        for place, value in present.items():
            steps, _ = running.setdefault(place, ([], from_us))
            if not steps or steps[-1].value != value:
                steps.append(Step(from_us, value))
            running[place] = (steps, until_us)
    for place, (steps, until_us) in running.items():
        yield from _cut(source, place, steps, until_us, longest_s)


def _cut(
    source: Source, place: Place, steps: list[Step], until_us: int, longest_s: dict[tuple[str, str], float]
) -> Iterator[Obligation]:
    thing, point, role = place
    from_us = steps[0].from_us
    longest_us = longest_s.get((thing, point), 0.0) * US
    end_us = until_us if longest_us >= until_us - from_us else from_us + int(longest_us)
    if len(steps) > MAX_STEPS:
        end_us = min(end_us, steps[MAX_STEPS].from_us)
    kept = tuple(step for step in steps[:MAX_STEPS] if step.from_us < end_us)
    if end_us > from_us:
        yield Obligation(source, thing, point, role, kept, from_us, end_us, until_us)


def fulfils(lease: Lease, wanted: Obligation, now_us: int) -> bool:
    """Whether ``lease`` does what is ``wanted`` from ``now_us`` [µs since 1970] on, and need not be renewed yet.

    It may end sooner where what is wanted was cut, as long as half of that is left.
    """
    begin_us = max(now_us, wanted.from_us)
    if max(now_us, lease.from_us) != begin_us or lease.until_us > wanted.whole_us:
        return False
    if (lease.authority, lease.priority) != (wanted.source.authority, wanted.source.priority):
        return False
    if lease.until_us != wanted.whole_us and lease.until_us - begin_us < (wanted.until_us - begin_us) // 2:
        return False
    end_us = min(lease.until_us, wanted.until_us)
    own = lease.steps or (Step(lease.from_us, lease.value),)
    moments = {begin_us, *(step.from_us for step in (*own, *wanted.steps) if begin_us < step.from_us < end_us)}
    return all(step_at(own, moment).value == step_at(wanted.steps, moment).value for moment in moments)
