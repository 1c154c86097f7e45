"""The minimal twin: the last reported value of every point, a projection of the log.

Delete its snapshot and it comes back from the log. Backfill and late readings never move it back in time; only the
channel *reported* moves it at all.
"""

import os
import threading
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import Channel, Int64Array, Readings
from gridspine.things.point import Column

NEVER_US = -(1 << 62)
"""The time of a point that has not been heard of."""
_FORMAT = 1


class TwinValue(NamedTuple):
    """The last reported value of a point; ``observed_us`` is `NEVER_US` when there is none."""

    value: float
    observed_us: int
    quality: int
    heard_us: int


class TwinState:
    """Last value, time, quality and last-heard time of each point, as columns. Readers and the writer share a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = Column(np.float64, np.nan)
        self.observed_us = Column(np.int64, NEVER_US)
        self.quality = Column(np.uint16)
        self.heard_us = Column(np.int64, NEVER_US)

    def grow(self, size: int) -> None:
        """Make room for points up to ``size``."""
        with self._lock:
            for column in (self.value, self.observed_us, self.quality, self.heard_us):
                column.grow(size)

    def apply(self, accepted: Readings) -> None:
        """Move the twins to readings that the log holds; ``accepted`` may be in any order."""
        if accepted.channel != Channel.REPORTED or not len(accepted):
            return
        self.grow(int(accepted.point.max()) + 1)
        with self._lock:
            if not accepted.backfill:
                np.maximum.at(self.heard_us.array, accepted.point, accepted.received_us)
                self._move(accepted)

    def heard(self, point: Int64Array, received_us: int) -> None:
        """Note that points were heard of, though nothing changed."""
        with self._lock:
            self.heard_us.array[point] = np.maximum(self.heard_us.array[point], received_us)
            self.quality.array[point] &= ~np.uint16(Quality.OLD_DATA)

    def age(self, point: Int64Array) -> None:
        """Mark the last values of points as old data: their maximum silence has passed."""
        with self._lock:
            self.quality.array[point] |= np.uint16(Quality.OLD_DATA)

    def get(self, point: int) -> TwinValue:
        """Return what is known of a point."""
        with self._lock:
            if point >= len(self.value.array):
                return TwinValue(float("nan"), NEVER_US, 0, NEVER_US)
            return TwinValue(
                float(self.value.array[point]),
                int(self.observed_us.array[point]),
                int(self.quality.array[point]),
                int(self.heard_us.array[point]),
            )

    def save(self, path: Path, offsets: dict[int, int]) -> None:
        """Write a snapshot with the log offsets (partition → next) it stands for, atomically."""
        with self._lock:
            columns: dict[str, Any] = {
                "value": self.value.array.copy(),
                "observed_us": self.observed_us.array.copy(),
                "quality": self.quality.array.copy(),
                "heard_us": self.heard_us.array.copy(),
            }
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, format=_FORMAT, offsets=np.array(sorted(offsets.items()), np.int64), **columns)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def load(self, path: Path) -> dict[int, int]:
        """Read a snapshot and return the offsets to go on from; none, or a damaged one, gives no offsets."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                if int(stored["format"]) != _FORMAT:
                    return {}
                offsets = {int(partition): int(following) for partition, following in stored["offsets"].reshape(-1, 2)}
                columns = {name: stored[name] for name in ("value", "observed_us", "quality", "heard_us")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}
        with self._lock:
            for name, array in columns.items():
                getattr(self, name).array = array
        return offsets

    def _move(self, readings: Readings) -> None:
        newer = readings.observed_us >= self.observed_us.array[readings.point]
        if not newer.all():
            readings = readings.take(newer)
        # In order of time, then of arrival: numpy keeps the last of repeated points.
        order = np.argsort(readings.observed_us, kind="stable")
        point = readings.point[order]
        self.value.array[point] = readings.value[order]
        self.observed_us.array[point] = readings.observed_us[order]
        self.quality.array[point] = readings.quality[order]
