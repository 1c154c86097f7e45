"""Names of points as numbers: what `PointTable.resolve` returns, and what it needs to do so for many at once."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gridspine.kernel.errors import Invalid
from gridspine.kernel.names import PADDING, PackedNames
from gridspine.kernel.readings import Float64Array, Int32Array
from gridspine.kernel.units import conversion, unit
from gridspine.things.name_index import Spans

UNKNOWN = -1
NOT_YOURS = -2
WRONG_UNIT = -3
OUT_OF_SERVICE = -4
RECENT_BYTES = 32 << 20
"""Memory that lists of names may take which are kept for their senders to come again with."""
_SLASH = ord("/")
_SHOWN = 96


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """Names as numbers: ``point`` int32 (k,), negative where refused.

    ``scale`` and ``shift`` float64 (k,) turn values into the points' own units; None: they are in those already.
    """

    point: Int32Array
    scale: Float64Array | None = None
    shift: Float64Array | None = None


def split(names: PackedNames) -> tuple[Spans, Spans]:
    """Split point ids at their first slash: Things, and names of points; without a slash the second is empty."""
    start, end = names.offsets[:-1], names.offsets[1:]
    slash = np.flatnonzero(names.data[: len(names.data) - PADDING] == _SLASH)
    if len(slash) != len(start) or not ((slash >= start) & (slash < end)).all():  # mostly one in each name
        following = np.searchsorted(slash, start)
        slash = np.append(slash, len(names.data))[following]
        slash = np.minimum(slash, end)
    rest = np.minimum(slash + 1, end)
    return Spans(names.data, start, slash - start), Spans(names.data, rest, end - rest)


def converted(point: Int32Array, units: Sequence[str], own: Sequence[str]) -> Resolved:
    """Return how values in ``units`` become those in the points' ``own``, of the same length; "" is the own unit."""
    point, scale, shift = point.copy(), np.ones(len(point)), np.zeros(len(point))
    known: dict[tuple[str, str], tuple[float, float] | None] = {}
    for at in np.flatnonzero(point >= 0).tolist():
        if not units[at]:
            continue
        pair = (units[at], own[at])
        if pair not in known:
            known[pair] = _conversion(*pair)
        found = known[pair]
        if found is None:
            point[at] = WRONG_UNIT
        else:
            scale[at], shift[at] = found
    return Resolved(point, scale, shift)


def _conversion(given: str, own: str) -> tuple[float, float] | None:
    try:
        return conversion(unit(given), unit(own))
    except Invalid:
        return None


class Recent:
    """Whole lists of names that were resolved lately: most senders come again with the very same list."""

    def __init__(self, max_bytes: int = RECENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lists: OrderedDict[Hashable, tuple[PackedNames, Int32Array]] = OrderedDict()
        self._bytes = 0

    def get(self, names: PackedNames, asked: Hashable) -> Int32Array | None:
        """Return the numbers kept for exactly these names, ``asked`` in the same way, or None."""
        found = self._lists.get(_key(names, asked))
        if found is None or not _alike(names, found[0]):
            return None
        return found[1]

    def keep(self, names: PackedNames, asked: Hashable, point: Int32Array) -> None:
        """Keep numbers; the oldest lists make room."""
        size = _size(names)
        if size > self._max_bytes // 4:
            return
        point.flags.writeable = False
        key = _key(names, asked)
        replaced = self._lists.pop(key, None)
        self._lists[key] = (names, point)
        self._bytes += size - (0 if replaced is None else _size(replaced[0]))
        while self._bytes > self._max_bytes:
            _, (oldest, _) = self._lists.popitem(last=False)
            self._bytes -= _size(oldest)


def _key(names: PackedNames, asked: Hashable) -> Hashable:
    data: npt.NDArray[np.uint8] = names.data
    return asked, len(names), len(data), data[:_SHOWN].tobytes(), data[-_SHOWN:].tobytes()


def _alike(names: PackedNames, others: PackedNames) -> bool:
    if names is others:
        return True
    return np.array_equal(names.offsets, others.offsets) and np.array_equal(names.data, others.data)


def _size(names: PackedNames) -> int:
    return names.data.nbytes + names.offsets.nbytes + 4 * len(names) + 1_000
