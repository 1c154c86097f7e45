"""What a twin holds on the channels beside *reported*: the last emulated value of a point, and its plan.

::

    reported    `gridspine.things.twin.TwinState`: what devices said
    emulated    `Emulated`: what a model of the device said last
    planned     `gridspine.things.planned.Plans`: what is to be, step by step, as far as it is known
    commanded   the commander's: a command is an order and never a reading

Nothing here is ever read where *reported* is meant: alarms, silence, confirmation, report by exception and delivery do
not know this file. Memory is taken for points that were ever emulated or planned, page by page, and for no other.
"""

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gridspine.kernel.readings import Channel, Readings
from gridspine.things.column import Column
from gridspine.things.planned import Plans

_PREFIX = "channel."
_KINDS = {"point": "i4", "value": "f8", "observed_us": "i8", "quality": "u2", "received_us": "i8"}
Columns = Mapping[str, npt.NDArray[Any]]


class ChannelValue(NamedTuple):
    """A value on a channel: in the point's unit; times [µs since 1970]; ``quality`` as it was sent and marked."""

    value: float
    observed_us: int
    quality: int
    received_us: int


class Emulated:
    """The newest emulated value of each point, as columns whose empty value is 0: pages never written take no memory.

    Like a twin's reported state it never moves back in time, and declared history does not move it.
    """

    def __init__(self) -> None:
        self._value = Column(np.float64)
        self._observed_us = Column(np.int64)
        self._quality = Column(np.uint16)
        self._received_us = Column(np.int64)
        """0 where a point was never emulated."""
        self._columns = (self._value, self._observed_us, self._quality, self._received_us)

    def move(self, readings: Readings) -> None:
        """Take up readings that the log holds, in any order."""
        for column in self._columns:
            column.grow(int(readings.point.max()) + 1)
        at = readings.point
        keep = (readings.observed_us >= self._observed_us.array[at]) | (self._received_us.array[at] == 0)
        if not keep.all():
            readings = readings.take(keep)
        if (readings.observed_us[1:] < readings.observed_us[:-1]).any():
            readings = readings.take(np.argsort(readings.observed_us, kind="stable"))
        at = readings.point  # numpy keeps the last of repeated points
        self._value.array[at] = readings.value
        self._observed_us.array[at] = readings.observed_us
        self._quality.array[at] = readings.quality
        self._received_us.array[at] = max(readings.received_us, 1)

    def get(self, point: int) -> ChannelValue | None:
        """Return the newest emulated value of a point, or None when there never was one."""
        if point >= len(self._received_us.array) or not self._received_us.array[point]:
            return None
        value, observed_us, quality, received_us = (column.array[point] for column in self._columns)
        return ChannelValue(float(value), int(observed_us), int(quality), int(received_us))

    def rows(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that is held, as columns (k,)."""
        at = np.flatnonzero(self._received_us.array)
        columns = (column.array[at] for column in self._columns)
        return dict(zip(_KINDS, (at.astype(np.int32), *columns), strict=True))

    def put(self, rows: Columns) -> None:
        """Hold ``rows`` from now on."""
        at = rows["point"]
        for column, name in zip(self._columns, list(_KINDS)[1:], strict=True):
            column.put(np.zeros(int(at.max(initial=-1)) + 1, column.array.dtype))
            column.array[at] = rows[name]


class Channels:
    """The twins' state on the other channels. Readers and the writer share a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._emulated = Emulated()
        self._plans = Plans()

    def apply(self, accepted: Readings) -> None:
        """Take up readings that the log holds; neither those reported nor declared history are for here."""
        if accepted.backfill or not len(accepted):
            return
        with self._lock:
            if accepted.channel == Channel.EMULATED:
                self._emulated.move(accepted)
            elif accepted.channel == Channel.PLANNED:
                self._plans.add(accepted)

    def emulated(self, point: int) -> ChannelValue | None:
        """Return the newest emulated value of a point."""
        with self._lock:
            return self._emulated.get(point)

    def planned(self, point: int, now_us: int) -> tuple[ChannelValue | None, ChannelValue | None]:
        """Return the step of a point's plan that holds at ``now_us`` [µs since 1970], and the next one."""
        with self._lock:
            present, following = self._plans.at(point, now_us)
        return present and ChannelValue(*present), following and ChannelValue(*following)

    def rows(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that is held, as named columns for a snapshot; none for a channel that was never used."""
        with self._lock:
            kept = {"emulated": self._emulated.rows(), "planned": self._plans.rows()}
        return {
            f"{_PREFIX}{channel}.{name}": column
            for channel, rows in kept.items()
            for name, column in rows.items()
            if len(rows["point"])
        }

    def load(self, stored: Columns) -> bool:
        """Hold what a snapshot holds; return False, and change nothing, when that is damaged."""
        found: dict[str, Columns] = {}
        for channel in ("emulated", "planned"):
            names = {name: f"{_PREFIX}{channel}.{name}" for name in _KINDS}
            if not any(name in stored for name in names.values()):
                found[channel] = {name: np.zeros(0, kind) for name, kind in _KINDS.items()}
                continue
            if not all(name in stored for name in names.values()):
                return False
            found[channel] = {name: stored[key] for name, key in names.items()}
            shape = found[channel]["point"].shape
            if any(column.dtype != _KINDS[name] or column.shape != shape for name, column in found[channel].items()):
                return False
            if len(shape) != 1 or found[channel]["point"].min(initial=0) < 0:
                return False
        with self._lock:
            self._emulated.put(found["emulated"])
            self._plans.put(found["planned"])
        return True


def snapshot_names(names: list[str]) -> list[str]:
    """Return those members of a snapshot that are the channels'."""
    return [name for name in names if name.startswith(_PREFIX)]
