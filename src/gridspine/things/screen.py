"""Screening: what becomes of each reading. Columns in, columns out; no object for one reading.

::

    numbered ─► impossible? ──► refused           not finite · future · impossible · not a code · bad quality
             ─► known?      ──► duplicate         same point, time, value and quality, within the horizon
             ─► limits         marked             questionable | out-of-range, and an alarm; still delivered
             ─► unchanged?  ──► suppressed        instantaneous points with a deadband only; last-heard moves
                            └─► held              within the minimum interval: the latest waits, never drops
             ─► accepted

The memory of the screen (the last *reported* value of each point) moves when a batch is screened, and back when its
commit fails; the twin moves only after the commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gridspine.kernel.quality import ALL_BITS, VALIDITY_MASK, Quality
from gridspine.kernel.readings import BoolArray, Channel, Float64Array, Int64Array, Readings, UInt16Array
from gridspine.things.exception import Before, Memory, report_by_exception
from gridspine.things.horizon import DEFAULT_CAPACITY, Horizon, keys_of
from gridspine.things.point import PointTable

ACCEPTED, SUPPRESSED, DUPLICATE, REFUSED, HELD = range(5)
"""Codes of `Screened.verdict`; a held reading counts as suppressed until it is released."""
REASONS = ("", "not-finite", "future-time", "impossible", "not-a-code", "bad-quality")
_OUT_OF_RANGE = np.uint16(Quality.QUESTIONABLE | Quality.OUT_OF_RANGE)
_INCONSISTENT = np.uint16(Quality.QUESTIONABLE | Quality.INCONSISTENT)


@dataclass(slots=True, eq=False)
class Screened:
    """What became of a batch of n readings.

    ``verdict`` uint8 (n,) of the codes above; ``reason`` uint8 (n,) into `REASONS` where refused; ``accepted`` in
    the order they came, with their quality as marked; ``held`` wait for their minimum interval; ``beyond`` bool,
    one for each accepted reading: it is beyond an operating limit or rate.
    """

    verdict: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    accepted: Readings
    held: Readings
    beyond: BoolArray
    undo: Sequence[Before] = ()

    def count(self, code: int) -> int:
        """How many readings got ``code``."""
        return int(np.count_nonzero(self.verdict == code))


class Screen:
    """Screens batches against the rules of ``points``; lives on the writer's thread."""

    def __init__(self, points: PointTable, horizon_capacity: int = DEFAULT_CAPACITY) -> None:
        self._points = points
        self.memory = Memory()
        self.horizon = Horizon(horizon_capacity)

    def screen(self, readings: Readings) -> Screened:
        """Screen a batch whose points are all numbered, and remember what it brings."""
        self.memory.grow(self._points.count)
        verdict = np.zeros(len(readings), np.uint8)
        reason = self._refuse(readings)
        verdict[reason > 0] = REFUSED
        live = not readings.backfill and readings.channel == Channel.REPORTED
        order = np.flatnonzero(reason == 0)
        order = order[np.lexsort((readings.observed_us[order], readings.point[order]))]
        ordered = readings.take(order)
        quality = ordered.quality.copy()
        beyond = self._mark(ordered, quality, live=live)
        ordered = _with_quality(ordered, quality)
        repeated = self._repeated(ordered)
        verdict[order[repeated]] = DUPLICATE
        kept = ~repeated
        order, ordered, beyond = order[kept], ordered.take(kept), beyond[kept]
        undo = self.memory.before(ordered.point)
        if live:
            verdict[order] = report_by_exception(self._points, self.memory, ordered)
        self.memory.remember_newest(ordered)
        back = np.argsort(order)
        outcome = verdict[order][back]
        in_order = ordered.take(back)
        accepted = in_order.take(outcome == ACCEPTED)
        self.horizon.remember(accepted)
        held = in_order.take(outcome == HELD)
        return Screened(verdict, reason, accepted, held, beyond[back][outcome == ACCEPTED], undo)

    def settle(self) -> None:
        """The oldest screened batch that was not settled is durable."""
        self.horizon.settle()

    def undo(self, screened: Screened) -> None:
        """Forget the newest screened batch: its commit failed."""
        self.horizon.forget_last()
        for column, index, values in screened.undo:
            column.array[index] = values

    def _refuse(self, readings: Readings) -> npt.NDArray[np.uint8]:
        """Return a code into `REASONS` for each reading, 0 where it may go on."""
        rules = self._points.rules
        rule = self._points.rule.array[readings.point]
        value = readings.value
        reason = np.zeros(len(readings), np.uint8)
        reason[readings.quality > ALL_BITS] = 5
        with np.errstate(invalid="ignore"):
            reason[rules.state.array[rule] & (value != np.rint(value))] = 4
            impossible = (value < rules.possible_min.array[rule]) | (value > rules.possible_max.array[rule])
        reason[impossible] = 3
        future = readings.observed_us > readings.received_us + rules.max_future_us.array[rule]
        reason[future | (readings.observed_us < 0)] = 2
        reason[~np.isfinite(value)] = 1
        return reason

    def _mark(self, ordered: Readings, quality: UInt16Array, *, live: bool) -> BoolArray:
        """Mark readings beyond an operating limit or rate, and registers that fall; return which are beyond."""
        rules = self._points.rules
        rule = self._points.rule.array[ordered.point]
        beyond: BoolArray = (ordered.value < rules.limit_min.array[rule]) | (
            ordered.value > rules.limit_max.array[rule]
        )
        if live and len(ordered):
            previous, elapsed_us = self._previous(ordered)
            newer = elapsed_us > 0
            change = ordered.value - previous
            with np.errstate(invalid="ignore"):
                rate = np.abs(change) * 1e6 > rules.max_rate_per_s.array[rule] * elapsed_us
            beyond |= newer & rate
            falling = newer & rules.register.array[rule] & (change < 0)
            _add(quality, falling, _INCONSISTENT)
        _add(quality, beyond, _OUT_OF_RANGE)
        return beyond

    def _previous(self, ordered: Readings) -> tuple[Float64Array, Int64Array]:
        """Return the value before each reading (in the batch, else remembered) and the time since [µs], 0 if none."""
        point = ordered.point
        previous = self.memory.value.array[point]
        before_us = self.memory.observed_us.array[point]
        follows = np.zeros(len(point), np.bool_)
        follows[1:] = point[1:] == point[:-1]
        previous[follows] = ordered.value[:-1][follows[1:]]
        before_us[follows] = ordered.observed_us[:-1][follows[1:]]
        known = np.isfinite(previous)
        return previous, np.where(known, ordered.observed_us - before_us, 0)

    def _repeated(self, ordered: Readings) -> BoolArray:
        """Return which readings (sorted by point, time) repeat one before them, here or within the horizon."""
        keys = keys_of(ordered)
        repeated = np.zeros(len(ordered), np.bool_)
        if len(ordered) > 1:
            same_place = (keys.point[1:] == keys.point[:-1]) & (keys.observed_us[1:] == keys.observed_us[:-1])
            if same_place.any():
                repeated[1:] = same_place & _alike_within_place(ordered, same_place)
        late = ordered.observed_us <= self.memory.newest_us.array[ordered.point]
        if late.any():
            at = np.flatnonzero(late)
            repeated[at] |= self.horizon.seen(keys.take(at))
        return repeated


def _alike_within_place(ordered: Readings, same_place: BoolArray) -> BoolArray:
    """Return, for readings 1…n, whether one *before* it of the same point and time has its value and quality."""
    run = np.concatenate(([0], np.cumsum(~same_place)))
    _, first = np.unique(
        np.rec.fromarrays([run, (ordered.value + 0.0).view(np.uint64), ordered.quality]), return_index=True
    )
    alike = np.ones(len(ordered), np.bool_)
    alike[first] = False
    return alike[1:]


def _add(quality: UInt16Array, where: BoolArray, bits: np.uint16) -> None:
    """Add quality ``bits``; what is invalid already stays invalid, not questionable."""
    if where.any():
        invalid = (quality & VALIDITY_MASK) == np.uint16(Quality.INVALID)
        quality[where] |= np.where(invalid[where], bits & ~np.uint16(VALIDITY_MASK), bits)


def _with_quality(readings: Readings, quality: UInt16Array) -> Readings:
    return Readings(
        readings.point, readings.observed_us, readings.value, quality,
        readings.source, readings.channel, readings.received_us, readings.backfill,
    )  # fmt: skip
