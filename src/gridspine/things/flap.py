"""Flapping: a state that changes too often is reported as first, last and count, and marked oscillatory.

A point flaps when its value changes more than ``flap_changes`` times within ``flap_window_s`` of a change. The reading
that shows it is accepted; after that the latest is held, and released at most once a window. Alarms pass: a reading
beyond a limit, or of another quality, is never held. Flapping ends when a whole window brings no change.

::

    changes        ▏▏▏▏▏▏▏ ▏▏ ▏▏▏▏▏  ▏▏▏                      ▏
    accepted       ▏▏▏▏         ▏          ▏  (released)       ▏
                      first  ── at most one a window ──  last  │ window without a change: "point.flapping"
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from gridspine.infra.log.port import Position, Record
from gridspine.infra.log.topics import EVENTS
from gridspine.infra.log.writer import Priority
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.readings import BoolArray, Int32Array, Int64Array, Readings
from gridspine.things.memory import NEVER_US, Before, Memory, rows_of
from gridspine.things.point import Column, PointTable
from gridspine.things.runs import Runs

FLAPPING = "point.flapping"
_ACCEPTED, _HELD = 0, 4
_DETAIL = int(Quality.OSCILLATORY)


@dataclass(frozen=True, slots=True)
class Flapped:
    """A flapping that ended: its first and last change [µs since 1970], and how many there were."""

    point: int
    first_us: int
    last_us: int
    count: int


@dataclass(slots=True)
class Judged:
    """Readings that `Flaps` judged: their places in the batch, verdicts and qualities, and flappings they ended."""

    at: list[int] = field(default_factory=list)
    verdict: list[int] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    ended: list[Flapped] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    """One point while its readings are judged."""

    value: float
    since_us: int
    last_us: int
    count: int
    flapping: bool

    def end(self, window_us: int, time_us: int) -> bool:
        """Whether the flapping is over at ``time_us``; then it is forgotten."""
        if not self.flapping or time_us - self.last_us <= window_us:
            return False
        self.flapping, self.since_us, self.count = False, NEVER_US, 0
        return True

    def change(self, limit: int, window_us: int, time_us: int) -> None:
        """Count a change."""
        if not self.flapping and time_us - self.since_us > window_us:
            self.since_us, self.count = time_us, 0
        self.count += 1
        self.last_us = time_us
        self.flapping = self.flapping or self.count > limit


class Flaps:
    """Counts the changes of states, as columns. Used by the writer's thread only."""

    def __init__(self, points: PointTable) -> None:
        self._points = points
        # Filled with zero, which takes no memory: few points can flap. The time it stands for is long ago as well.
        self._since_us = Column(np.int64)
        self._last_us = Column(np.int64)
        self._count = Column(np.int32)
        self._flapping = Column(np.bool_)
        self._columns = (self._since_us, self._last_us, self._count, self._flapping)

    def grow(self, size: int) -> None:
        """Make room for points up to ``size``."""
        for column in self._columns:
            column.grow(size)

    def before(self, point: Int32Array) -> list[Before]:
        """Return what is known of distinct points that can flap, to put back when a commit fails."""
        able = self._able(point)
        return rows_of(self._columns, point[able]) if able.any() else []

    def judge(self, memory: Memory, ordered: Readings, runs: Runs, beyond: BoolArray) -> Judged | None:
        """Judge points that flap or change; the others are left to report by exception. None: there are none.

        Only states that change are looked at one by one.
        """
        able = self._able(runs.point)
        if not able.any():
            return None
        changes = ordered.value != np.repeat(memory.seen_value.array[runs.point], runs.count)
        stirred = np.logical_or.reduceat(changes, runs.first) | self._flapping.array[runs.point]
        chosen = np.flatnonzero(able & stirred)
        if not len(chosen):
            return None
        judged = Judged()
        for run in chosen.tolist():
            self._judge_point(memory, ordered, int(runs.first[run]), int(runs.count[run]), beyond, judged)
        return judged

    def over(self, now_us: int) -> list[Flapped]:
        """Return the flappings that are over at ``now_us``, and forget them."""
        point = np.flatnonzero(self._flapping.array)
        rule = self._points.rule.array[point]
        quiet_us = now_us - self._last_us.array[point]
        point = point[quiet_us > self._points.rules.flap_window_us.array[rule]]
        ended = [self._flapped(int(at)) for at in point]
        self._flapping.array[point] = False
        self._since_us.array[point] = NEVER_US
        self._count.array[point] = 0
        return ended

    def again(self, ended: Iterable[Flapped]) -> None:
        """Take `over` back: its events were not kept."""
        for flapped in ended:
            self._flapping.array[flapped.point] = True
            self._since_us.array[flapped.point] = flapped.first_us
            self._count.array[flapped.point] = flapped.count

    def _able(self, point: Int32Array | Int64Array) -> BoolArray:
        able: BoolArray = self._points.rules.flap_changes.array[self._points.rule.array[point]] > 0
        return able

    def _flapped(self, point: int) -> Flapped:
        since_us, last_us, count, _ = (int(column.array[point]) for column in self._columns)
        return Flapped(point, since_us, last_us, count)

    def _judge_point(
        self, memory: Memory, ordered: Readings, first: int, count: int, beyond: BoolArray, judged: Judged
    ) -> None:
        point = int(ordered.point[first])
        rule = int(self._points.rule.array[point])
        limit = int(self._points.rules.flap_changes.array[rule])
        window_us = int(self._points.rules.flap_window_us.array[rule])
        since_us, last_us, changes, flapping = (column.array[point].item() for column in self._columns)
        state = _State(float(memory.seen_value.array[point]), since_us, last_us, changes, flapping)
        seen_us, reported_us = int(memory.seen_us.array[point]), int(memory.observed_us.array[point])
        until_us, pending = int(memory.until_us.array[point]), bool(memory.pending.array[point])
        reported, number = int(memory.quality.array[point]), float(memory.value.array[point])
        for at in range(first, first + count):
            time_us, value, quality = int(ordered.observed_us[at]), float(ordered.value[at]), int(ordered.quality[at])
            verdict = _ACCEPTED
            if time_us >= seen_us:
                before = Flapped(point, state.since_us, state.last_us, state.count)
                if state.end(window_us, time_us):
                    judged.ended.append(before)
                if value != state.value and state.value == state.value:  # the first value ever is no change
                    state.change(limit, window_us, time_us)
                state.value, seen_us = value, time_us
                if state.flapping:
                    quality = _oscillatory(quality)
                    revision = time_us == reported_us and value != number
                    passes = quality != reported or beyond[at] or revision
                    verdict = _ACCEPTED if passes or time_us >= until_us else _HELD
                pending = verdict == _HELD
            if verdict == _ACCEPTED and time_us >= reported_us:
                number, reported_us, reported = value, time_us, quality
                if state.flapping:
                    until_us = time_us + window_us
            judged.at.append(at)
            judged.verdict.append(verdict)
            judged.quality.append(quality)
        for column, new in zip(
            self._columns, (state.since_us, state.last_us, state.count, state.flapping), strict=True
        ):
            column.array[point] = new
        memory.value.array[point], memory.observed_us.array[point] = number, reported_us
        memory.quality.array[point], memory.pending.array[point] = reported, pending
        memory.until_us.array[point] = until_us


def flap_records(points: PointTable, ended: Sequence[Flapped], clock: Clock, time_us: int) -> list[Record]:
    """Return an event of topic ``events`` for each flapping that ended."""
    records = []
    for flapped in ended:
        thing, model = points.place(flapped.point)
        event = Event(
            id=new_id(clock),
            type=FLAPPING,
            time_us=time_us,
            subject=thing,
            actor="node",
            data={
                "point": model.name,
                "firstUs": flapped.first_us,
                "lastUs": flapped.last_us,
                "count": flapped.count,
            },
        )
        organisation = points.organisation_of(thing) or ""
        records.append(Record(EVENTS, organisation.encode(), msgspec.json.encode(event), time_us))
    return records


class FlapJob:
    """Ends the flappings that are over; submit one now and then. What could not be kept is found again."""

    def __init__(self, flaps: Flaps, points: PointTable, clock: Clock) -> None:
        self.priority, self.weight, self.source = Priority.CONTROL, 1, "sweep"
        self._flaps, self._points, self._clock = flaps, points, clock
        self._ended: list[Flapped] = []

    def prepare(self) -> Sequence[Record]:
        """Find the flappings that are over; return their events."""
        now_us = self._clock.now_us()
        self._ended = self._flaps.over(now_us)
        return flap_records(self._points, self._ended, self._clock, now_us)

    def committed(self, positions: Sequence[Position]) -> None:
        """They were forgotten already."""

    def undone(self) -> None:
        """They flap still."""
        self._flaps.again(self._ended)

    def finished(self, error: BaseException | None) -> None:
        """Nobody waits."""


def _oscillatory(quality: int) -> int:
    """What is invalid already stays invalid, not questionable."""
    invalid = quality & VALIDITY_MASK == Quality.INVALID
    return quality | _DETAIL | (0 if invalid else int(Quality.QUESTIONABLE))
