"""SunSpec: the values as models with points and scale factors, in the JSON form of SunSpec devices.

Source: the SunSpec model definitions 101-113, 201-220, 302-308, 701-715, 802 as PyPI ``pysunspec2`` 1.3 carries them
(JSON); the SunSpec Device Information Model Specification by clause was not read. Signs are those of
`gridspine.energy.mapping.sign`: inverters and DER count generation as positive, meters import.

Points that share a scale factor share one power of ten, chosen so that all of them are exact where they can be.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gridspine.energy.mapping.number import Scaled, code, scaled_together
from gridspine.energy.mapping.quality import quality_losses
from gridspine.energy.mapping.sign import DeviceClass, model_class, sign_factor
from gridspine.energy.mapping.snapshot import Document, Emission, Loss, Reported, Snapshot
from gridspine.energy.mapping.table import load_table, said
from gridspine.kernel.errors import Invalid
from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.units import conversion, unit
from gridspine.things.model import PointModel

# Type of a point → least, most and the value that says "not implemented", which is never a reading.
_RANGES = {
    "int16": (-0x7FFF, 0x7FFF), "uint16": (0, 0xFFFE), "int32": (-0x7FFFFFFF, 0x7FFFFFFF), "uint32": (0, 0xFFFFFFFE),
    "acc32": (0, 0xFFFFFFFF), "uint64": (0, (1 << 64) - 2), "enum16": (0, 0xFFFE), "enum32": (0, 0xFFFFFFFE),
}  # fmt: skip
_SCALES = range(-10, 11)


class Field(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A point of a model: its type, the scale factor (a point's name, or a fixed power of ten), its unit in our words.

    ``sign`` names the row of the sign table for a quantity with a direction, as ``standard:quantity``.
    ``codes`` turns our codes into theirs.
    """

    model: int
    point: str
    type: str
    sf: str = ""
    fixed: int = 0
    unit: str = ""
    sign: str = ""
    codes: dict[str, int] = {}


class _Value(msgspec.Struct, frozen=True):
    point: PointModel
    field: Field
    value: float


def emit_sunspec(snapshot: Snapshot) -> Emission:
    """Return one JSON document with the common model and each model that a point needs."""
    table = load_table("sunspec")
    known, unknown = said("sunspec", snapshot)
    lost = [Loss(point.name, table.word(snapshot.model.id, point.name).none) for point in unknown]
    values: list[_Value] = []
    for point, word in known:
        reported = snapshot.values[point.name]
        lost += quality_losses("sunspec", point.name, reported.quality)
        lost += [Loss(point.name, word.lost)] if word.lost else []
        if reported.quality & VALIDITY_MASK == Quality.INVALID:
            lost.append(Loss(point.name, "the value: one that is invalid reads as not implemented"))
            continue
        one = _value(snapshot, point, msgspec.convert(word.detail, Field), reported, lost)
        values += [one] if one else []
    if not known:
        return Emission((), tuple(lost))
    models: dict[int, dict[str, Any]] = {}
    for number, points in _written(values, lost):
        models.setdefault(number, {"ID": number}).update(points)
    common = {"ID": 1, "Mn": "gridspine", "Md": _short(snapshot.title), "SN": snapshot.thing[-32:]}
    body = msgspec.json.encode({"name": snapshot.thing, "models": [common, *(models[n] for n in sorted(models))]})
    return Emission((Document("device", "application/json", body),), tuple(lost))


def _short(title: str) -> str:
    """Return what of a title fits into the 32 bytes of a string; never "", which says that there is none."""
    plain = "".join(one for one in title if one.isprintable())
    return plain.encode(errors="ignore")[:32].decode(errors="ignore").strip() or "unnamed"


def _value(snapshot: Snapshot, point: PointModel, field: Field, reported: Reported, lost: list[Loss]) -> _Value | None:
    if field.codes:
        number = field.codes.get(str(code(reported.value)))
        if number is None:
            lost.append(Loss(point.name, f"state {code(reported.value)}: {field.point} has no code for it"))
            return None
        return _Value(point, field, number)
    value = reported.value
    if field.unit:
        scale, shift = conversion(unit(point.reading_type.unit), unit(field.unit))
        value = value * scale + shift
    if field.type == "acc32" and not value:
        lost.append(Loss(point.name, "the state of a register at 0: in an acc32 that says it is not implemented"))
        return None
    return _Value(point, field, value * _factor(snapshot, field))


def _factor(snapshot: Snapshot, field: Field) -> int:
    if not field.sign:
        return 1
    standard, _, quantity = field.sign.partition(":")
    known = model_class(snapshot.model.id)
    device_class: DeviceClass = known.device_class if known else "meter"
    return sign_factor(standard, device_class, quantity)


def _written(values: Sequence[_Value], lost: list[Loss]) -> Iterator[tuple[int, dict[str, int]]]:
    """Yield model and its points with their scale factor, one group of a common scale factor at a time."""
    groups: dict[tuple[int, str], list[_Value]] = {}
    for one in values:
        groups.setdefault((one.field.model, one.field.sf or f"={one.field.point}"), []).append(one)
    for (model, sf), group in groups.items():
        field = group[0].field
        low, high = _bounds(group)
        try:
            numbers = scaled_together((one.value for one in group), low, high, _SCALES if field.sf else [field.fixed])
        except Invalid as error:
            lost += [Loss(one.point.name, str(error)) for one in group]
            continue
        lost += [Loss(v.point.name, _rounded(n)) for v, n in zip(group, numbers, strict=True) if not n.exact]
        points = {
            one.field.point: number.mantissa
            for one, number in zip(group, numbers, strict=True)
            if number.mantissa or one.field.type != "acc32"  # rounded to 0, which says that it is not implemented
        }
        yield model, points | ({sf: numbers[0].exponent} if field.sf else {})


def _bounds(group: Sequence[_Value]) -> tuple[int, int]:
    """What all points of the group can hold."""
    ranges = [_RANGES[one.field.type] for one in group]
    return max(low for low, _ in ranges), min(high for _, high in ranges)


def _rounded(number: Scaled) -> str:
    return f"digits: the register holds it as {number.mantissa}e{number.exponent}"
