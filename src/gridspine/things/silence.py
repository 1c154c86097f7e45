"""Maximum silence: a point not heard of for too long has old data, once, and there is an event.

The last value stays, with its age. Points never heard of are not silent. Being heard again clears it, whatever became
of the reading. After a start, silence counts from then: what was heard but suppressed before is not in the log.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from gridspine.infra.log.port import Position, Record
from gridspine.infra.log.topics import EVENTS
from gridspine.infra.log.writer import Priority
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import Clock, Steps, new_id
from gridspine.kernel.readings import Int64Array
from gridspine.things.point import PointTable
from gridspine.things.twin import TwinState

SILENT = "point.silent"
MAX_THINGS = 5_000
"""Things that one sweep finds silent at most; the others wait for the next, so that an outage is no flood."""
_AT_ONCE = 1 << 18
_NOBODY: Int64Array = np.zeros(0, np.int64)


class Silence:
    """Finds points that have fallen silent. Used by the writer's thread only."""

    def __init__(self, points: PointTable, twins: TwinState, since_us: int) -> None:
        self._points = points
        self._twins = twins
        self._since_us = since_us
        twins.begin()
        self._next_us = since_us
        self._rules = 0

    def sweep(self, now_us: int) -> Int64Array:
        """Return the points newly silent, int64 (k,), of `MAX_THINGS` Things at most.

        They are found again until `mark` is told. Cheap until one can be due.
        """
        rules = self._points.rules
        if now_us <= self._next_us and len(rules.points) == self._rules:
            return _NOBODY
        self._rules = len(rules.points)
        limit_us = rules.max_silence_us.array[: self._rules]
        silent, next_us = self._overdue(limit_us, now_us)
        # A point first heard of from now on has at least the shortest silence before it.
        shortest_us = int(limit_us.min(where=limit_us > 0, initial=np.iinfo(np.int64).max - now_us))
        self._next_us = min(next_us, now_us + shortest_us)
        things = self._points.things_of(silent)
        distinct = np.unique(things)
        return silent if len(distinct) <= MAX_THINGS else silent[things < distinct[MAX_THINGS]]

    def _overdue(self, limit_us: Int64Array, now_us: int) -> tuple[Int64Array, int]:
        """Look at all points, some at a time: what millions would need at once is not held."""
        found, next_us = [_NOBODY], int(np.iinfo(np.int64).max)
        for first in range(0, self._points.count, _AT_ONCE):
            rule = self._points.rule.array[first : min(first + _AT_ONCE, self._points.count)]
            silent, due_us = self._twins.overdue(first, np.where(rule >= 0, limit_us[rule], 0), now_us, self._since_us)
            found.append(silent)
            next_us = min(next_us, due_us)
        return np.concatenate(found), next_us

    def step(self, step_us: int, now_us: int, looked_us: int) -> None:
        """Let silence last as long as it did: the clock was set by ``step_us``, ``looked_us`` ago at most."""
        self._twins.shift_heard(step_us, now_us, looked_us)
        self._since_us += step_us
        self._next_us = min(self._since_us, now_us)

    def mark(self, silent: Int64Array) -> None:
        """Mark points as silent: their event is durable."""
        self._twins.age(silent)


def silence_records(
    points: PointTable, twins: TwinState, silent: Int64Array, clock: Clock, time_us: int
) -> list[Record]:
    """Return one event of topic ``events`` for each Thing with newly silent points."""
    things = points.things_of(silent)
    records = []
    for part in np.split(silent, np.flatnonzero(np.diff(things)) + 1) if len(silent) else []:
        thing, _ = points.place(int(part[0]))
        event = Event(
            id=new_id(clock),
            type=SILENT,
            time_us=time_us,
            subject=thing,
            actor="node",
            data={
                "points": [points.place(int(point))[1].name for point in part],
                "heardUs": max(twins.get(int(point)).heard_us for point in part),
            },
        )
        organisation = points.organisation_of(thing) or ""
        records.append(Record(EVENTS, organisation.encode(), msgspec.json.encode(event), time_us))
    return records


class SilenceJob:
    """One sweep on its way through the writer: the events are durable before the twins are marked.

    ``tell`` is called on the event loop with the points found, when there are any; ``on_step`` here, with the step
    [µs], when ``steps`` finds that the wall clock was set.
    """

    def __init__(
        self,
        silence: Silence,
        points: PointTable,
        twins: TwinState,
        clock: Clock,
        tell: Callable[[Int64Array], None] | None = None,
        steps: Steps | None = None,
        on_step: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.priority, self.weight, self.source = Priority.CONTROL, 1, "sweep"
        self._silence, self._points, self._twins, self._clock = silence, points, twins, clock
        self._tell, self._steps, self._on_step = tell, steps, on_step
        self._found = _NOBODY

    def prepare(self) -> Sequence[Record]:
        """Find the newly silent points; return their events."""
        now_us = self._clock.now_us()
        step_us, looked_us = self._steps.take() if self._steps is not None else (0, 0)
        if step_us:
            self._silence.step(step_us, now_us, looked_us)
            self._on_step(step_us)
        self._found = self._silence.sweep(now_us)
        return silence_records(self._points, self._twins, self._found, self._clock, now_us)

    def committed(self, positions: Sequence[Position]) -> None:
        """Mark the twins."""
        self._silence.mark(self._found)

    def undone(self) -> None:
        """Nothing to forget: the next sweep finds them again."""

    def finished(self, error: BaseException | None) -> None:
        """Tell who listens; the writer has said what went wrong, and the next sweep tries again."""
        if error is None and self._tell is not None and len(self._found):
            self._tell(self._found)
