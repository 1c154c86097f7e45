"""`PackedNames`: many names in one block of bytes. A name becomes Python text only when somebody looks at it.

::

    data     u r n : x : a / p u r n : x : b / p ····  UTF-8, and eight bytes of nothing at the end
    offsets  0               9                18
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
import numpy.typing as npt

PADDING = 8
"""Bytes of zero after the last name: whoever reads eight bytes from any place in it stays inside."""


class PackedNames(Sequence[str]):
    """Names as columns: ``data`` uint8 (bytes + `PADDING`,), ``offsets`` int64 (k + 1,), ascending from 0."""

    __slots__ = ("data", "offsets")

    def __init__(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None:
        self.data = data
        self.offsets = offsets

    @classmethod
    def of(cls, names: Iterable[str]) -> "PackedNames":
        """Pack ``names``."""
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded) + bytes(PADDING), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        count = len(self)
        if not -count <= at < count:
            raise IndexError(f"name {at} of {count}")
        at = int(at) % count
        return self._text(int(self.offsets[at]), int(self.offsets[at + 1]))

    def __iter__(self) -> Iterator[str]:
        bounds = self.offsets.tolist()
        whole = self.data[: bounds[-1]].tobytes()
        if whole.isascii():  # then bytes and characters are the same places
            text = whole.decode("ascii")
            yield from (text[start:end] for start, end in pairwise(bounds))
        else:
            yield from (self._text(start, end) for start, end in pairwise(bounds))

    def _text(self, start: int, end: int) -> str:
        return self.data[start:end].tobytes().decode("utf-8", "surrogatepass")
