"""Confirmation: which readings are waited for, and whether one shows that a command had its effect."""

import msgspec
import numpy as np

from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.readings import Int32Array, Int64Array
from gridspine.things.column import Column

Key = tuple[str, str]
"""A Thing's URN and the name of one of its points."""

_UNFIT = (
    Quality.OLD_DATA
    | Quality.FAILURE
    | Quality.SUBSTITUTED
    | Quality.TEST
    | Quality.OPERATOR_BLOCKED
    | Quality.CLOCK_UNSYNCHRONISED
    | Quality.ESTIMATED
)


class Awaited(msgspec.Struct, frozen=True):
    """What a reading must show: ``value`` ± ``tolerance`` [the confirm point's unit], observed after ``after_us``."""

    value: float
    tolerance: float
    after_us: int

    def shown_by(self, value: float, quality: int, observed_us: int, received_us: int) -> bool:
        """Whether a reported reading shows the effect.

        Both times [µs since 1970] must lie after the order was sent: a re-sent old value is old. What is not good, or
        was not measured by the source at a time we can trust, shows nothing.
        """
        fit = (quality & VALIDITY_MASK) == 0 and not quality & _UNFIT
        later = observed_us > self.after_us and received_us > self.after_us
        return fit and later and abs(value - self.value) <= self.tolerance


class Watchlist:
    """The numbers of the confirm points that commands wait for, and the commanded points behind each."""

    def __init__(self) -> None:
        self._number_of: dict[Key, int] = {}
        self._keys: dict[int, dict[Key, None]] = {}
        self._awaited = Column(np.bool_)
        """By number; memory is touched only where something is waited for."""

    def __len__(self) -> int:
        return len(self._keys)

    def set(self, key: Key, number: int | None) -> None:
        """Wait for readings of point ``number`` on behalf of ``key``; None waits no more."""
        known = self._number_of.get(key)
        if number == known:
            return
        if known is not None:
            del self._number_of[key]
            del self._keys[known][key]
            if not self._keys[known]:
                del self._keys[known]
                self._awaited.array[known] = False
        if number is not None:
            self._number_of[key] = number
            self._keys.setdefault(number, {})[key] = None
            self._awaited.grow(number + 1)
            self._awaited.array[number] = True

    def hits(self, point: Int32Array) -> Int64Array:
        """Return the positions in ``point`` (int32, shape (n,)) that are waited for (int64, shape (m,))."""
        awaited = self._awaited.array
        known = np.flatnonzero((point >= 0) & (point < len(awaited)))
        found: Int64Array = known[awaited[point[known]]]
        return found

    def keys(self, number: int) -> list[Key]:
        """Return the commanded points that wait for readings of point ``number``."""
        return list(self._keys.get(number, ()))
