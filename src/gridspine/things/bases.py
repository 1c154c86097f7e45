"""`Bases`: which Thing a point number belongs to, or did."""

import numpy as np

from gridspine.kernel.readings import Int32Array, Int64Array
from gridspine.things.column import Column


class Bases:
    """The first numbers of all blocks, in ascending order: Things need not come in the order of their numbers.

    A Thing that got other numbers has several blocks. Grown by one thread at a time; read by any, without a lock.
    """

    def __init__(self) -> None:
        self._columns = (Column(np.int32), Column(np.int32))

    def add(self, first: Int32Array, thing: Int32Array) -> None:
        """Add the first numbers of the blocks of ``thing``; where one lies between others, all are copied."""
        bases, things = self._columns
        if (np.diff(first) > 0).all() and (not len(bases.array) or first[0] > bases.array[-1]):
            things.extend(thing)  # before the bases, by which readers look
            bases.extend(first)
            return
        every, whose = np.concatenate((bases.array, first)), np.concatenate((things.array, thing))
        order = np.argsort(every, kind="stable")
        self._columns = Column.of(every[order]), Column.of(whose[order])

    def things_of(self, point: Int32Array | Int64Array) -> Int64Array:
        """Return, for points (k,), the place of each one's Thing."""
        bases, things = self._columns
        # Of the bases' own type: numpy would copy all of them to compare with another.
        point = point.astype(np.int32, copy=False)
        found = np.searchsorted(bases.array, point, side="right") - 1
        return things.array[found].astype(np.int64)
