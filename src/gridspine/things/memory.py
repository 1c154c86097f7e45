"""What the screen remembers of each point, as columns, and how to put it back when a commit fails."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gridspine.kernel.readings import Channel, Int32Array, Int64Array, Readings
from gridspine.things.column import Column
from gridspine.things.runs import Runs

NEVER_US = -(1 << 62)
Before = tuple[Column, Int32Array | Int64Array, npt.NDArray[np.generic]]
"""A column, rows of it, and what they held."""


class Newest(dict[Channel, Column]):
    """The newest time of any reading of each point, a column for each channel that was ever used: mostly one."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def __missing__(self, channel: Channel) -> Column:
        # Only pages that are written take memory where the empty value is 0, and no reading is from before 1970.
        column = self[channel] = Column(np.int64, NEVER_US if channel is Channel.REPORTED else 0)
        column.grow(self._size)
        return column

    def grow(self, size: int) -> None:
        """Make room for points up to ``size``."""
        self._size = max(self._size, size)
        for column in self.values():
            column.grow(size)


class Memory:
    """The last *reported* reading of each point, the newest one seen, and what is held back.

    ``value``, ``observed_us``, ``quality``: reported last, what report by exception compares with. ``pending`` and
    ``until_us``: a reading of the point is held, and from when on none is. ``seen_value``, ``seen_us``: the newest
    live reading whatever became of it, what rates are measured from. ``newest``: for each channel the newest time of
    any reading; nothing later can be a repetition.
    """

    def __init__(self) -> None:
        self.value = Column(np.float64, np.nan)
        self.observed_us = Column(np.int64, NEVER_US)
        self.quality = Column(np.uint16)
        self.pending = Column(np.bool_)
        self.until_us = Column(np.int64, NEVER_US)
        self.seen_value = Column(np.float64, np.nan)
        self.seen_us = Column(np.int64, NEVER_US)
        self.newest = Newest()
        self._live = (
            self.value, self.observed_us, self.quality, self.pending, self.until_us, self.seen_value, self.seen_us,
        )  # fmt: skip

    def grow(self, size: int) -> None:
        """Make room for points up to ``size``."""
        for column in self._live:
            column.grow(size)
        self.newest.grow(size)

    def before(self, point: Int32Array, channel: Channel, *, live: bool) -> list[Before]:
        """Return what a batch on ``channel`` may change of distinct points, as it is now."""
        return rows_of((self.newest[channel], *(self._live if live else ())), point)

    def remember_newest(self, ordered: Readings, runs: Runs) -> None:
        """Move the newest time of each point on; anything not newer must be looked up in the horizon."""
        newest = self.newest[ordered.channel].array
        newest[runs.point] = np.maximum(newest[runs.point], ordered.observed_us[runs.last])

    def remember_seen(self, ordered: Readings, runs: Runs) -> None:
        """Move the newest live reading of each point on."""
        last = runs.last
        newer = ordered.observed_us[last] >= self.seen_us.array[runs.point]
        if not newer.all():
            last = last[newer]
        at = ordered.point[last]
        self.seen_value.array[at] = ordered.value[last]
        self.seen_us.array[at] = ordered.observed_us[last]

    def restore(self, value: Column, observed_us: Column, quality: Column) -> None:
        """Start from the twins: what was accepted last is what was reported last."""
        size = len(value.array)
        self.grow(size)
        for column, array in (
            (self.value, value.array),
            (self.observed_us, observed_us.array),
            (self.quality, quality.array),
            (self.seen_value, value.array),
            (self.seen_us, observed_us.array),
            (self.newest[Channel.REPORTED], observed_us.array),
        ):
            column.array[:size] = array


def rows_of(columns: Iterable[Column], point: Int32Array | Int64Array) -> list[Before]:
    """Return what ``columns`` hold for ``point``, to `put_back`."""
    return [(column, point, column.array[point]) for column in columns]


def put_back(before: Sequence[Before]) -> None:
    """Make the columns hold again what they held; they may have grown since."""
    for column, point, values in reversed(before):
        column.array[point] = values
