"""Failures of devices and of what measures them, put over the values of any fleet or recording.

::

    drop-out   values are missing             stuck   the value of the beginning, again and again
    drift      adds ``size`` for each hour    spoof   multiplies by ``size``: −1 a reversed CT, 1000 a wrong scale
    flap       adds ``size`` in every second step

What a failure does is what is reported, never what the device does: the state behind it goes on.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from gridspine.energy.emulators.column import S_PER_H
from gridspine.kernel.readings import BoolArray, Float64Array, Int32Array, Int64Array
from gridspine.kernel.time import US


class Kind(IntEnum):
    """What fails."""

    DROP_OUT = 0
    STUCK = 1
    DRIFT = 2
    SPOOF = 3
    FLAP = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """k failures, each of one point for a time; half-open intervals.

    ``place`` int32 (k,) in the layout; ``begin_us``, ``end_us`` int64 (k,) [µs since 1970]; ``size`` float64 (k,), see
    above [the point's unit, or a factor].
    """

    kind: Kind
    place: Int32Array
    begin_us: Int64Array
    end_us: Int64Array
    size: Float64Array

    @classmethod
    def draw(
        cls,
        kind: Kind,
        random: np.random.Generator,
        places: Int32Array,
        within_us: tuple[int, int],
        lasting_s: tuple[float, float],
        size: Float64Array | float = 1.0,
        each: int = 1,
    ) -> "Plan":
        """Return ``each`` failures a point of ``places``, at random within ``within_us``, one after the other.

        Each has a share of the time to itself and lasts between ``lasting_s`` [s], at most half of its share.
        ``size`` is one, or one for each of ``places``.
        """
        count = len(places)
        share_us = (within_us[1] - within_us[0]) // each
        length_us = (random.uniform(*lasting_s, (each, count)) * US).astype(np.int64)
        length_us = np.minimum(length_us, share_us // 2)
        offset_us = (random.random((each, count)) * (share_us - length_us)).astype(np.int64)
        begin_us = within_us[0] + share_us * np.arange(each)[:, None] + offset_us
        return cls(
            kind,
            np.tile(places.astype(np.int32), each),
            begin_us.ravel(),
            (begin_us + length_us).ravel(),
            np.tile(np.broadcast_to(np.asarray(size, np.float64), count), each),
        )


class Failing:
    """Puts a plan over values, step after step."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._held = np.full(len(plan.place), np.nan)
        self._steps = 0

    def apply(self, values: Float64Array, now_us: int) -> tuple[Float64Array, BoolArray]:
        """Return the ``values`` (m,) as they are reported at ``now_us``, and which are reported at all, bool (m,)."""
        plan = self.plan
        self._steps += 1
        present = np.ones(len(values), np.bool_)
        active = (plan.begin_us <= now_us) & (now_us < plan.end_us)
        at, size = plan.place[active], plan.size[active]
        told = values.copy()
        if plan.kind == Kind.DROP_OUT:
            present[at] = False
        elif plan.kind == Kind.STUCK:
            self._held = np.where(active & np.isnan(self._held), values[plan.place], self._held)
            told[at] = self._held[active]
        elif plan.kind == Kind.DRIFT:
            told[at] += size * ((now_us - plan.begin_us[active]) / (US * S_PER_H))
        elif plan.kind == Kind.SPOOF:
            told[at] *= size
        elif self._steps % 2:
            told[at] += size
        return told, present


def some_failures(points: int, share: float, within_us: tuple[int, int], seed: int) -> list[Failing]:
    """Return failures of ``share`` of ``points``, each once at random ``within_us``, of every kind about as many."""
    random = np.random.default_rng(seed)
    chosen = np.flatnonzero(random.random(points) < share).astype(np.int32)
    kinds = random.integers(0, len(Kind), len(chosen))
    lasting_s = (within_us[1] - within_us[0]) / US / 2.0
    sizes = {Kind.DRIFT: 100.0, Kind.SPOOF: -1.0, Kind.FLAP: 1.0}
    found = []
    for kind in Kind if lasting_s > 0.0 else ():
        places = chosen[kinds == kind]
        plan = Plan.draw(kind, random, places, within_us, (lasting_s / 10.0, lasting_s), sizes.get(kind, 0.0))
        found.append(Failing(plan))
    return found
