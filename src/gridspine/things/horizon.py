"""The horizon of duplicates: the last readings taken in, exactly, to tell a repetition from a revision.

A reading newer than anything known of its point cannot be a repetition, so the hot path never looks here; only late
or re-sent readings do. Batches are kept as they came, and are sorted only when first searched.

::

    remember ─► pending ─ settle ─► fresh ─ first search ─► runs, sorted, merged by size, oldest dropped
                   └─ forget_last
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gridspine.kernel.readings import BoolArray, Readings

DEFAULT_CAPACITY = 1_048_576
"""Readings, of all points together, within which a repetition is recognised for certain."""
UInt64Array = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """Readings as what identifies them: four columns of shape (n,), the value as its bits.

    ``mark`` is the quality, and above it the channel: what was planned never repeats what was reported.
    """

    point: npt.NDArray[np.int32]
    observed_us: npt.NDArray[np.int64]
    value_bits: UInt64Array
    mark: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.point)

    def take(self, index: npt.NDArray[np.intp]) -> "Keys":
        """Return the keys at ``index``."""
        return Keys(self.point[index], self.observed_us[index], self.value_bits[index], self.mark[index])

    def equal(self, other: "Keys") -> BoolArray:
        """Return which rows are alike in all four columns."""
        same: BoolArray = (self.point == other.point) & (self.observed_us == other.observed_us)
        same &= (self.value_bits == other.value_bits) & (self.mark == other.mark)
        return same

    def hashes(self) -> UInt64Array:
        """Return a 64-bit hash of each row, only to search by: rows are compared whole afterwards."""
        mixed: UInt64Array = self.observed_us.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= self.point.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed ^= (mixed >> np.uint64(29)) ^ (self.value_bits * np.uint64(0x165667B19E3779F9))
        mixed ^= (mixed >> np.uint64(32)) ^ self.mark.astype(np.uint64)
        return mixed


def keys_of(readings: Readings) -> Keys:
    """Return the keys of a batch; -0.0 counts as 0.0."""
    value_bits = (readings.value + 0.0).view(np.uint64)
    mark = readings.quality | np.uint32(int(readings.channel) << 16)
    return Keys(readings.point, np.ascontiguousarray(readings.observed_us), value_bits, mark)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    hashes: UInt64Array
    keys: Keys

    @classmethod
    def of(cls, keys: Keys) -> "_Run":
        hashes = keys.hashes()
        order = np.argsort(hashes)
        return cls(hashes[order], keys.take(order))

    def seen(self, wanted: Keys, hashes: UInt64Array) -> BoolArray:
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        found: BoolArray = (self.hashes[at] == hashes) & self.keys.take(at).equal(wanted)
        return found


class Horizon:
    """Remembers the last ``capacity`` readings. Used by the writer's thread only."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._pending: list[tuple[Readings, _Run | None]] = []
        self._fresh: deque[Readings] = deque()
        self._runs: deque[_Run] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def remember(self, readings: Readings) -> None:
        """Add readings for now; `settle` or `forget_last` decides."""
        self._pending.append((readings, None))

    def settle(self) -> None:
        """Keep the oldest pending batch; beyond the capacity the oldest readings are forgotten."""
        readings, _ = self._pending.pop(0)
        if not len(readings):
            return
        self._fresh.append(readings)
        self._count += len(readings)
        while self._runs and self._count - len(self._runs[0].hashes) >= self._capacity:
            self._count -= len(self._runs.popleft().hashes)
        while not self._runs and self._count - len(self._fresh[0]) >= self._capacity:
            self._count -= len(self._fresh.popleft())

    def forget_last(self) -> None:
        """Take back the newest pending batch."""
        self._pending.pop()

    def seen(self, wanted: Keys) -> BoolArray:
        """Return which of ``wanted`` came before, alike in channel, point, time, value and quality; (n,) bool."""
        self._sort_fresh()
        hashes = wanted.hashes()
        found = np.zeros(len(wanted), np.bool_)
        for run in (*self._runs, *self._pending_runs()):
            found |= run.seen(wanted, hashes)
        return found

    def _pending_runs(self) -> Sequence[_Run]:
        runs = []
        for at, (readings, run) in enumerate(self._pending):
            if len(readings):
                run = run or _Run.of(keys_of(readings))
                self._pending[at] = (readings, run)
                runs.append(run)
        return runs

    def _sort_fresh(self) -> None:
        if not self._fresh:
            return
        self._runs.append(_Run.of(_joined([keys_of(readings) for readings in self._fresh])))
        self._fresh.clear()
        largest = max(self._capacity // 8, 1)
        while len(self._runs) > 1 and len(self._runs[-2].hashes) <= 2 * len(self._runs[-1].hashes) <= largest:
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(_Run.of(_joined([older.keys, newer.keys])))


def _joined(parts: Sequence[Keys]) -> Keys:
    return Keys(
        np.concatenate([part.point for part in parts]),
        np.concatenate([part.observed_us for part in parts]),
        np.concatenate([part.value_bits for part in parts]),
        np.concatenate([part.mark for part in parts]),
    )
