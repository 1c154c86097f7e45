"""Thing Model properties ↔ SunSpec points, and the sign of every signed point: data, read from ``models/*.json``.

A mapping file names a Thing Model and says for each property where its reading comes from (the first source whose
model the device has and whose point is implemented) and, for a property that can be commanded, which registers hold
the value, the enable flag and the reversion timer. Units on both sides are the same; ``factor`` bridges the rest.
"""

from collections.abc import Mapping as MappingOf
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec

from gridspine.kernel.errors import Invalid

_BUILTIN = ("pv_inverter", "battery", "smart_inverter")
DeviceClass = Literal["generator", "storage", "meter"]


class PointRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A point of a SunSpec model."""

    model: int
    point: str


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a reading comes from: the mean of the implemented ``points`` of ``model``, times ``factor``.

    ``codes`` translates the device's codes to the Thing Model's; a code it does not name is a problem, no reading.
    """

    model: int
    points: tuple[str, ...]
    factor: float = 1.0
    codes: dict[str, int] | None = None


class Control(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Registers of one commandable function of one SunSpec ``model``.

    ``value`` holds the value; ``mirror``, where there is one, its negative. ``enable`` is ``enabled`` while the
    function works and ``disabled`` else; ``mode`` is a point and the code that selects this way of giving the value.
    ``percent_of`` lists what a value in per cent is a part of, best first. ``reversion_time`` [s] is the device's
    own timer and ``remaining`` [s] what is left of it; ``reversion_value`` and ``reversion_enable`` say what it falls
    back to. ``neutral`` is the value that means that nothing is in force: a number, or the rated value.

    ``excitation`` of a power factor tells over-excited (0, positive here) from under-excited (1, negative). Where there
    is a ``result`` the value is the number of a stored curve that the device adopts, and tells how that went; it has
    ``count`` of them, and of those the first only shows what is in force.
    """

    model: int
    value: str
    enable: str
    reversion_time: str
    neutral: float | Literal["rated"]
    enabled: int = 1
    disabled: int = 0
    mirror: str = ""
    mode: tuple[str, int] | None = None
    percent_of: tuple[PointRef, ...] = ()
    reversion_value: str = ""
    reversion_enable: str = ""
    remaining: str = ""
    excitation: str = ""
    reversion_excitation: str = ""
    result: str = ""
    count: str = ""

    def points(self) -> tuple[PointRef, ...]:
        """Return every point that must be read to know what is in force."""
        names = (self.value, self.enable, self.reversion_time, self.mirror, self.mode[0] if self.mode else "")
        more = (self.reversion_value, self.reversion_enable, self.remaining, self.excitation, self.reversion_excitation)
        adopted = (self.result, self.count)
        return tuple(PointRef(self.model, name) for name in names + more + adopted if name) + self.percent_of


class Property(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One property of a Thing Model: read from ``sources``, or read and commanded through ``controls``."""

    unit: str
    sources: tuple[Source, ...] = ()
    controls: tuple[Control, ...] = ()


class Mapping(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How one Thing Model is served by SunSpec devices of one class.

    ``local`` are points that are 1 while somebody beside the device has it in his hands: it is not commanded then.
    """

    name: str
    model: str
    device_class: DeviceClass
    properties: dict[str, Property]
    local: tuple[PointRef, ...] = ()


class Sign(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One row of the sign table: ``factor`` turns the point of these ``models`` into import positive.

    ``factor`` None: the standard does not say, so no mapping may use the point. ``device_classes`` empty means all.
    ``sense`` says what the standard calls positive, ``basis`` where that was read.
    """

    models: tuple[int, ...]
    points: tuple[str, ...]
    factor: int | None
    sense: str
    basis: str
    device_classes: tuple[DeviceClass, ...] = ()
    quadrants: str = ""


def _file(name: str) -> Any:
    folder = resources.files(__name__.rpartition(".")[0]) / "models"
    return msgspec.json.decode((folder / name).read_bytes())


@cache
def sign_table() -> tuple[Sign, ...]:
    """Return the sign table."""
    return msgspec.convert(_file("signs.json")["signs"], tuple[Sign, ...])


def sign_factor(model: int, point: str, device_class: DeviceClass) -> int:
    """Return the factor that makes a point import positive: 1 where the table has no row for it.

    Raises `Invalid` when the table says that the standard leaves the sign open.
    """
    for row in sign_table():
        if (
            model in row.models
            and point in row.points
            and (not row.device_classes or device_class in row.device_classes)
        ):
            if row.factor is None:
                raise Invalid(f"the sign of SunSpec {model} {point} is not defined: {row.basis}")
            return row.factor
    return 1


@cache
def builtin_mappings() -> tuple[Mapping, ...]:
    """Return the mappings that come with the adapter."""
    return tuple(msgspec.convert(_file(f"{name}.json"), Mapping) for name in _BUILTIN)


def choose_mapping(model: str, name: str = "", more: MappingOf[str, Any] | None = None) -> Mapping:
    """Return the mapping for a Thing Model, by its id, or the one called ``name``.

    ``more`` are further mapping documents by name (the adapter's setting ``mappings``); they come first.
    Raises `Invalid` when there is none, or a document is wrong.
    """
    try:
        own = [msgspec.convert(document, Mapping) for document in (more or {}).values()]
    except msgspec.ValidationError as error:
        raise Invalid(f"settings: mappings: {error}") from error
    for mapping in (*own, *builtin_mappings()):
        if (mapping.name == name) if name else (mapping.model == model):
            return mapping
    raise Invalid(f"no mapping {name or 'for Thing Model ' + model}")
