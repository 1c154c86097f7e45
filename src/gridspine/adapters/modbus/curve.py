"""Stored curves of SunSpec's grid support functions: what a device has, and what it is to have. Registers ↔ values.

::

    model 705   head: Ena AdptCrvReq AdptCrvRslt NPt NCrv …     Crv 1 (what is in force)   Crv 2   Crv 3 …
                                     │ written: the number of a curve      ▲                 │
                                     └──── the device copies it ───────────┴─────────────────┘

Source: SunSpec model definitions 705 to 712 as ``pysunspec2`` carries them; the DER Information Model Specification was
not read. What is in ``models/curves.json`` is all that is known of a function.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from gridspine.adapters.modbus.control import ADOPTED, ADOPTION_FAILED
from gridspine.adapters.modbus.layout import PointLayout, expand, load_layout
from gridspine.adapters.modbus.wire import Words, decode_number, decode_scale, encode_number, scaled, unscaled
from gridspine.kernel.errors import Invalid

MAX_SETS, MAX_POINTS = 100, 50
_WRITABLE = 0
_FIRST_WRITABLE = 2
_RESULTS = {0: "in progress", ADOPTED: "completed", ADOPTION_FAILED: "failed"}


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function: its ``model``, the group of its stored ``set``s, and the points of a curve, if it has one.

    ``zones`` are the curves of one set, where it has several. ``settings`` are further points of a set.
    """

    model: int
    set: str = "Crv"
    count: str = "NCrv"
    request: str = "AdptCrvReq"
    result: str = "AdptCrvRslt"
    x: str = ""
    y: str = ""
    zones: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A point of a curve, each in the unit of its SunSpec point (per cent, hertz, seconds)."""

    x: float
    y: float


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A stored curve: what an action reads, and what it writes."""

    function: str
    curve: int
    zone: str = ""
    points: tuple[Point, ...] = ()
    settings: dict[str, float] = {}


@cache
def functions() -> Mapping[str, Function]:
    """Return the functions by name."""
    file = resources.files(__name__.rpartition(".")[0]) / "models" / "curves.json"
    return msgspec.convert(msgspec.json.decode(file.read_bytes())["functions"], dict[str, Function])


def function_of(curve: Curve) -> Function:
    """Return the function of a curve; raise `Invalid` when there is none, or its zone is not one of it."""
    function = functions().get(curve.function)
    if function is None:
        raise Invalid(f"no function {curve.function[:40]!r}; there are {', '.join(functions())}")
    if (curve.zone or function.zones) and curve.zone not in function.zones:
        words = f"one of {', '.join(function.zones)}" if function.zones else "none"
        raise Invalid(f"zone: {curve.function} has {words}")
    return function


def head_points(function: Function) -> tuple[str, ...]:
    """Return the points that say how many curves a device stores, and of how many points."""
    return tuple(name for name in (function.count, "NPt") if name in _head(function))


def _head(function: Function) -> Mapping[str, PointLayout]:
    layout = load_layout(function.model)
    assert layout is not None, f"pysunspec2 has no model {function.model}"
    return layout.points


class Sets:
    """The stored curves of one function of one device, as its ``counts`` lay them out; offsets from the model's id."""

    def __init__(self, function: Function, counts: Mapping[str, float | None]) -> None:
        self.function = function
        self.count, self.most = int(counts.get(function.count) or 0), int(counts.get("NPt") or 0)
        if self.count > MAX_SETS or self.most > MAX_POINTS:
            raise Invalid(f"SunSpec {function.model} has {self.count} curves of {self.most} points: more than is read")
        places = {function.count: self.count} | ({"NPt": self.most} if function.x else {})
        self._points = expand(function.model, tuple(places.items())).points

    def place(self, name: str) -> PointLayout:
        """Return where a point is; raise `Invalid` where the device has none."""
        if name not in self._points:
            raise Invalid(f"the device has no SunSpec {self.function.model} {name}")
        return self._points[name]

    def names(self, curve: Curve) -> list[str]:
        """Return all points of a stored curve, in order."""
        prefix, zone = self._prefixes(curve)
        found = [name for name in self._points if name.startswith(zone)]
        return found + [
            f"{prefix}{name}" for name in ("ReadOnly", *self.function.settings) if f"{prefix}{name}" not in found
        ]

    def _prefixes(self, curve: Curve) -> tuple[str, str]:
        if not 1 <= curve.curve <= self.count:
            raise Invalid(f"curve: the device stores {self.count} of {curve.function}, numbered from 1")
        prefix = f"{self.function.set}.{curve.curve}."
        return prefix, f"{prefix}{curve.zone}." if curve.zone else prefix

    def decode(self, curve: Curve, words: Mapping[int, int]) -> Curve:
        """Return a stored curve out of registers by offset."""
        prefix, zone = self._prefixes(curve)
        points: list[Point] = []
        if self.function.x:
            active = int(self._value(f"{zone}ActPt", words) or 0)
            for number in range(1, min(active, self.most) + 1):
                x, y = (self._value(f"{zone}Pt.{number}.{name}", words) for name in (self.function.x, self.function.y))
                if x is None or y is None:
                    raise Invalid(f"point {number} of {curve.function} {curve.curve} is not implemented")
                points.append(Point(x, y))
        found = ((name, self._value(f"{prefix}{name}", words)) for name in self.function.settings)
        settings = {name: value for name, value in found if value is not None}
        return Curve(curve.function, curve.curve, curve.zone, tuple(points), settings)

    def encode(self, curve: Curve, words: Mapping[int, int]) -> dict[int, Words]:
        """Return registers by offset for a curve; ``words`` are what is there now.

        Raises `Invalid` for what cannot be.
        """
        prefix, zone = self._prefixes(curve)
        if curve.curve < _FIRST_WRITABLE or self._raw(f"{prefix}ReadOnly", words) != _WRITABLE:
            raise Invalid(f"stored curve {curve.curve} of {curve.function} can only be read")
        if curve.points and not self.function.x:
            raise Invalid(f"{curve.function} has settings and no points")
        if len(curve.points) > self.most:
            raise Invalid(f"points: the device takes {self.most} at most")
        found: dict[int, Words] = {}
        for name, value in curve.settings.items():
            if name not in self.function.settings:
                raise Invalid(f"settings: {curve.function} has {', '.join(self.function.settings) or 'none'}")
            self._put(found, f"{prefix}{name}", value, words)
        if curve.points:
            self._put(found, f"{zone}ActPt", len(curve.points), words)
        for number, point in enumerate(curve.points, 1):
            self._put(found, f"{zone}Pt.{number}.{self.function.x}", point.x, words)
            self._put(found, f"{zone}Pt.{number}.{self.function.y}", point.y, words)
        return found

    def _put(self, found: dict[int, Words], name: str, value: float, words: Mapping[int, int]) -> None:
        place = self.place(name)
        scale = self._scale(place, words)
        if scale is None or self._raw(name, words) is None:
            raise Invalid(f"the device does not implement SunSpec {self.function.model} {name}")
        found[place.offset] = encode_number(place.type, unscaled(value, scale))

    def _value(self, name: str, words: Mapping[int, int]) -> float | None:
        if name not in self._points:
            return None
        raw, scale = self._raw(name, words), self._scale(self._points[name], words)
        return None if raw is None or scale is None else scaled(raw, scale)

    def _raw(self, name: str, words: Mapping[int, int]) -> float | None:
        place = self.place(name)
        found = _slice(place, words)
        return None if found is None else decode_number(place.type, found)

    def _scale(self, place: PointLayout, words: Mapping[int, int]) -> int | None:
        if not isinstance(place.scale, str):
            return place.scale or 0
        found = _slice(self.place(place.scale), words)
        return None if found is None else decode_scale(found)


def _slice(place: PointLayout, words: Mapping[int, int]) -> Sequence[int] | None:
    at = range(place.offset, place.offset + place.size)
    return [words[one] for one in at] if all(one in words for one in at) else None


def read_input(given: Any) -> Curve:
    """Return the curve that an action names; raise `Invalid` for an input that is none."""
    try:
        return msgspec.convert(given, Curve)
    except msgspec.ValidationError as error:
        raise Invalid(f"input: {error}") from error


def result_words(raw: float | None) -> str:
    """Return what a device says of adopting a curve."""
    return _RESULTS.get(int(raw), f"code {raw:g}") if raw is not None else "nothing"
