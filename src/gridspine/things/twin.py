"""The minimal twin: the last reported value of every point, a projection of the log.

Delete its snapshot and it comes back from the log; only when a point was last heard of without saying anything new,
and which points are silent, is then found out anew. Backfill and late readings never move it back in time; only the
channel *reported* moves it at all. What other channels say is kept beside it (`gridspine.things.channel`), in the same
snapshot.
"""

import os
import struct
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gridspine.infra.runtime.durable import sync_folder
from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.readings import BoolArray, Channel, Float64Array, Int32Array, Int64Array, Readings, UInt16Array
from gridspine.things.channel import Channels, snapshot_names
from gridspine.things.column import Column

NEVER_US = -(1 << 62)
"""The time of a point that has not been heard of."""
_FORMAT = 2
_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, TypeError, OverflowError, MemoryError, NotImplementedError, RuntimeError,
    SyntaxError, tokenize.TokenError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What numpy and zipfile raise for a damaged file."""
_ROWS = 65_536
"""Rows that are copied at once: the writer waits as long."""
_COLUMNS = ("value", "observed_us", "quality", "heard_us", "silent")
"""Those of a snapshot: since when a point was heard of all the while is found out anew after a start."""


class TwinValue(NamedTuple):
    """The last reported value of a point; ``observed_us`` is `NEVER_US` when there is none.

    ``quality`` is as reported, and questionable and old-data as well while the point is silent.
    """

    value: float
    observed_us: int
    quality: int
    heard_us: int


class TwinRows(NamedTuple):
    """The last reported values of many points, arrays (k,): quality as it was reported, and who is silent now."""

    value: Float64Array
    observed_us: Int64Array
    quality: UInt16Array
    silent: BoolArray


class TwinState:
    """Last value, time, quality and last-heard time of each point, as columns. Readers and the writer share a lock.

    ``quality`` is as it was reported; ``silent`` says that its point has been silent for too long since.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = Column(np.float64, np.nan)
        self.observed_us = Column(np.int64, NEVER_US)
        self.quality = Column(np.uint16)
        self.heard_us = Column(np.int64, NEVER_US)
        self.silent = Column(np.bool_)
        self.steady_us = Column(np.int64, NEVER_US)
        """Since when a point was heard of, never silent for too long; `NEVER_US`: not since the node started."""
        self.channels = Channels()

    def grow(self, size: int) -> None:
        """Make room for points up to ``size``."""
        with self._lock:
            for name in (*_COLUMNS, "steady_us"):
                getattr(self, name).grow(size)

    def apply(self, accepted: Readings) -> None:
        """Move the twins to readings that the log holds; ``accepted`` may be in any order."""
        if accepted.channel != Channel.REPORTED:
            self.channels.apply(accepted)
            return
        if accepted.backfill or not len(accepted):
            return
        self.grow(int(accepted.point.max()) + 1)
        with self._lock:
            self._move(accepted)

    def move(self, latest: Readings) -> None:
        """Move the twins to live reported readings that the log holds: one a point, in order of points."""
        if not len(latest):
            return
        self.grow(int(latest.point[-1]) + 1)
        with self._lock:
            newer = latest.observed_us >= self.observed_us.array[latest.point]
            if not newer.all():
                latest = latest.take(newer)
            self._hear(latest.point, latest.received_us)
            self.value.array[latest.point] = latest.value
            self.observed_us.array[latest.point] = latest.observed_us
            self.quality.array[latest.point] = latest.quality

    def heard(self, point: Int64Array, received_us: int) -> None:
        """Note that points were heard of, though nothing changed."""
        if len(point):
            self.grow(int(point.max()) + 1)
            with self._lock:
                self._hear(point, received_us)

    def steady(self, point: int) -> tuple[int, int]:
        """Return since when a point was heard of without too long a silence, and until when [µs since 1970]."""
        with self._lock:
            if point >= len(self.steady_us.array) or self.steady_us.array[point] == NEVER_US:
                return NEVER_US, NEVER_US
            return int(self.steady_us.array[point]), int(self.heard_us.array[point])

    def begin(self) -> None:
        """Take nothing as heard of all the while that was heard before now: the node starts."""
        with self._lock:
            self.steady_us.array[:] = NEVER_US

    def shift_heard(self, step_us: int, now_us: int, since_us: int) -> None:
        """Let what was heard stay as long ago as it was: the clock was set by ``step_us``, to ``now_us``.

        What was heard in ``[now_us - since_us, now_us]`` was so since the clock was set, by the new time.
        """
        with self._lock:
            for times_us in (self.heard_us.array, self.steady_us.array):
                fresh = (times_us >= now_us - since_us) & (times_us <= now_us)
                times_us[(times_us > NEVER_US) & ~fresh] += step_us

    def overdue(self, first: int, limit_us: Int64Array, now_us: int, since_us: int) -> tuple[Int64Array, int]:
        """Return the points not heard of for longer than their limit, and when the next one can be [µs since 1970].

        ``limit_us`` int64 (k,) [µs] of the k points from number ``first`` on, 0 for no limit. Silence counts from
        ``since_us`` at the earliest. Points never heard of, and those marked silent already, are not among them.
        """
        with self._lock:
            part = slice(first, min(first + len(limit_us), len(self.heard_us.array)))
            heard_us = self.heard_us.array[part]
            limit_us = limit_us[: len(heard_us)]
            watched = np.flatnonzero((heard_us > NEVER_US) & ~self.silent.array[part] & (limit_us > 0))
            due_us = np.maximum(heard_us[watched], since_us) + limit_us[watched]
        return watched[due_us < now_us] + first, int(due_us.min(initial=np.iinfo(np.int64).max))

    def age(self, point: Int64Array) -> None:
        """Mark the last values of points as old data: their maximum silence has passed."""
        self.grow(int(point.max(initial=-1)) + 1)
        with self._lock:
            self.silent.array[point] = True

    def get(self, point: int) -> TwinValue:
        """Return what is known of a point."""
        with self._lock:
            if point >= len(self.value.array):
                return TwinValue(float("nan"), NEVER_US, 0, NEVER_US)
            return TwinValue(
                float(self.value.array[point]),
                int(self.observed_us.array[point]),
                _aged(int(self.quality.array[point])) if self.silent.array[point] else int(self.quality.array[point]),
                int(self.heard_us.array[point]),
            )

    def take(self, point: Int64Array) -> "TwinRows":
        """Return what is known of many points (k,); what was never heard of has `NEVER_US` as its observed time."""
        size = len(point)
        found = TwinRows(np.empty(size), np.empty(size, np.int64), np.empty(size, np.uint16), np.empty(size, np.bool_))
        for start in range(0, size, _ROWS):
            part = slice(start, start + _ROWS)
            at = point[part]
            with self._lock:
                last = len(self.value.array) - 1
                if last < 0:
                    found.observed_us[part] = NEVER_US
                    continue
                near = np.minimum(at, last)
                found.value[part], found.observed_us[part] = self.value.array[near], self.observed_us.array[near]
                found.quality[part], found.silent[part] = self.quality.array[near], self.silent.array[near]
            found.observed_us[part][at > last] = NEVER_US
        return found

    def save(self, path: Path, offsets: dict[int, int]) -> None:
        """Write a snapshot with the log offsets (partition → next) it stands for, atomically.

        The writer goes on meanwhile: the offsets were taken before, and what it does from then on is replayed.
        """
        temporary = path.with_suffix(".tmp")
        head = {"format": np.array(_FORMAT), "offsets": np.array(sorted(offsets.items()), np.int64)}
        try:
            with temporary.open("wb") as file:
                self._write(file, head | self.channels.rows())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)  # half a snapshot only takes room on a full disk
            raise
        temporary.replace(path)
        sync_folder(path.parent)  # the log may be trimmed up to what this snapshot stands for

    def load(self, path: Path) -> dict[int, int]:
        """Read a snapshot and return the offsets to go on from; none, or a damaged one, gives no offsets."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                if int(stored["format"]) != _FORMAT:
                    return {}
                offsets = {int(partition): int(following) for partition, following in stored["offsets"].reshape(-1, 2)}
                columns = {name: stored[name] for name in _COLUMNS}
                others = {name: stored[name] for name in snapshot_names(stored.files)}
        except _UNREADABLE:
            return {}
        if any(
            columns[name].dtype != getattr(self, name).array.dtype or columns[name].shape != columns["value"].shape
            for name in _COLUMNS
        ) or not self.channels.load(others):
            return {}
        with self._lock:
            for name, array in columns.items():
                getattr(self, name).put(array)
            self.steady_us.grow(len(columns["value"]))
        return offsets

    def _write(self, file: IO[bytes], more: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write the columns and ``more`` as `numpy.savez` does, a part at a time: there is no second copy of all."""
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in more.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            size = len(self.value.array)
            for name in _COLUMNS:  # what was heard before what is silent: who is heard meanwhile is not silent
                column: Column = getattr(self, name)
                kind = {"descr": column.array.dtype.str, "fortran_order": False, "shape": (size,)}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, kind)
                    for start in range(0, size, _ROWS):
                        with self._lock:
                            part = column.array[start : min(start + _ROWS, size)].tobytes()
                        member.write(part)

    def _move(self, readings: Readings) -> None:
        newer = readings.observed_us >= self.observed_us.array[readings.point]
        if not newer.all():
            readings = readings.take(newer)
        self._hear(readings.point, readings.received_us)  # what is late says nothing of the point's state now
        # In order of time, then of arrival: numpy keeps the last of repeated points.
        order = np.argsort(readings.observed_us, kind="stable")
        point = readings.point[order]
        self.value.array[point] = readings.value[order]
        self.observed_us.array[point] = readings.observed_us[order]
        self.quality.array[point] = readings.quality[order]

    def _hear(self, point: Int32Array | Int64Array, received_us: int) -> None:
        begins = self.silent.array[point] | (self.steady_us.array[point] == NEVER_US)
        if begins.any():
            self.steady_us.array[point[begins]] = received_us
        self.heard_us.array[point] = np.maximum(self.heard_us.array[point], received_us)
        self.silent.array[point] = False


def _aged(quality: int) -> int:
    """What is invalid already stays invalid, not questionable."""
    invalid = quality & VALIDITY_MASK == Quality.INVALID
    return quality | int(Quality.OLD_DATA if invalid else Quality.QUESTIONABLE | Quality.OLD_DATA)
