"""Agents: what of a twin acts by itself. Asleep it is a few numbers in columns, and its state as a few bytes.

::

    readings ─┐ of points of interest                  take(now)
    order ────┼──► due [µs], why ──► ready ──────────────────► run ──► state, next time ──► asleep
    time ─────┘    not sooner than the least interval

No Python object stands for an agent that sleeps, and none for one without a state. What is of interest is known by
model and point, not by Thing: a million Things more take nothing but their numbers in the columns, and those only when
one near them was ever woken.
"""

from collections import deque
from typing import Any

import msgspec
import numpy as np

from gridspine.kernel.readings import BoolArray, Int64Array
from gridspine.things.column import Column

READING, COMMAND, TIMER = 1, 2, 4
"""Why an agent wakes; bits."""
NEVER_US = 1 << 62
_MAX_READY = 200_000


class Wakes:
    """Which Things are to be woken, when and why; by their numbers. Used on one thread."""

    def __init__(self) -> None:
        self._due_us = Column(np.int64)
        """When a Thing is to be woken [µs since 1970], 0 never."""
        self._again_us = Column(np.int64)
        """Before this it is not woken again."""
        self._why = Column(np.uint8)
        self._queued = Column(np.bool_)
        self._columns = (self._due_us, self._again_us, self._why, self._queued)
        self._ready: deque[Int64Array] = deque()
        self._count = 0
        self.next_us = NEVER_US
        """No Thing but those ready is due before [µs since 1970]."""
        self.deferred = 0
        """How often a wake had to wait because too many were ready already."""

    def __len__(self) -> int:
        return self._count

    def hear(self, thing: Int64Array, why: int, now_us: int, at_us: int | Int64Array = 0) -> bool:
        """Wake Things (distinct numbers, int64 (k,)) as soon as may be, but not before ``at_us`` [µs since 1970].

        Returns whether any is ready now.
        """
        if not len(thing):
            return self._count > 0
        for column in self._columns:
            column.grow(int(thing.max()) + 1)
        due_us = np.maximum(self._again_us.array[thing], np.maximum(now_us, at_us))
        known_us = self._due_us.array[thing]
        sooner: BoolArray = (known_us == 0) | (due_us < known_us)
        self._due_us.array[thing[sooner]] = due_us[sooner]
        self._why.array[thing] |= np.uint8(why)
        self._queue(thing[(due_us <= now_us) & ~self._queued.array[thing]])
        later = due_us[due_us > now_us]
        if len(later):
            self.next_us = min(self.next_us, int(later.min()))
        return self._count > 0

    def take(self, now_us: int, limit: int) -> list[tuple[int, int]]:
        """Return up to ``limit`` Things that are due, each with why; they count as woken."""
        if now_us >= self.next_us and self._count < limit:
            self._sweep(now_us)
        taken: list[tuple[int, int]] = []
        while self._ready and len(taken) < limit:
            things = self._ready.popleft()
            if len(things) > limit - len(taken):
                self._ready.appendleft(things[limit - len(taken) :])
                things = things[: limit - len(taken)]
            taken += zip(things.tolist(), self._why.array[things].tolist(), strict=True)
            self._due_us.array[things] = 0
            self._why.array[things] = 0
            self._queued.array[things] = False
        self._count -= len(taken)
        return taken

    def rest(self, thing: int, again_us: int) -> None:
        """Let a Thing rest until ``again_us`` [µs since 1970], whatever happens."""
        self._again_us.array[thing] = max(again_us, int(self._again_us.array[thing]))

    def _sweep(self, now_us: int) -> None:
        due_us = self._due_us.array
        waiting = np.flatnonzero((due_us > 0) & ~self._queued.array)
        due = due_us[waiting]
        self.next_us = int(due[due > now_us].min(initial=NEVER_US))
        self._queue(waiting[due <= now_us])

    def _queue(self, thing: Int64Array) -> None:
        room = max(0, _MAX_READY - self._count)
        if len(thing) > room:  # they stay due: the next sweep finds them
            self.deferred += len(thing) - room
            thing = thing[:room]
            self.next_us = 0
        if len(thing):
            self._queued.array[thing] = True
            self._ready.append(thing)
            self._count += len(thing)


class States:
    """The states of the agents of one behaviour: bytes for those that have one, nothing for the others.

    Those of ``resident`` agents are kept as they are.
    """

    def __init__(self, *, resident: bool = False) -> None:
        self.resident = resident
        self._packed: dict[int, bytes] = {}
        self._open: dict[int, dict[str, Any]] | None = {} if resident else None

    def __len__(self) -> int:
        return len(self._packed) if self._open is None else len(self._open)

    def get(self, thing: int) -> dict[str, Any]:
        """Return an agent's state, empty when it has none."""
        if self._open is not None:
            return self._open.get(thing, {})
        packed = self._packed.get(thing)
        return {} if packed is None else _unpacked(packed)

    def put(self, thing: int, state: dict[str, Any]) -> None:
        """Keep an agent's state; an empty one takes no room."""
        held: dict[int, Any] = self._packed if self._open is None else self._open
        if state:
            held[thing] = state if self._open is not None else msgspec.msgpack.encode(state)
        else:
            held.pop(thing, None)

    def items(self) -> list[tuple[int, bytes]]:
        """Return all states, packed."""
        if self._open is None:
            return list(self._packed.items())
        return [(thing, msgspec.msgpack.encode(state)) for thing, state in self._open.items()]

    def load(self, thing: int, packed: bytes) -> None:
        """Keep a state as `items` gave it."""
        self.put(thing, _unpacked(packed))


def _unpacked(packed: bytes) -> dict[str, Any]:
    return msgspec.msgpack.decode(packed, type=dict[str, Any])
