"""`RollColumns`: what the roll knows of Things, one row a Thing; bodies lie one after another in one block of bytes."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gridspine.kernel.readings import Int64Array
from gridspine.things.column import Column
from gridspine.things.thing import Former, Thing

_LENGTH_BITS = 24
_LENGTH = (1 << _LENGTH_BITS) - 1
_AT_ONCE = 65_536
ROWS = {
    "span": np.int64, "adapter": np.int32, "created_us": np.int64, "version": np.int32, "latitude": np.float64,
    "longitude": np.float64, "retired": np.bool_,
}  # fmt: skip
"""Columns with one row a Thing."""
COLUMNS: dict[str, npt.DTypeLike] = {"body": np.uint8, **ROWS}
Body = tuple[str, dict[str, Any], int, int, bool, tuple[str, ...], tuple[Former, ...]]
"""Title, connection, when it was modified and retired [µs since 1970], described, devices, former numbers."""
_NAN = float("nan")
_OPEN = ord("[")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Body).decode


class RollColumns:
    """The columns by name; ``adapters`` are the names that column ``adapter`` counts."""

    def __init__(self, columns: dict[str, Column] | None = None, adapters: Sequence[str] = ()) -> None:
        self._columns = columns or {name: Column(kind) for name, kind in COLUMNS.items()}
        self.adapters = list(adapters)
        self._wasted = 0

    def __len__(self) -> int:
        return len(self._columns["created_us"].array)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name].array

    def copy(self) -> "RollColumns":
        """Return the columns as they are; only the bodies, which never change, are shared."""
        columns = {name: Column.of(self[name] if name == "body" else self[name].copy()) for name in COLUMNS}
        return RollColumns(columns, self.adapters)

    def body(self, number: int) -> Body:
        """Return what the body of a Thing says."""
        start, length = divmod(self["span"].item(number), 1 << _LENGTH_BITS)
        found: Body = _decode(self["body"][start : start + length].tobytes())
        return found

    def with_more(self) -> list[int]:
        """Return the Things that have devices or former numbers: most do not, and need not be read."""
        body, span = self["body"], self["span"]
        end = (span >> _LENGTH_BITS) + (span & _LENGTH)
        # A body ends in ,[],[]] without them.
        found: list[int] = np.flatnonzero((body[end - 3] != _OPEN) | (body[end - 6] != _OPEN)).tolist()
        return found

    def extend(self, things: Sequence[Thing]) -> None:
        """Add rows."""
        bodies = [_body(thing) for thing in things]
        ends = len(self["body"]) + np.cumsum([len(body) for body in bodies], dtype=np.int64)
        lengths = np.array([len(body) for body in bodies], np.int64)
        rows = {
            "span": (ends - lengths) << _LENGTH_BITS | lengths,
            "adapter": [self._adapter(thing.adapter) for thing in things],
            "created_us": [thing.created_us for thing in things],
            "version": [thing.version for thing in things],
            "latitude": [_NAN if thing.location is None else thing.location[0] for thing in things],
            "longitude": [_NAN if thing.location is None else thing.location[1] for thing in things],
            "retired": [thing.retired for thing in things],
        }
        self._columns["body"].extend(np.frombuffer(b"".join(bodies), np.uint8))
        for name, kind in ROWS.items():
            self._columns[name].extend(np.asarray(rows[name], kind))

    def put(self, number: int, thing: Thing) -> None:
        """Change the row of a Thing: it gets another body, at the end."""
        body = _body(thing)
        self._wasted += self["span"].item(number) & _LENGTH
        start = len(self["body"])
        self._columns["body"].extend(np.frombuffer(body, np.uint8))
        self["span"][number] = start << _LENGTH_BITS | len(body)
        self["adapter"][number] = self._adapter(thing.adapter)
        self["created_us"][number] = thing.created_us
        self["version"][number] = thing.version
        self["latitude"][number], self["longitude"][number] = thing.location or (_NAN, _NAN)
        self["retired"][number] = thing.retired
        if self._wasted > max(1 << 20, len(self["body"]) // 2):
            self._pack()

    def _pack(self) -> None:
        """Leave out the bodies of the past."""
        body, span = self["body"], self["span"]
        start, length = span >> _LENGTH_BITS, span & _LENGTH
        packed = Column(np.uint8)
        for first in range(0, len(span), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            packed.extend(body[_places(start[part], length[part])])
        ends = np.cumsum(length)
        self._columns["body"] = packed
        self._columns["span"].array[:] = (ends - length) << _LENGTH_BITS | length
        self._wasted = 0

    def _adapter(self, name: str) -> int:
        if name not in self.adapters:
            self.adapters.append(name)
        return self.adapters.index(name)


def fits(columns: dict[str, npt.NDArray[Any]], adapters: int) -> bool:
    """Whether columns that were read are of their types and of one length, and point into each other."""
    count = len(columns["created_us"])
    for name, kind in COLUMNS.items():
        if columns[name].dtype != kind or columns[name].ndim != 1 or (name != "body" and len(columns[name]) != count):
            return False
    start, length = columns["span"] >> _LENGTH_BITS, columns["span"] & _LENGTH
    if not count:
        return True
    if start.min() < 0 or length.min() < 6 or int((start + length).max()) > len(columns["body"]):
        return False
    return bool(columns["adapter"].min() >= 0 and columns["adapter"].max() < adapters)


def _body(thing: Thing) -> bytes:
    more = (thing.described, thing.devices, thing.former)
    return _encode((thing.title, thing.connection, thing.modified_us, thing.retired_us, *more))


def _places(start: Int64Array, length: Int64Array) -> Int64Array:
    """Return every place of spans, one after another."""
    ends = np.cumsum(length)
    return np.repeat(start - (ends - length), length) + np.arange(int(ends[-1]) if len(ends) else 0)
