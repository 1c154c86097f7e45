"""What an Arrow stream says besides its numbers, remembered: most senders come again with all of it the very same.

::

    schema · names · head of the batch │ point · observed · value · quality │ end
    └─────────── the frame ───────────┘└──────────── the numbers ──────────┘└ the frame

A frame is kept of a stream that was read and validated in full. A stream whose frame is the same byte for byte has the
same schema, names, lengths and places, so only its numbers are left to be looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridspine.kernel.names import PackedNames
from gridspine.kernel.quality import ALL_BITS
from gridspine.kernel.readings import Int64Array, NamedReadings
from gridspine.kernel.time import MAX_US, MIN_US

MAX_FRAME_BYTES = 64 << 10
"""Larger frames are not kept: their streams have so many names or numbers that reading them anew is no loss."""
MAX_BYTES = 16 << 20
"""Memory that all frames may take; the oldest make room."""
WIDTHS: tuple[np.dtype[Any], ...] = (np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float64), np.dtype(np.uint16))
"""The numbers of a column: point, observed [µs since 1970], value, quality."""
_OBJECT_BYTES = 1_000
_MORE_SPANS = 1_000
"""Lengths that are remembered though the frames of such streams are gone."""
assert MIN_US == 0  # so a time is looked at without its sign


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where the numbers of a stream lie: ``places`` are those of the columns in it, each of ``count`` numbers."""

    size: int
    start: int
    end: int
    places: tuple[int, int, int, int]
    count: int
    names: PackedNames
    units: Sequence[str]
    item: Int64Array

    def read(self, body: bytes) -> NamedReadings | None:
        """Return the readings of a stream with this frame; None where a number is out of its bounds."""
        index, observed_us, value, bits = (
            np.frombuffer(body, width, self.count, place) for width, place in zip(WIDTHS, self.places, strict=True)
        )
        if (
            np.maximum.reduce(index.view(np.uint32)) >= len(self.units)
            or np.maximum.reduce(observed_us.view(np.uint64)) > MAX_US
            or np.maximum.reduce(bits) > ALL_BITS
        ):
            return None
        return NamedReadings(self.names, self.units, index, self.item, observed_us, value, bits)


class Frames:
    """Frames of the streams that came lately; for one thread."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._spans: dict[int, tuple[int, int]] = {}
        self._known: dict[bytes, Frame] = {}
        self._bytes = 0

    def find(self, body: bytes) -> Frame | None:
        """Return the frame of a stream, if one like it came before."""
        span = self._spans.get(len(body))
        if span is None:
            return None
        start, end = span
        found = self._known.get(body[:start] + body[end:])
        return found if found is not None and (found.size, found.start) == (len(body), start) else None

    def keep(self, body: bytes, places: tuple[int, int, int, int], readings: NamedReadings) -> None:
        """Keep the frame of a stream that was read as ``readings``, with its columns' numbers at ``places``."""
        count, names = len(readings), readings.names
        start = min(places)
        end = max(place + count * width.itemsize for width, place in zip(WIDTHS, places, strict=True))
        if not 0 <= start < end <= len(body) or not isinstance(names, PackedNames):
            return
        frame = Frame(len(body), start, end, places, count, names, readings.units, readings.item)
        size = _size(frame)
        if size > MAX_FRAME_BYTES:
            return
        key = body[:start] + body[end:]
        if key in self._known:
            self._forget(key)
        while self._known and self._bytes + size > self._max_bytes:
            self._forget(next(iter(self._known)))
        if len(self._spans) > len(self._known) + _MORE_SPANS:
            self._spans.clear()
        self._known[key], self._spans[len(body)] = frame, (start, end)
        self._bytes += size

    def _forget(self, key: bytes) -> None:
        self._bytes -= _size(self._known.pop(key))


def _size(frame: Frame) -> int:
    """Return about how much memory a frame and its key take [bytes]."""
    fixed = frame.size - (frame.end - frame.start)
    names = frame.names.data.nbytes + frame.names.offsets.nbytes + 8 * len(frame.names)
    return fixed + names + frame.item.nbytes + _OBJECT_BYTES
