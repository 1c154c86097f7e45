"""Runs of the same point in a batch sorted by point: found once, used by every step of the screen."""

from dataclasses import dataclass

import numpy as np

from gridspine.kernel.readings import Int32Array, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """One row for each point of a batch: ``point`` int32 (k,), where its readings start and how many they are."""

    point: Int32Array
    first: Int64Array
    count: Int64Array

    @property
    def last(self) -> Int64Array:
        """Where each point's last reading stands."""
        return self.first + self.count - 1


def runs_of(point: Int32Array) -> Runs:
    """Return the runs of ``point`` (n,), which is sorted."""
    if not len(point):
        none = np.zeros(0, np.int64)
        return Runs(point, none, none)
    starts = np.flatnonzero(point[1:] != point[:-1]) + 1
    first = np.concatenate((np.zeros(1, np.int64), starts))
    return Runs(point[first], first, np.diff(first, append=len(point)))
