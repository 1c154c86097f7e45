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
    the flappings that this batch ended. ``latest`` is each point's last accepted live reading, in order of points.
    """

    verdict: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    accepted: Readings
    held: Readings
    held_until_us: Int64Array
    beyond: BoolArray
    latest: Readings
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
        order = _sorted(readings)
        ordered = readings.take(order)
        runs = runs_of(ordered.point)
        verdict, reason = np.zeros(len(readings), np.uint8), np.zeros(len(readings), np.uint8)
        beyond = np.zeros(len(readings), np.bool_)
        if not self._plain(ordered, runs):
            reason = self._refuse(readings)
            verdict[reason > 0] = REFUSED
            order = order[reason[order] == 0]
            ordered = readings.take(order)
            beyond = self._beyond_limits(ordered)
            ordered = marked(ordered, beyond, OUT_OF_RANGE)
            runs = runs_of(ordered.point)
        repeated = self._repeated(ordered, runs)
        if repeated is not None:
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
        latest = _latest(ordered, runs, verdict[order] == ACCEPTED) if live else readings.take(slice(0, 0))
        accepted, held, until_us, beyond = self._gather(readings, order, ordered, beyond, verdict, sent)
        return Screened(verdict, reason, accepted, held, until_us, beyond, latest, flapped, undo)

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
        return Screened(codes, codes, held, none, none.observed_us, self._beyond_limits(held), held, (), undo)

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

    def _plain(self, ordered: Readings, runs: Runs) -> bool:
        """Whether nothing is refused and nothing is beyond a limit: told by the extremes of each point's readings."""
        if not len(ordered):
            return True
        rules, rule = self._points.rules, self._points.rule.array[runs.point]
        lowest = np.minimum.reduceat(ordered.value, runs.first)
        highest = np.maximum.reduceat(ordered.value, runs.first)
        latest_us = MAX_US if ordered.channel in _PLANS else ordered.received_us + rules.max_future_us.array[rule]
        strange: BoolArray = ~(np.isfinite(lowest) & np.isfinite(highest))  # NaN is the extreme of any that has it
        strange |= (lowest < rules.possible_min.array[rule]) | (highest > rules.possible_max.array[rule])
        strange |= (lowest < rules.limit_min.array[rule]) | (highest > rules.limit_max.array[rule])
        strange |= (ordered.observed_us[runs.first] < MIN_US) | (ordered.observed_us[runs.last] > latest_us)
        if strange.any() or ordered.quality.max() > ALL_BITS:
            return False
        state = rules.state.array[rule]
        return not (state.any() and _no_codes(ordered.value[np.repeat(state, runs.count)]).any())

    def _refuse(self, readings: Readings) -> npt.NDArray[np.uint8]:
        """Return a code into `REASONS` for each reading, 0 where it may go on."""
        rules = self._points.rules
        rule = self._points.rule.array[readings.point]
        value, time_us = readings.value, readings.observed_us
        reason = np.zeros(len(readings), np.uint8)
        reason[readings.quality > ALL_BITS] = 5
        state = rules.state.array[rule]
        if state.any():
            reason[state & _no_codes(value)] = 4
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
        seen_value, seen_us = self.memory.seen_value.array[runs.point], self.memory.seen_us.array[runs.point]
        if (ordered.observed_us[runs.first] >= seen_us).all():
            previous, before_us = np.empty_like(ordered.value), np.empty_like(ordered.observed_us)
            previous[1:], before_us[1:] = ordered.value[:-1], ordered.observed_us[:-1]
            previous[runs.first], before_us[runs.first] = seen_value, seen_us
        else:
            # A late reading is no previous one of a reading that comes after the remembered one.
            previous, before_us = np.repeat(seen_value, runs.count), np.repeat(seen_us, runs.count)
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
        verdict: npt.NDArray[np.uint8], sent: Readings,
    ) -> tuple[Readings, Readings, Int64Array, BoolArray]:  # fmt: skip
        """Bring what was found back into the order in which the readings came.

        Returns those accepted, those held and until when, and which of the accepted are beyond a limit or rate.
        """
        whole, alarmed = readings, np.zeros(len(readings), np.bool_)
        if ordered.quality is not sent.quality or beyond.any():
            quality = readings.quality.copy()
            quality[order], alarmed[order] = ordered.quality, beyond
            whole = with_quality(readings, quality)
        held = whole.take(np.flatnonzero(verdict == HELD))
        until_us = self.memory.until_us.array[held.point]
        if verdict.any():
            accepted = verdict == ACCEPTED
            whole, alarmed = whole.take(accepted), alarmed[accepted]
        return whole, held, until_us, alarmed

    def _repeated(self, ordered: Readings, runs: Runs) -> BoolArray | None:
        """Return which readings (sorted by point, time) repeat one before them, here or within the horizon.

        None: none does.
        """
        newest_us = self.memory.newest[ordered.channel].array[runs.point]
        same_place = ordered.observed_us[1:] == ordered.observed_us[:-1]
        same_place &= ordered.point[1:] == ordered.point[:-1]
        anew = not (ordered.observed_us[runs.first] <= newest_us).any()
        if anew and not same_place.any():
            return None
        repeated = np.zeros(len(ordered), np.bool_)
        if not anew:
            at = np.flatnonzero(ordered.observed_us <= np.repeat(newest_us, runs.count))
            repeated[at] = self.horizon.seen(keys_of(ordered).take(at))
        if same_place.any():
            _mark_alike(ordered, same_place, repeated)
        return repeated if repeated.any() else None


def _no_codes(value: Float64Array) -> BoolArray:
    """Return which values are no codes of a state: whole numbers that a float64 holds exactly."""
    wrong: BoolArray = (value != np.rint(value)) | (np.abs(value) > _EXACT_INTEGERS)
    return wrong


def _latest(ordered: Readings, runs: Runs, accepted: BoolArray) -> Readings:
    """Return the last accepted reading of each point."""
    if accepted.all():
        return ordered.take(runs.last)
    at = np.flatnonzero(accepted)
    return ordered.take(at[runs_of(ordered.point[at]).last])


def _sorted(readings: Readings) -> Int64Array:
    """Return the order of point, then time, then arrival."""
    point, time_us = readings.point, readings.observed_us
    if (time_us[1:] < time_us[:-1]).any():
        return np.lexsort((time_us, point))
    # Times in order already, as they mostly are: sort numbers that carry their own place.
    bits = len(point).bit_length()
    keys = (point.astype(np.int64) << bits) | np.arange(len(point))
    keys.sort()
    order: Int64Array = keys & ((1 << bits) - 1)
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
