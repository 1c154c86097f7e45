"""Runs of the same point in a batch sorted by point: found once, used by every step of the screen."""

from dataclasses import dataclass

import numpy as np

from gridspine.kernel.readings import Int32Array, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """One row for each point of a batch: ``point`` int32 (k,), where its ``first`` and ``last`` reading stand, and how
    many they are."""

    point: Int32Array
    first: Int64Array
    last: Int64Array
    count: Int64Array


def runs_of(point: Int32Array) -> Runs:
    """Return the runs of ``point`` (n,), which is sorted."""
    if not len(point):
        none = np.zeros(0, np.int64)
        return Runs(point, none, none, none)
    first = np.zeros(1 + np.count_nonzero(changes := point[1:] != point[:-1]), np.int64)
    first[1:] = np.flatnonzero(changes) + 1
    last = np.empty_like(first)
    last[:-1], last[-1] = first[1:] - 1, len(point) - 1
    return Runs(point[first], first, last, last - first + 1)
