"""`Column`: a numpy array that grows, and takes memory only for what it holds."""

from typing import Any

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 18


class Column:
    """A numpy array that grows; ``array`` is always at least as long as was asked for.

    Room is made ahead, by half, but not touched: the system gives memory to pages that are written only. A column
    whose fill is zero takes none for rows that are never written.
    """

    def __init__(self, dtype: npt.DTypeLike, fill: float = 0) -> None:
        self._fill = fill
        self._room: npt.NDArray[Any] = np.full(0, fill, dtype)
        self.array: npt.NDArray[Any] = self._room

    @classmethod
    def of(cls, array: npt.NDArray[Any], fill: float = 0) -> "Column":
        """Make a column of an array, which belongs to it from now on."""
        column = cls(array.dtype, fill)
        column.put(array)
        return column

    def grow(self, size: int) -> None:
        """Make room for ``size`` rows; new ones hold the fill value."""
        held = len(self.array)
        if size <= held:
            return
        if size > len(self._room):
            self._move(max(size, held * 3 // 2, 64), held)
        if self._fill != 0:  # NaN is not 0 either
            self._room[held:size] = self._fill
        self.array = self._room[:size]

    def put(self, array: npt.NDArray[Any]) -> None:
        """Hold ``array`` from now on, which belongs to the column."""
        self._room = self.array = array

    def extend(self, values: npt.NDArray[Any]) -> None:
        """Add rows; ``array`` is the longer one only when they are in it."""
        held, size = len(self.array), len(self.array) + len(values)
        if size > len(self._room):
            self._move(max(size, held * 3 // 2, 64), held)
        self._room[held:size] = values
        self.array = self._room[:size]

    def _move(self, room: int, held: int) -> None:
        zeros = self._fill == 0
        moved = np.zeros(room, self._room.dtype) if zeros else np.empty(room, self._room.dtype)
        for start in range(0, held, _BLOCK):
            part = self.array[start : start + _BLOCK]
            if not zeros or part.any():
                moved[start : start + len(part)] = part
        self._room = moved
