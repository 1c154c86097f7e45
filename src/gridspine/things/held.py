"""Readings held back: the latest of each point waits until its minimum interval, or flapping window, has passed.

::

    screened ──► held ──► topic "held" (durable before the answer) ──► due ──► topic "readings", twin, listeners
                  ▲ replaced by the next held one, dropped by a later accepted one

A release moves a reading from suppressed to accepted. It is received when it is released: only then is it known to
those who read the log; its observed time stays.
"""

from collections.abc import Sequence

import numpy as np

from gridspine.infra.log.port import EventLog, Stored
from gridspine.infra.log.scan import scan
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.readings import MAX_BATCH, Channel, Int32Array, Int64Array, Readings
from gridspine.things.memory import NEVER_US, Memory
from gridspine.things.point import Column, PointTable
from gridspine.things.runs import runs_of
from gridspine.things.screen import Screened
from gridspine.things.twin import TwinState

HELD_TOPIC = "held"
_FOREVER_US = 1 << 62
_SLACK_US = 60_000_000
Due = tuple[str, Readings]
"""An organisation, and readings of one of its sources."""


class Held:
    """The latest held reading of each point, as columns. Used by the writer's thread only."""

    def __init__(self, points: PointTable) -> None:
        self._points = points
        self._present = Column(np.bool_)
        self._value = Column(np.float64)
        self._observed_us = Column(np.int64)
        self._quality = Column(np.uint16)
        self._until_us = Column(np.int64)
        self._source = Column(np.int32)
        self._carried = Column(np.bool_)
        self._columns = (
            self._present, self._value, self._observed_us, self._quality, self._until_us, self._source,
            self._carried,
        )  # fmt: skip
        self._sources: list[tuple[str, str]] = []
        self._number: dict[tuple[str, str], int] = {}
        self._count = 0
        self.next_due_us = _FOREVER_US
        """No held reading is due before [µs since 1970]; any thread may look."""

    def __len__(self) -> int:
        return self._count

    def keep(self, organisation: str, screened: Screened) -> None:
        """Take up a committed batch: what it held, and what its accepted readings supersede."""
        if len(screened.held):
            self.put(organisation, screened.held, screened.held_until_us)
        accepted = screened.accepted
        if self._count and accepted.channel == Channel.REPORTED and not accepted.backfill:
            self.drop(accepted)

    def put(self, organisation: str, held: Readings, until_us: Int64Array) -> None:
        """Keep the newest of ``held`` for each point, unless a newer one is kept; ``until_us`` int64 (n,)."""
        for column in self._columns:
            column.grow(int(held.point.max()) + 1)
        last = np.lexsort((held.observed_us, held.point))
        last = last[runs_of(held.point[last]).last]
        at = held.point[last]
        newer = ~self._present.array[at] | (held.observed_us[last] >= self._observed_us.array[at])
        last, at = last[newer], at[newer]
        self._count += int(np.count_nonzero(~self._present.array[at]))
        self._present.array[at] = True
        self._value.array[at] = held.value[last]
        self._observed_us.array[at] = held.observed_us[last]
        self._quality.array[at] = held.quality[last]
        self._until_us.array[at] = until_us[last]
        numbers = np.array([self._source_number(organisation, source) for source in held.sources], np.int32)
        self._source.array[at] = numbers[0] if held.origin is None else numbers[held.origin[last]]
        self._carried.array[at] = False
        if len(at):
            self.next_due_us = min(self.next_due_us, int(until_us[last].min()))

    def drop(self, accepted: Readings) -> None:
        """Forget what is not newer than accepted readings."""
        known = accepted.point < len(self._present.array)
        point, time_us = accepted.point[known], accepted.observed_us[known]
        old = point[self._present.array[point] & (self._observed_us.array[point] <= time_us)]
        self._count -= len(np.unique(old))
        self._present.array[old] = False

    def shift(self, step_us: int) -> None:
        """Let what is held wait as long as it would have: the clock was set by ``step_us``."""
        waiting = self._present.array & (self._until_us.array > NEVER_US)
        self._until_us.array[waiting] += step_us
        if NEVER_US < self.next_due_us < _FOREVER_US:
            self.next_due_us += step_us

    def carried(self, released: Readings) -> int:
        """Return how many of the readings were held before the node last started, and counted then."""
        return int(np.count_nonzero(self._carried.array[released.point]))

    def due(self, now_us: int, memory: Memory) -> list[Due]:
        """Return the held readings that are due, in batches of one source each.

        Points that brought something newer meanwhile, in a batch not yet committed, wait for the next time.
        """
        if now_us < self.next_due_us:
            return []
        present = np.flatnonzero(self._present.array)
        until_us = self._until_us.array[present]
        at = present[until_us <= now_us]
        current = memory.pending.array[at] & (memory.seen_us.array[at] == self._observed_us.array[at])
        due: list[Due] = []
        for number in np.unique(self._source.array[at]):
            chosen = at[current & (self._source.array[at] == number)].astype(np.int32)
            for start in range(0, len(chosen), MAX_BATCH):
                due.append(self._batch(int(number), chosen[start : start + MAX_BATCH], now_us))
        self.next_due_us = int(until_us.min(initial=_FOREVER_US))
        return due

    def replay(self, stored: Sequence[Stored], memory: Memory, twins: TwinState) -> None:
        """Take up records of topic ``held`` after a start; what the twins have, or have passed, is dropped."""
        for record in stored:
            held = decode_batch(record.body)
            twins.grow(int(held.point.max(initial=-1)) + 1)
            held = held.take(held.observed_us > twins.observed_us.array[held.point])
            if len(held):
                self.put(record.key.decode(), held, np.full(len(held), NEVER_US))
        at = np.flatnonzero(self._present.array)
        self._carried.array[at] = True
        memory.grow(len(self._present.array))
        memory.pending.array[at] = True
        memory.seen_value.array[at] = self._value.array[at]
        memory.seen_us.array[at] = self._observed_us.array[at]

    def _batch(self, source: int, point: Int32Array, now_us: int) -> Due:
        organisation, principal = self._sources[source]
        return organisation, Readings(
            point,
            self._observed_us.array[point],
            self._value.array[point],
            self._quality.array[point],
            (principal,),
            Channel.REPORTED,
            now_us,
        )

    def _source_number(self, organisation: str, principal: str) -> int:
        key = (organisation, principal)
        if key not in self._number:
            self._number[key] = len(self._sources)
            self._sources.append(key)
        return self._number[key]


def restore_held(log: EventLog, held: Held, memory: Memory, twins: TwinState, points: PointTable) -> None:
    """Rebuild ``held`` from the tail of its topic, after the twins and the screen are restored. Blocks.

    The tail goes back from the newest record twice as long as the longest wait: what came before was released.
    """
    rules = points.rules
    longest_us = int(max(rules.min_interval_us.array.max(initial=0), rules.flap_window_us.array.max(initial=0)))
    for partition, (first, following) in enumerate(log.bounds(HELD_TOPIC)):
        tail: list[Stored] = []
        at = following
        while at > first and (not tail or tail[0].time_us >= tail[-1].time_us - 2 * longest_us - _SLACK_US):
            start = max(first, at - 256)
            tail = [*scan(log, HELD_TOPIC, partition, start, at), *tail]
            at = start
        held.replay(tail, memory, twins)
