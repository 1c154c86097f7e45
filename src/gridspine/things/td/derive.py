"""Points derived from a Thing Description: which properties are numbers with a meaning, and under which names.

A number without a unit is noise: such a property is described and gives no point; ``"unit": "1"`` makes a plain number
one. ``gs:readingType``, ``gs:screen`` and ``gs:lease`` say more where they are given. Bounds of the schema are what the
device can do: beyond them a reading is refused.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_point_name
from gridspine.kernel.reading_type import ReadingType
from gridspine.kernel.units import unit
from gridspine.things.model import LeaseRule, PointModel, ScreenRule

MAX_SILENCE_S = 300.0
_SPELLINGS = {
    "celsius": "degC", "degreecelsius": "degC", "degreescelsius": "degC", "degc": "degC", "°c": "degC", "cel": "degC",
    "kelvin": "K", "percent": "%", "watt": "W", "kilowatt": "kW", "megawatt": "MW", "watthour": "Wh",
    "kilowatthour": "kWh", "megawatthour": "MWh", "joule": "J", "volt": "V", "millivolt": "mV", "kilovolt": "kV",
    "ampere": "A", "milliampere": "mA", "hertz": "Hz", "pascal": "Pa", "hectopascal": "hPa", "lux": "lx",
    "second": "s", "secondtime": "s", "minute": "min", "hour": "h", "metre": "m", "meter": "m", "cubicmetre": "m3",
    "litre": "l", "metrepersecond": "m/s", "degree": "deg", "radian": "rad", "°": "deg", "ratio": "1", "one": "1",
    "voltampere": "VA", "amperehour": "Ah", "m³": "m3", "w/m²": "W/m2", "m³/h": "m3/h", "wattpersquaremetre": "W/m2",
}  # fmt: skip
"""Names of units as people and ontologies (OM, QUDT) write them, in small letters, to our symbols."""
_PREFIX = re.compile(r"^https?://.*[/#](?=.)|^[A-Za-z0-9_.\-]+:(?=.)")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")


class Left(msgspec.Struct, frozen=True):
    """A part of a description that the node does not work with, and why."""

    affordance: str
    reason: str


class Derived(NamedTuple):
    """Points, the property behind each, and what is left out."""

    points: tuple[PointModel, ...]
    property_of: dict[str, str]
    left: tuple[Left, ...]


def derive(document: Mapping[str, Any]) -> Derived:
    """Return the points of a Thing Description that has been checked."""
    points: dict[str, PointModel] = {}
    property_of: dict[str, str] = {}
    left: list[Left] = []
    for name in sorted(document.get("properties", {})):
        affordance = document["properties"][name]
        try:
            point = _point(_name(name, points), affordance)
        except (Invalid, msgspec.ValidationError) as error:
            left.append(Left(f"properties.{name}", str(error)))
            continue
        points[point.name] = point
        property_of[point.name] = name
    return Derived(tuple(points[name] for name in sorted(points)), property_of, tuple(left))


def known_unit(spelling: str) -> str:
    """Return our symbol for a unit as a description spells it; raise `Invalid` for one that is not known."""
    try:
        return unit(spelling).symbol
    except Invalid:
        plain = _PREFIX.sub("", spelling)
        for text in (plain, _SPELLINGS.get(re.sub(r"[\s_\-]", "", plain).lower(), "")):
            try:
                return unit(text).symbol
            except Invalid:
                continue
        raise


def code_names(affordance: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a property's words, in the order of its enum; empty when its values are numbers."""
    if affordance.get("type") == "boolean":
        return {"false": 0.0, "true": 1.0}
    words = affordance.get("enum", [])
    if affordance.get("type") == "string" and words and all(isinstance(word, str) for word in words):
        return {word: float(at) for at, word in enumerate(dict.fromkeys(words))}
    return {}


def _name(name: str, taken: Mapping[str, Any]) -> str:
    """Return the name of a property's point: letters, digits and _ of it."""
    plain = _NOT_IN_NAMES.sub("_", name)[:64]
    plain = plain if plain[:1].isalpha() else f"p{plain}"[:64]
    if plain in taken:
        raise Invalid(f"its point would be called {plain}, as another's")
    return check_point_name(plain)


def _point(name: str, affordance: Mapping[str, Any]) -> PointModel:
    if affordance.get("writeOnly"):
        raise Invalid("it cannot be read")
    reading_type = _reading_type(affordance)
    reading_type.check()
    screen = _screen(affordance)
    screen.check(reading_type)
    lease = msgspec.convert(affordance["gs:lease"], LeaseRule) if "gs:lease" in affordance else None
    title = affordance.get("title") or name
    return PointModel(name, str(title)[:200], reading_type, screen, lease)


def _reading_type(affordance: Mapping[str, Any]) -> ReadingType:
    if "gs:readingType" in affordance:
        return msgspec.convert(affordance["gs:readingType"], ReadingType)
    kind, words = affordance.get("type"), code_names(affordance)
    if words:
        codes = {str(int(code)): word[:100] for word, code in words.items()}
        return ReadingType("code", "state", commodity="none", codes=codes)
    if kind not in {"number", "integer"}:
        raise Invalid(f"its type is {kind or 'not given'}: number, integer, boolean, or string with enum gives a point")
    if "unit" not in affordance:
        raise Invalid('it has no unit: add one, "1" for a plain number')
    return ReadingType(known_unit(str(affordance["unit"])), commodity="none")


def _screen(affordance: Mapping[str, Any]) -> ScreenRule:
    if "gs:screen" in affordance:
        return msgspec.convert(affordance["gs:screen"], ScreenRule)
    low, high = affordance.get("minimum"), affordance.get("maximum")
    return ScreenRule(
        possible_min=float(low) if isinstance(low, int | float) else None,
        possible_max=float(high) if isinstance(high, int | float) else None,
        max_silence_s=MAX_SILENCE_S,
    )
