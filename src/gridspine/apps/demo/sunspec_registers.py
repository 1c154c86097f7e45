"""The register memory of a demonstration device: a SunSpec chain that a Modbus server hands out and writes to.

It shares no code with the node. A point that was never given a value reads as *not implemented*.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gridspine.apps.demo.sunspec_tables import TABLES

_SIZES = {"sf": 1, "pad": 1, "16": 1, "32": 2, "64": 4}
_SUNS = [0x5375, 0x6E53]
_END = [0xFFFF, 0]


@dataclass(frozen=True)
class Point:
    """A point's place in memory."""

    address: int
    size: int
    kind: str
    writable: bool


class Registers:
    """A chain of models from address ``base`` on.

    ``values`` gives each model's first values by point, raw as on the wire. ``on_write`` is called after a write
    with the (model, point) pairs it touched.
    """

    def __init__(self, base: int, values: Mapping[int, Mapping[str, int | str]]) -> None:
        self.base = base
        self.words: list[int] = list(_SUNS)
        self.on_write: Callable[[set[tuple[int, str]]], None] = lambda _: None
        self._points: dict[tuple[int, str], Point] = {}
        self._at: dict[int, tuple[int, str]] = {}
        for model, given in values.items():
            self._add(model, given)
        self.words += _END

    def _add(self, model: int, given: Mapping[str, int | str]) -> None:
        header = len(self.words)
        self.words += [model, 0]
        for entry in TABLES[model].split():
            name, _, kind = entry.partition(":")
            writable, kind = kind.endswith("*"), kind.rstrip("*")
            size = int(kind[1:]) if kind[0] == "s" and kind != "sf" else _SIZES[kind if kind in _SIZES else kind[1:]]
            address = self.base + len(self.words)
            self._points[model, name] = Point(address, size, kind, writable)
            self._at |= dict.fromkeys(range(address, address + size), (model, name))
            self.words += [0] * size
            self.set(model, name, given.get(name))
        self.words[header + 1] = len(self.words) - header - 2

    def set(self, model: int, name: str, value: int | str | None) -> None:
        """Put a raw value into a point; None makes it *not implemented*."""
        point = self._points[model, name]
        start = point.address - self.base
        self.words[start : start + point.size] = _encode(point, value)

    def get(self, model: int, name: str) -> int:
        """Return a point's raw number."""
        point = self._points[model, name]
        start = point.address - self.base
        data = b"".join(word.to_bytes(2, "big") for word in self.words[start : start + point.size])
        return int.from_bytes(data, "big", signed=point.kind[0] == "i" or point.kind == "sf")

    def has(self, model: int, name: str) -> bool:
        """Whether the point is there and implemented."""
        point = self._points.get((model, name))
        if point is None:
            return False
        start = point.address - self.base
        return self.words[start : start + point.size] != _encode(point, None)

    def names(self, model: int, prefix: str) -> list[str]:
        """Return the points of a model whose names begin with ``prefix``, in their order."""
        return [name for one, name in self._points if one == model and name.startswith(prefix)]

    def may_write(self, address: int, count: int) -> bool:
        """Whether every one of ``count`` registers from ``address`` may be written."""
        touched = [self._at.get(at) for at in range(address, address + count)]
        return all(name is not None and self._points[name].writable for name in touched)

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write registers and tell ``on_write``."""
        start = address - self.base
        self.words[start : start + len(words)] = words
        self.on_write({self._at[at] for at in range(address, address + len(words))})


def _encode(point: Point, value: int | str | None) -> list[int]:
    if point.kind[0] == "s" and point.kind != "sf":
        data = str(value or "").encode()[: point.size * 2].ljust(point.size * 2, b"\0")
    else:
        number = _absent(point) if value is None else int(value)
        data = (number & ((1 << (16 * point.size)) - 1)).to_bytes(2 * point.size, "big")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def _absent(point: Point) -> int:
    if point.kind == "sf" or point.kind[0] == "i":
        return 1 << (16 * point.size - 1)
    if point.kind == "pad" or point.kind[0] == "a":
        return 0
    return -1
