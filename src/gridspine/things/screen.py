"""Screening: what becomes of each reading. Columns in, columns out; no object for one reading.

::

    numbered ─► impossible? ──► refused           not finite · future · impossible · not a code · bad quality
             ─► limits         marked             questionable | out-of-range, and an alarm; still delivered
             ─► known?      ──► duplicate         same channel, point, time, value and quality, within the horizon
             ─► rate, fall     marked             rate: as limits · a register that falls: questionable | inconsistent
             ─► flapping?   ──► held              states that change too often: first, last and count; alarms pass
             ─► unchanged?  ──► suppressed        instantaneous points with a deadband only; last-heard moves
                            └─► held              within the minimum interval: the latest waits, never drops
             ─► accepted

Only live reported readings come below ``known?``. The memory of the screen moves when a batch is screened, and back
when its commit fails; the twin moves only after the commit. A repetition is recognised by the quality it was sent
with: marks that depend on what came before are added afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gridspine.kernel.quality import ALL_BITS
from gridspine.kernel.readings import BoolArray, Channel, Float64Array, Int64Array, Readings
from gridspine.kernel.time import MAX_US, MIN_US
from gridspine.things.exception import report_by_exception
from gridspine.things.flap import Flapped, Flaps
from gridspine.things.horizon import DEFAULT_CAPACITY, Horizon, keys_of
from gridspine.things.marks import INCONSISTENT, OUT_OF_RANGE, marked, with_quality
from gridspine.things.memory import Before, Memory, put_back
from gridspine.things.point import PointTable
from gridspine.things.runs import Runs, runs_of
from gridspine.things.twin import TwinState

ACCEPTED, SUPPRESSED, DUPLICATE, REFUSED, HELD = range(5)
"""Codes of `Screened.verdict`; a held reading counts as suppressed until it is released."""
REASONS = ("", "not-finite", "future-time", "impossible", "not-a-code", "bad-quality")
_EXACT_INTEGERS = 2.0**53
_PLANS = {Channel.COMMANDED, Channel.PLANNED}
"""Channels that speak of the future."""


@dataclass(slots=True, eq=False)
class Screened:
    """What became of a batch of n readings.

    ``verdict`` uint8 (n,) of the codes above; ``reason`` uint8 (n,) into `REASONS` where refused; ``accepted`` in
    the order they came, with their quality as marked; ``held`` wait, ``held_until_us`` int64 says until when at
    most; ``beyond`` bool, one for each accepted reading: it is beyond an operating limit or rate. ``flapped`` are
    the flappings that this batch ended.
    """

    verdict: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    accepted: Readings
    held: Readings
    held_until_us: Int64Array
    beyond: BoolArray
    flapped: Sequence[Flapped] = ()
    undo: Sequence[Before] = ()

    def count(self, code: int) -> int:
        """How many readings got ``code``."""
        return int(np.count_nonzero(self.verdict == code))


class Screen:
    """Screens batches against the rules of ``points``; lives on the writer's thread."""

    def __init__(self, points: PointTable, horizon_capacity: int = DEFAULT_CAPACITY) -> None:
        self._points = points
        self.memory = Memory()
        self.flaps = Flaps(points)
        self.horizon = Horizon(horizon_capacity)

    def screen(self, readings: Readings) -> Screened:
        """Screen a batch whose points are all numbered, and remember what it brings."""
        self._grow(self._points.count)
        verdict, reason = np.zeros(len(readings), np.uint8), self._refuse(readings)
        verdict[reason > 0] = REFUSED
        order = _sorted(readings, np.flatnonzero(reason == 0))
        ordered = readings.take(order)
        beyond = self._beyond_limits(ordered)
        ordered = marked(ordered, beyond, OUT_OF_RANGE)
        repeated = self._repeated(ordered)
        if repeated.any():
            verdict[order[repeated]] = DUPLICATE
            kept = ~repeated
            order, ordered, beyond = order[kept], ordered.take(kept), beyond[kept]
        runs = runs_of(ordered.point)
        live = not readings.backfill and readings.channel == Channel.REPORTED
        undo = self.memory.before(runs.point, readings.channel, live=live)
        flapped: list[Flapped] = []
        sent = ordered
        try:
            if live:
                undo += self.flaps.before(runs.point)
                ordered, beyond = self._mark_change(ordered, runs, beyond)
                ordered, verdict[order] = self._report(ordered, runs, beyond, flapped)
            self.memory.remember_newest(ordered, runs)
        except BaseException:
            put_back(undo)
            raise
        self.horizon.remember(sent)
        return self._gather(readings, order, ordered, beyond, verdict, reason, flapped, undo)

    def settle(self) -> None:
        """The oldest screened batch that was not settled is durable."""
        self.horizon.settle()

    def undo(self, screened: Screened) -> None:
        """Forget the newest screened batch: its commit failed."""
        self.horizon.forget_last()
        put_back(screened.undo)

    def release(self, held: Readings) -> Screened:
        """Accept held readings, at most one a point, as they are: they become the references.

        Like a screened batch it is settled or undone.
        """
        memory = self.memory
        self._grow(self._points.count)
        undo = memory.before(held.point, held.channel, live=True)
        rule = self._points.rule.array[held.point]
        memory.value.array[held.point] = held.value
        memory.observed_us.array[held.point] = held.observed_us
        memory.quality.array[held.point] = held.quality
        memory.pending.array[held.point] = False
        wait_us = np.maximum(
            self._points.rules.min_interval_us.array[rule], self._points.rules.flap_window_us.array[rule]
        )
        memory.until_us.array[held.point] = held.received_us + wait_us
        none = held.take(slice(0, 0))
        self.horizon.remember(none)  # they were remembered when they came
        codes = np.zeros(len(held), np.uint8)
        return Screened(codes, codes, held, none, none.observed_us, self._beyond_limits(held), (), undo)

    def restore(self, twins: TwinState) -> None:
        """Start from the twins: what was accepted last is what was reported last."""
        self._grow(self._points.count)
        self.memory.restore(twins.value, twins.observed_us, twins.quality)
        size = min(self._points.count, len(twins.observed_us.array))
        wait_us = self._points.rules.min_interval_us.array[self._points.rule.array[:size]]
        self.memory.until_us.array[:size] = twins.observed_us.array[:size] + wait_us

    def remember(self, accepted: Readings) -> None:
        """Take up a batch of the log, so that its readings are known when they are sent again.

        What the node marked for its rate, or as falling, is not recognised if it was sent without the mark.
        """
        if len(accepted):
            self._grow(int(accepted.point.max()) + 1)
            np.maximum.at(self.memory.newest[accepted.channel].array, accepted.point, accepted.observed_us)
            self.horizon.remember(accepted)
            self.horizon.settle()

    def _grow(self, size: int) -> None:
        self.memory.grow(size)
        self.flaps.grow(size)

    def _refuse(self, readings: Readings) -> npt.NDArray[np.uint8]:
        """Return a code into `REASONS` for each reading, 0 where it may go on."""
        rules = self._points.rules
        rule = self._points.rule.array[readings.point]
        value, time_us = readings.value, readings.observed_us
        reason = np.zeros(len(readings), np.uint8)
        reason[readings.quality > ALL_BITS] = 5
        state = rules.state.array[rule]
        if state.any():
            reason[state & ((value != np.rint(value)) | (np.abs(value) > _EXACT_INTEGERS))] = 4
        reason[(value < rules.possible_min.array[rule]) | (value > rules.possible_max.array[rule])] = 3
        if readings.channel in _PLANS:
            reason[time_us > MAX_US] = 2
        else:
            reason[time_us > readings.received_us + rules.max_future_us.array[rule]] = 2
        reason[time_us < MIN_US] = 2
        reason[~np.isfinite(value)] = 1
        return reason

    def _beyond_limits(self, readings: Readings) -> BoolArray:
        rules = self._points.rules
        rule = self._points.rule.array[readings.point]
        beyond: BoolArray = readings.value < rules.limit_min.array[rule]
        beyond |= readings.value > rules.limit_max.array[rule]
        return beyond

    def _mark_change(self, ordered: Readings, runs: Runs, beyond: BoolArray) -> tuple[Readings, BoolArray]:
        """Mark readings that changed beyond their rate, and registers that fall."""
        rules = self._points.rules
        rule = self._points.rule.array[runs.point]
        rate, register = rules.max_rate_per_s.array[rule], rules.register.array[rule]
        rated = not np.isnan(rate).all()
        if not (rated or register.any()):
            return ordered, beyond
        change, elapsed_us = self._change(ordered, runs)
        newer = elapsed_us > 0
        if rated:
            with np.errstate(over="ignore"):
                too_fast = newer & (np.abs(change) * 1e6 > np.repeat(rate, runs.count) * elapsed_us)
            beyond = beyond | too_fast
            ordered = marked(ordered, too_fast, OUT_OF_RANGE)
        return marked(ordered, newer & (change < 0) & np.repeat(register, runs.count), INCONSISTENT), beyond

    def _change(self, ordered: Readings, runs: Runs) -> tuple[Float64Array, Int64Array]:
        """Return the change from the newest reading before each, in the batch or remembered, and the time since [µs].

        The time is 0 where there is none before.
        """
        previous = np.repeat(self.memory.seen_value.array[runs.point], runs.count)
        before_us = np.repeat(self.memory.seen_us.array[runs.point], runs.count)
        if len(ordered) > 1:
            # A late reading is no previous one of a reading that comes after the remembered one.
            follows = np.flatnonzero(ordered.point[1:] == ordered.point[:-1]) + 1
            follows = follows[ordered.observed_us[follows - 1] >= before_us[follows]]
            previous[follows] = ordered.value[follows - 1]
            before_us[follows] = ordered.observed_us[follows - 1]
        with np.errstate(over="ignore"):
            change = ordered.value - previous
        return change, np.where(np.isnan(previous), 0, ordered.observed_us - before_us)

    def _report(
        self, ordered: Readings, runs: Runs, beyond: BoolArray, flapped: list[Flapped]
    ) -> tuple[Readings, npt.NDArray[np.uint8]]:
        """Hold back flapping states, then report by exception; return the readings as marked, and their verdicts."""
        verdict = np.zeros(len(ordered), np.uint8)
        flapping = self.flaps.judge(self.memory, ordered, runs, beyond)
        if flapping is None:
            chosen = report_by_exception(self._points, self.memory, ordered, runs)
            verdict = verdict if chosen is None else chosen
        else:
            flapped += flapping.ended
            quality = ordered.quality.copy()
            quality[flapping.at] = flapping.quality
            ordered = with_quality(ordered, quality)
            verdict[flapping.at] = flapping.verdict
            others = np.ones(len(ordered), np.bool_)
            others[flapping.at] = False
            rest = ordered.take(others)
            chosen = report_by_exception(self._points, self.memory, rest, runs_of(rest.point))
            if chosen is not None:
                verdict[others] = chosen
        self.memory.remember_seen(ordered, runs)
        return ordered, verdict

    def _gather(
        self, readings: Readings, order: Int64Array, ordered: Readings, beyond: BoolArray,
        verdict: npt.NDArray[np.uint8], reason: npt.NDArray[np.uint8], flapped: Sequence[Flapped],
        undo: Sequence[Before],
    ) -> Screened:  # fmt: skip
        """Bring what was found back into the order in which the readings came."""
        quality, alarmed = readings.quality.copy(), np.zeros(len(readings), np.bool_)
        quality[order], alarmed[order] = ordered.quality, beyond
        whole = with_quality(readings, quality)
        accepted, held = verdict == ACCEPTED, whole.take(np.flatnonzero(verdict == HELD))
        until_us = self.memory.until_us.array[held.point]
        if not accepted.all():
            whole, alarmed = whole.take(accepted), alarmed[accepted]
        return Screened(verdict, reason, whole, held, until_us, alarmed, flapped, undo)

    def _repeated(self, ordered: Readings) -> BoolArray:
        """Return which readings (sorted by point, time) repeat one before them, here or within the horizon."""
        repeated = np.zeros(len(ordered), np.bool_)
        late = ordered.observed_us <= self.memory.newest[ordered.channel].array[ordered.point]
        if late.any():
            at = np.flatnonzero(late)
            repeated[at] = self.horizon.seen(keys_of(ordered).take(at))
        if len(ordered) > 1:
            same_place = ordered.point[1:] == ordered.point[:-1]
            same_place &= ordered.observed_us[1:] == ordered.observed_us[:-1]
            if same_place.any():
                _mark_alike(ordered, same_place, repeated)
        return repeated


def _sorted(readings: Readings, chosen: Int64Array) -> Int64Array:
    """Return ``chosen`` in the order of point, then time, then arrival."""
    point, time_us = readings.point[chosen], readings.observed_us[chosen]
    if (time_us[1:] < time_us[:-1]).any():
        return chosen[np.lexsort((time_us, point))]
    # Times in order already, as they mostly are: sort numbers that carry their own place.
    bits = len(chosen).bit_length()
    keys = (point.astype(np.int64) << bits) | np.arange(len(chosen))
    keys.sort()
    order: Int64Array = chosen[keys & ((1 << bits) - 1)]
    return order


def _mark_alike(ordered: Readings, same_place: BoolArray, repeated: BoolArray) -> None:
    """Mark, among readings of the same point and time, those that have the value and quality of one before them."""
    within = np.zeros(len(ordered), np.bool_)
    within[1:] = same_place
    within[:-1] |= same_place
    at = np.flatnonzero(within)
    run = np.cumsum(np.concatenate(([True], ~same_place)))[at]
    bits, quality = (ordered.value[at] + 0.0).view(np.uint64), ordered.quality[at]
    order = np.lexsort((quality, bits, run))  # stable: of those alike, the first to come stays first
    a, b = order[1:], order[:-1]
    alike = (run[a] == run[b]) & (bits[a] == bits[b]) & (quality[a] == quality[b])
    repeated[at[a[alike]]] = True
