"""Report by exception at the node, for sources that cannot do it themselves.

A value is compared with the last *reported* one, so that a slow drift is still seen; changes of quality always pass;
registers, interval energy, states and settings never wait. A minimum interval *holds the latest*.

::

    reported ──┬── within the deadband ──► suppressed (the point was heard of)
               ├── within the interval ──► held: replaces an older held one; released when due
               └── else ───────────────► accepted, and the new reference
"""

import numpy as np
import numpy.typing as npt

from gridspine.kernel.readings import Float64Array, Int32Array, Int64Array, Readings
from gridspine.things.point import Column, PointTable

_NEVER_US = -(1 << 62)
_ACCEPTED, _SUPPRESSED, _HELD = 0, 1, 4
_MANY_ROUNDS = 64


Before = tuple[Column, Int64Array, npt.NDArray[np.generic]]
"""A column, rows of it, and what they held."""


class Memory:
    """What the screen remembers of each point, as columns: the last reported reading and the newest time seen."""

    def __init__(self) -> None:
        self.value = Column(np.float64, np.nan)
        self.observed_us = Column(np.int64, _NEVER_US)
        self.quality = Column(np.uint16)
        self.newest_us = Column(np.int64, _NEVER_US)

    def grow(self, size: int) -> None:
        """Make room for points up to ``size``."""
        for column in self._columns():
            column.grow(size)

    def before(self, point: Int32Array) -> list[Before]:
        """Return what the columns hold for ``point`` now, to put back when a commit fails."""
        index: Int64Array = np.unique(point).astype(np.int64)
        return [(column, index, column.array[index]) for column in self._columns()]

    def remember_newest(self, ordered: Readings) -> None:
        """Move the newest time of each point on; anything not newer must be looked up in the horizon."""
        np.maximum.at(self.newest_us.array, ordered.point, ordered.observed_us)

    def restore(self, value: Column, observed_us: Column, quality: Column) -> None:
        """Start from the twins: what was accepted last is what was reported last."""
        size = len(value.array)
        self.grow(size)
        self.value.array[:size] = value.array
        self.observed_us.array[:size] = observed_us.array
        self.quality.array[:size] = quality.array
        self.newest_us.array[:size] = observed_us.array

    def _columns(self) -> tuple[Column, Column, Column, Column]:
        return (self.value, self.observed_us, self.quality, self.newest_us)


def report_by_exception(points: PointTable, memory: Memory, ordered: Readings) -> npt.NDArray[np.uint8]:
    """Return the verdict (accepted, suppressed or held) on readings sorted by point, then time.

    ``memory`` moves on to what is accepted. Late readings are history: accepted, and no reference.
    """
    verdict = np.zeros(len(ordered), np.uint8)
    point = ordered.point
    rule = points.rule.array[point]
    deadband = points.rules.deadband.array[rule]
    interval_us = points.rules.min_interval_us.array[rule]
    if not deadband.any() and not interval_us.any():
        _report_all(memory, ordered)
        return verdict
    rank = _rank(point)
    for chosen in _rounds(rank):
        at = point[chosen]
        late = ordered.observed_us[chosen] < memory.observed_us.array[at]
        changed = ordered.quality[chosen] != memory.quality.array[at]
        with np.errstate(invalid="ignore"):
            moved = ~(np.abs(ordered.value[chosen] - memory.value.array[at]) <= deadband[chosen])
        passes = moved | (deadband[chosen] == 0) | changed
        early = ordered.observed_us[chosen] < memory.observed_us.array[at] + interval_us[chosen]
        held = passes & early & ~changed & ~late
        accepted = (passes & ~held) | late
        verdict[chosen] = np.where(accepted, _ACCEPTED, np.where(held, _HELD, _SUPPRESSED))
        _report(memory, ordered, chosen[accepted & ~late])
    _one_after_another(memory, ordered, np.flatnonzero(rank >= _MANY_ROUNDS), deadband, interval_us, verdict)
    return verdict


def _rank(point: Int32Array) -> Int64Array:
    """Return how many readings of the same point stand before each, in a batch sorted by point."""
    first = np.flatnonzero(np.concatenate(([True], point[1:] != point[:-1])))
    return np.arange(len(point)) - np.repeat(first, np.diff(np.append(first, len(point))))


def _rounds(rank: Int64Array) -> list[Int64Array]:
    """Return rounds in which each point appears at most once, in order of time; the first `_MANY_ROUNDS` of them."""
    order = np.argsort(rank, kind="stable")
    order = order[: np.searchsorted(rank[order], _MANY_ROUNDS)]
    return np.split(order, np.flatnonzero(np.diff(rank[order])) + 1) if len(order) else []


def _one_after_another(
    memory: Memory,
    ordered: Readings,
    chosen: Int64Array,
    deadband: Float64Array,
    interval_us: Int64Array,
    verdict: npt.NDArray[np.uint8],
) -> None:
    """Judge what is left when one point has very many readings in a batch: rounds of one would be slower.

    This is the one place that looks at single readings; a batch of many points never comes here.
    """
    values, times = ordered.value.tolist(), ordered.observed_us.tolist()
    qualities, bands, intervals = ordered.quality.tolist(), deadband.tolist(), interval_us.tolist()
    current = -1
    for at in chosen.tolist():
        if ordered.point[at] != current:
            current = int(ordered.point[at])
            value, time_us, quality = (float(memory.value.array[current]), int(memory.observed_us.array[current]),
                                       int(memory.quality.array[current]))  # fmt: skip
        changed = qualities[at] != quality
        passes = changed or bands[at] == 0 or not abs(values[at] - value) <= bands[at]
        if times[at] < time_us:
            continue  # late: accepted, and no reference
        if not passes:
            verdict[at] = _SUPPRESSED
        elif times[at] < time_us + intervals[at] and not changed:
            verdict[at] = _HELD
        else:
            value, time_us, quality = values[at], times[at], qualities[at]
            _report(memory, ordered, np.array([at]))


def _report(memory: Memory, ordered: Readings, chosen: Int64Array) -> None:
    at = ordered.point[chosen]
    memory.value.array[at] = ordered.value[chosen]
    memory.observed_us.array[at] = ordered.observed_us[chosen]
    memory.quality.array[at] = ordered.quality[chosen]


def _report_all(memory: Memory, ordered: Readings) -> None:
    """Take the last reading of each point as its reference, unless it is late."""
    if not len(ordered):
        return
    last = np.flatnonzero(np.append(ordered.point[1:] != ordered.point[:-1], True))
    newer = ordered.observed_us[last] >= memory.observed_us.array[ordered.point[last]]
    _report(memory, ordered, last[newer])
