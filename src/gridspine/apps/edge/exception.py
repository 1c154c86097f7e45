"""Report by exception, where the readings are made: the node need not be told what it knows.

The rule is the node's (`gridspine.things.exception`), for one reading at a time: compared with the last *reported* one;
changes of quality always pass; what may not be thinned out has no deadband; a minimum interval *holds the latest*.
What is suppressed still says that the device is heard: one reading passes in half of the point's maximum silence.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gridspine.apps.edge.buffer import Record
from gridspine.apps.edge.wire import ServedPoint, ServedThing
from gridspine.kernel.time import US


@dataclass(slots=True)
class _Last:
    """What was reported last of a point, and what is held back since."""

    reported: Record
    held: Record | None = None


class Exceptions:
    """What was last reported, by point."""

    def __init__(self) -> None:
        self._points: dict[str, ServedPoint] = {}
        self._last: dict[str, _Last] = {}
        self.suppressed = 0

    def serve(self, things: Iterable[ServedThing]) -> None:
        """Go by the rules of these Things from now on."""
        self._points = {f"{thing.id}/{point.name}": point for thing in things for point in thing.points}
        self._last = {name: last for name, last in self._last.items() if name in self._points}

    def passed(self, records: Iterable[Record]) -> list[Record]:
        """Return the readings to report now, in their order; call `forget` when they could not be kept."""
        chosen: list[Record] = []
        for record in records:
            chosen += self._judge(record)
        return chosen

    def due(self, now_us: int) -> list[Record]:
        """Return what was held back long enough."""
        chosen = []
        for name, last in self._last.items():
            rule = self._points[name]
            if last.held is not None and now_us >= last.reported.observed_us + round(rule.min_interval_s * US):
                chosen.append(last.held)
                last.reported, last.held = last.held, None
        return chosen

    def forget(self, records: Iterable[Record]) -> None:
        """Take back that these were reported: the next reading of their points passes."""
        for record in records:
            self._last.pop(record.point, None)

    def _judge(self, record: Record) -> list[Record]:
        rule, last = self._points.get(record.point), self._last.get(record.point)
        if rule is None or not (rule.deadband or rule.min_interval_s):
            return [record]
        if last is None:
            self._last[record.point] = _Last(record)
            return [record]
        reported = last.reported
        if record.observed_us < reported.observed_us:
            return [record]  # late: history, and no reference
        must = record.quality != reported.quality or record.observed_us == reported.observed_us
        waited_us = record.observed_us - reported.observed_us
        heard = waited_us >= rule.max_silence_s * US / 2 > 0
        differs = abs(record.value - reported.value) > (rule.deadband or -1.0)
        if not (must or heard or differs or last.held):
            self.suppressed += 1
            return []
        if waited_us < rule.min_interval_s * US and not must:
            self.suppressed += last.held is not None
            last.held = record
            return []
        self.suppressed += last.held is not None
        last.reported, last.held = record, None
        return [record]
