"""`NameIndex`: names to numbers without a Python object a name; for many names at once, or for one.

The names lie in one block of bytes. A table of slots, at most two thirds full, leads from a hash to a number; what is
found is compared byte by byte, so that a name is never taken for another.

::

    name ─ hash ─┬─ low bits ──► slot ─► 1 on ─► 2 on ─► 3 on ─► …  until one is empty
                 └─ high half ─► is it that of the slot? ─► number ─► the same bytes?

Reference: D. Lemire, O. Kaser, "Strongly universal string hashing is fast" (2014), for hashing by a sum of products.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from gridspine.kernel.ids import MAX_ID_LENGTH
from gridspine.kernel.names import PADDING, PackedNames
from gridspine.kernel.readings import BoolArray, Int32Array, Int64Array
from gridspine.things.column import Column

UInt64Array = npt.NDArray[np.uint64]
MAX_BYTES = MAX_ID_LENGTH
"""A name longer than this is in no index."""
NOBODY = -1
_WORD = 8
_ALL = (1 << 64) - 1
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(_WORD + 1)], np.uint64)
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFF_FFFF)
_AT_ONCE = 65_536


class Spans:
    """Stretches of ``data`` uint8 (bytes + `PADDING`,): ``start`` and ``length`` int64 (k,)."""

    def __init__(self, data: npt.NDArray[np.uint8], start: Int64Array, length: Int64Array) -> None:
        self.start = start
        self.length = length
        self._data = data
        self._read: dict[int, UInt64Array] = {}
        # Eight bytes from every place, whether it is aligned or not.
        self._words: UInt64Array = np.ndarray((len(data) - _WORD + 1,), "<u8", data, strides=(1,))

    @classmethod
    def of(cls, names: PackedNames) -> "Spans":
        """Return one span for each name."""
        return cls(names.data, names.offsets[:-1], np.diff(names.offsets))

    def __len__(self) -> int:
        return len(self.start)

    def word(self, at: int, rows: Int64Array | slice) -> UInt64Array:
        """Return the bytes ``8 * at`` to ``8 * at + 7`` of ``rows``, zero beyond their end; uint64 (k,).

        They are not to be changed: those of all rows are kept.
        """
        everything = isinstance(rows, slice)
        if everything and at in self._read:
            return self._read[at]
        left = self.length[rows] - _WORD * at
        place = np.minimum(self.start[rows] + _WORD * at, len(self._words) - 1)
        found: UInt64Array = self._words[place]
        if left.min(initial=_WORD) < _WORD:
            found &= _MASKS[np.clip(left, 0, _WORD)]
        if everything:
            self._read[at] = found
        return found

    def take(self, rows: Int64Array) -> "Spans":
        """Return the spans ``rows``."""
        taken = Spans.__new__(Spans)
        taken.start, taken.length = self.start[rows], self.length[rows]
        taken._data, taken._words, taken._read = self._data, self._words, {}
        return taken

    def text(self, row: int) -> bytes:
        """Return the bytes of one span."""
        start, length = int(self.start[row]), int(self.length[row])
        return self._data[start : start + length].tobytes()

    def equal(self, other: "Spans") -> BoolArray:
        """Return which spans hold the same bytes as those of ``other``, one by one."""
        same: BoolArray = self.length == other.length
        for at in range(-(-int(self.length.max(initial=0)) // _WORD)):
            rows = _reaching(self.length, at)
            same[rows] &= self.word(at, rows) == other.word(at, rows)
        return same


class Hash(Protocol):
    """A 64-bit hash of names, the same one by one and many at once."""

    def many(self, spans: Spans) -> UInt64Array:
        """Return the hashes of ``spans``, uint64 (k,)."""
        ...

    def one(self, name: bytes) -> int:
        """Return the hash of a name."""
        ...


class KeyedHash:
    """A sum of products with secret odd numbers: nobody who does not know ``key`` can make names that collide."""

    def __init__(self, key: bytes) -> None:
        count = MAX_BYTES // _WORD + 1
        numbers = np.random.Generator(np.random.PCG64(int.from_bytes(key, "little")))
        self._factors = numbers.integers(0, 1 << 64, (count, 2), np.uint64) | np.uint64(1)
        self._plain: list[list[int]] = self._factors.tolist()

    def many(self, spans: Spans) -> UInt64Array:
        """Return the hashes of ``spans``, uint64 (k,)."""
        total: UInt64Array = spans.length.astype(np.uint64) * self._factors[-1, 0]
        for at in range(-(-int(spans.length.max(initial=0)) // _WORD)):
            rows = _reaching(spans.length, at)
            mixed = spans.word(at, rows) * self._factors[at, 0]
            mixed ^= mixed >> _HALF
            mixed *= self._factors[at, 1]
            total[rows] += mixed
        total ^= total >> _HALF
        return total

    def one(self, name: bytes) -> int:
        """Return the hash of a name."""
        total = len(name) * self._plain[-1][0]
        for at in range(0, len(name), _WORD):
            first, second = self._plain[at // _WORD]
            mixed = int.from_bytes(name[at : at + _WORD], "little") * first & _ALL
            total += (mixed ^ (mixed >> 32)) * second
        total &= _ALL
        return total ^ (total >> 32)


class NameIndex:
    """Names numbered in the order they came. Grown by one thread at a time; read by any, without a lock."""

    def __init__(self, hash_: Hash | None = None) -> None:
        self._hash: Hash = hash_ or KeyedHash(b"")
        self._count = 0
        self._data = Column(np.uint8)
        self._data.grow(PADDING)
        self._offsets = Column(np.int64)
        self._offsets.grow(1)
        self._slots: UInt64Array = np.zeros(64, np.uint64)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:
        start, end = self._offsets.array[number : number + 2].tolist()
        return self._data.array[start:end].tobytes().decode("utf-8", "surrogatepass")

    @property
    def nbytes(self) -> int:
        """Bytes that the names and their slots take."""
        return self._data.array.nbytes + self._offsets.array.nbytes + self._slots.nbytes

    def names(self) -> PackedNames:
        """Return all names, in the order of their numbers; they share memory with the index."""
        count = self._count
        end = int(self._offsets.array[count])
        return PackedNames(self._data.array[: end + PADDING], self._offsets.array[: count + 1])

    def get(self, name: str) -> int:
        """Return a name's number, `NOBODY` when it has none."""
        text = name.encode("utf-8", "surrogatepass")
        return self._get(text) if len(text) <= MAX_BYTES else NOBODY

    def find(self, wanted: Spans) -> Int32Array:
        """Return the numbers of many names, int32 (k,), `NOBODY` where there is none."""
        if not self._count:
            return np.full(len(wanted), NOBODY, np.int32)
        if wanted.length.max(initial=0) > MAX_BYTES:
            found = np.full(len(wanted), NOBODY, np.int32)
            short = np.flatnonzero(wanted.length <= MAX_BYTES)
            found[short] = self.find(wanted.take(short))
            return found
        found = self._alike(wanted)
        number = np.maximum(found, 0)
        offsets = self._offsets.array
        start = offsets[number]
        same = Spans(self._data.array, start, offsets[number + 1] - start).equal(wanted)
        for row in np.flatnonzero(~same & (found >= 0)).tolist():  # halves alike: one by one, by their bytes
            found[row] = self._get(wanted.text(row))
        return found

    def add_all(self, names: PackedNames) -> int:
        """Add names that are not in the index, all different; return the number of the first."""
        data, offsets = names.data, names.offsets
        first = self._append(data[int(offsets[0]) : int(offsets[-1])], np.diff(offsets))
        if not self._make_room():
            self._enter(self._slots, first)
        return first

    def _get(self, text: bytes) -> int:
        hashed, slots = self._hash.one(text), self._slots
        at, wanted = hashed & (len(slots) - 1), hashed >> 32
        step = 0
        while slot := slots.item(at):
            if slot >> 32 == wanted:
                number = (slot & 0xFFFF_FFFF) - 1
                start, end = self._offsets.array.item(number), self._offsets.array.item(number + 1)
                if end - start == len(text) and self._data.array[start:end].tobytes() == text:
                    return int(number)
            step += 1
            at = (at + step) & (len(slots) - 1)
        return NOBODY

    def _alike(self, wanted: Spans) -> Int32Array:
        """Return the first number whose hash is like that of a name in its upper half, `NOBODY` where none is."""
        slots = self._slots
        mask = np.uint64(len(slots) - 1)
        hashes = self._hash.many(wanted)
        found = np.full(len(wanted), NOBODY, np.int32)
        rows, at, high, step = np.arange(len(wanted)), hashes & mask, hashes >> _HALF, 0
        while len(rows):
            slot = slots[at]
            match = (slot >> _HALF == high) & (slot > 0)
            found[rows[match]] = (slot[match] & _LOW).astype(np.int64) - 1
            going = np.flatnonzero((slot > 0) & ~match)
            step += 1
            rows, at, high = rows[going], (at[going] + np.uint64(step)) & mask, high[going]
        return found

    def _append(self, data: npt.NDArray[np.uint8], lengths: Int64Array) -> int:
        first, start = self._count, int(self._offsets.array[self._count])
        assert lengths.max(initial=0) <= MAX_BYTES, "a name is too long for the index"
        self._data.grow(start + len(data) + PADDING)
        self._data.array[start : start + len(data)] = data
        self._offsets.grow(first + len(lengths) + 1)
        self._offsets.array[first + 1 : first + len(lengths) + 1] = start + np.cumsum(lengths)
        self._count = first + len(lengths)
        return first

    def _make_room(self) -> bool:
        """Move to a table twice as large, or more, when this one gets full; then all names are entered anew."""
        if self._count * 3 <= len(self._slots) * 2:
            return False
        slots = np.zeros(1 << (self._count * 3 // 2).bit_length(), np.uint64)
        self._enter(slots, 0)
        self._slots = slots
        return True

    def _enter(self, slots: UInt64Array, first: int) -> None:
        """Enter the names from number ``first`` on."""
        offsets = self._offsets.array
        for start in range(first, self._count, _AT_ONCE):
            end = min(start + _AT_ONCE, self._count)
            part = Spans(self._data.array, offsets[start:end], np.diff(offsets[start : end + 1]))
            _fill(slots, self._hash.many(part), start)


def _fill(slots: UInt64Array, hashes: UInt64Array, first: int) -> None:
    """Put numbers from ``first`` on into the first empty slots from where their hashes lead."""
    mask = np.uint64(len(slots) - 1)
    entry = (hashes >> _HALF << _HALF) | np.arange(first + 1, first + 1 + len(hashes), dtype=np.uint64)
    at, step = hashes & mask, 0
    while len(entry):
        free = slots[at] == 0
        slots[at[free]] = entry[free]  # of several for one slot the last stays, the others go on
        going = slots[at] != entry
        step += 1
        entry, at = entry[going], (at[going] + np.uint64(step)) & mask


def _reaching(length: Int64Array, at: int) -> Int64Array | slice:
    """Return the rows that are longer than ``8 * at`` bytes; all of them as a slice."""
    if length.min(initial=MAX_BYTES) > _WORD * at:
        return slice(None)
    return np.flatnonzero(length > _WORD * at)
