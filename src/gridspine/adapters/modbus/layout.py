"""Where a SunSpec model puts its points: read from the JSON definitions that come with ``pysunspec2``.

Offsets count registers from the model's own start: ``ID`` is 0, ``L`` is 1, the first point is 2.
Groups that occur once are flattened (``PFWInj.PF``). From the first repeating group on, places depend on counts in
the device; `load_layout` leaves such points out, `expand` has them by their number (``Crv.2.Pt.1.V``).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import islice
from typing import Any

import msgspec

from gridspine.kernel.errors import Invalid

MAX_POINTS = 4_000
"""Points of a model with repeating groups, at most: what is beyond them is not there."""
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
    group = _definition(model_id)
    return None if group is None else _laid_out(model_id, _walk(group, ""))


@lru_cache(maxsize=32)
def expand(model_id: int, counts: tuple[tuple[str, int], ...]) -> ModelLayout:
    """Return the layout of a model in a device with ``counts``: how often each repeating group is there, by its point.

    Points beyond `MAX_POINTS` are left out. Raises `Invalid` for a model without definition.
    """
    group = _definition(model_id)
    if group is None:
        raise Invalid(f"there is no definition of SunSpec model {model_id}")
    return _laid_out(model_id, islice(_walk(group, "", dict(counts)), MAX_POINTS))


def _definition(model_id: int) -> Mapping[str, Any] | None:
    file = resources.files("sunspec2") / "models" / "json" / f"model_{model_id}.json"
    if not file.is_file():
        return None
    group: Mapping[str, Any] = msgspec.json.decode(file.read_bytes())["group"]
    return group


def _laid_out(model_id: int, walked: Iterable[tuple[str, Mapping[str, Any]]]) -> ModelLayout:
    points: dict[str, PointLayout] = {}
    offset = 0
    for name, point in walked:
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


def _walk(
    group: Mapping[str, Any], prefix: str, counts: Mapping[str, int] | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for point in group.get("points", ()):
        yield prefix + point["name"], point
    for inner in group.get("groups", ()):
        count = inner.get("count", 1)
        if count == 1:
            yield from _walk(inner, f"{prefix}{inner['name']}.", counts)
            continue
        if counts is None:
            return
        for number in range(1, (count if isinstance(count, int) else counts[count]) + 1):
            yield from _walk(inner, f"{prefix}{inner['name']}.{number}.", counts)
