"""Where a SunSpec model puts its points: read from the JSON definitions that come with ``pysunspec2``.

Offsets count registers from the model's own start: ``ID`` is 0, ``L`` is 1, the first point is 2.
Groups that occur once are flattened (``PFWInj.PF``). From the first repeating group on, places depend on counts in
the device; such points are left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import msgspec

HEADER_REGISTERS = 2
"""Registers of a model before its first point: its id and its length."""


@dataclass(frozen=True, slots=True)
class PointLayout:
    """One point: type, place, length [registers], and its scale factor: a point's name, a fixed power, or none."""

    name: str
    type: str
    offset: int
    size: int
    scale: str | int | None = None
    writable: bool = False
    symbols: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """A SunSpec model: its id, length ``L`` [registers, without the header] and points by name."""

    id: int
    length: int
    points: Mapping[str, PointLayout]


@cache
def load_layout(model_id: int) -> ModelLayout | None:
    """Return the layout of a SunSpec model, or None when no definition of it is installed."""
    file = resources.files("sunspec2") / "models" / "json" / f"model_{model_id}.json"
    if not file.is_file():
        return None
    group = msgspec.json.decode(file.read_bytes())["group"]
    points: dict[str, PointLayout] = {}
    offset = 0
    for name, point in _walk(group, ""):
        points[name] = _point(name, point, offset)
        offset += points[name].size
    return ModelLayout(model_id, offset - HEADER_REGISTERS, points)


def _point(name: str, point: Mapping[str, Any], offset: int) -> PointLayout:
    return PointLayout(
        name=name,
        type=point["type"],
        offset=offset,
        size=int(point["size"]),
        scale=point.get("sf"),
        writable=point.get("access") == "RW",
        symbols=tuple((symbol["name"], int(symbol["value"])) for symbol in point.get("symbols", ())),
    )


def _walk(group: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for point in group.get("points", ()):
        yield prefix + point["name"], point
    for inner in group.get("groups", ()):
        if inner.get("count", 1) != 1:
            return
        yield from _walk(inner, f"{prefix}{inner['name']}.")
