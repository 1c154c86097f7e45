"""IEEE 2030.5: readings as `MirrorUsagePoint` documents, states of DER as `DERStatus`.

Source: IEEE 2030.5-2018, ``sep.xsd`` (urn:ieee:std:2030.5:ns): MirrorUsagePoint, MirrorMeterReading, Reading,
ReadingType, DERStatus with their notes; the text of the standard by clause was not read. Units that the schema does
not recommend but allows are those of IEC 61968-9, as NAESB ESPI 4.0 lists them. ``deviceLFDI`` belongs to a device's
certificate, which is not at hand here: it is made from the Thing's id, and whoever posts the document replaces it.

A reading carries an integer and a power of ten, so a number is exact up to 14 digits or so. Signs: forward is
delivered to the customer, which is our import; a net value is written as forward, negative when it flows out.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from gridspine.energy.mapping.number import code, scaled
from gridspine.energy.mapping.quality import quality_losses
from gridspine.energy.mapping.reading_type_code import PHASE
from gridspine.energy.mapping.snapshot import Document, Emission, Loss, Reported, Snapshot
from gridspine.energy.mapping.table import Table, load_table, said
from gridspine.energy.mapping.xml import HEAD, element
from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.reading_type import ReadingType
from gridspine.things.model import PointModel

NAMESPACE = "urn:ieee:std:2030.5:ns"
_MEDIA = "application/sep+xml"
_US = 1_000_000
_INT48 = (1 << 47) - 1
_POWERS = range(-9, 10)
_ACCUMULATION = {"instantaneous": 12, "register": 9, "interval": 4, "state": 12, "setting": 0}
_FLOW = {"none": 0, "import": 1, "export": 19, "net": 1, "total": 0}
_COMMODITY = {"electricity": 1, "gas": 7, "water": 9, "heat": 12, "cooling": 13, "none": 0}
_SERVICE = {"electricity": 0, "none": 0, "gas": 1, "water": 2, "heat": 5, "cooling": 6}
_ENERGY, _POWER = 12, 37
_KIND = {38: _POWER, 61: _POWER, 63: _POWER, 31: _ENERGY, 71: _ENERGY, 72: _ENERGY, 73: _ENERGY}
_PHASES = {phase: code for phase, code in PHASE.items() if phase != "n"}  # the schema reserves 16


class Field(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Where a value stands: an element of DERStatus, else a reading, in unit ``uom`` where it is not the table's."""

    status: str = ""
    codes: dict[str, int] = {}
    uom: int | None = None


def emit_ieee2030_5(snapshot: Snapshot) -> Emission:
    """Return a MirrorUsagePoint for each kind of service, and a DERStatus where a point belongs there."""
    table = load_table("ieee2030_5")
    known, unknown = said("ieee2030_5", snapshot)
    lost = [Loss(point.name, table.word(snapshot.model.id, point.name).none) for point in unknown]
    usage: dict[int, list[str]] = {}
    status: list[tuple[PointModel, Field]] = []
    for point, word in known:
        field = msgspec.convert(word.detail, Field)
        lost += [Loss(point.name, word.lost)] if word.lost else []
        if field.status:
            status.append((point, field))
            continue
        reading, losses = _meter_reading(table, snapshot, point, field)
        lost += losses
        usage.setdefault(_SERVICE[point.reading_type.commodity], []).append(reading)
    documents = [_usage_point(snapshot, service, readings) for service, readings in sorted(usage.items())]
    if status:
        document, losses = _der_status(snapshot, status)
        documents.append(document)
        lost += losses
    return Emission(tuple(documents), tuple(lost))


def _usage_point(snapshot: Snapshot, service: int, readings: Sequence[str]) -> Document:
    body = [
        element("mRID", _mrid(snapshot.thing, f"service {service}")),
        element("description", snapshot.title[:32]),
        element("roleFlags", "0001"),  # isMirror
        element("serviceCategoryKind", str(service)),
        element("status", "1"),
        element("deviceLFDI", hashlib.sha256(snapshot.thing.encode()).hexdigest()[:40].upper()),
        *readings,
    ]
    text = HEAD + element("MirrorUsagePoint", body, xmlns=NAMESPACE)
    return Document("MirrorUsagePoint", _MEDIA, text.encode())


def _meter_reading(table: Table, snapshot: Snapshot, point: PointModel, field: Field) -> tuple[str, list[Loss]]:
    kind, reported = point.reading_type, snapshot.values[point.name]
    uom, power = (field.uom, 0) if field.uom is not None else (table.unit_of(kind.unit) or [0, 0])
    number = scaled(reported.value, -_INT48, _INT48, _POWERS[: len(_POWERS) - max(power, 0)])
    lost = quality_losses("ieee2030_5", point.name, reported.quality)
    lost += [] if number.exact else [Loss(point.name, "digits beyond those of a 48-bit integer")]
    fields = _type_fields(kind, uom, number.exponent + power)
    parts = [
        element("mRID", _mrid(snapshot.thing, point.name)),
        element("description", point.name[:32]),
        element("lastUpdateTime", str(reported.observed_us // _US)),
        element("Reading", _reading(kind, reported, number.mantissa)),
        element("ReadingType", [element(name, str(code)) for name, code in fields.items()]),
    ]
    return element("MirrorMeterReading", parts), lost


def _reading(kind: ReadingType, reported: Reported, mantissa: int) -> list[str]:
    start = reported.observed_us // _US - (kind.interval_s if kind.stamp == "end" else 0)
    period = [element("duration", str(kind.interval_s)), element("start", str(start))]
    return [
        element("qualityFlags", f"{_flags(reported.quality):04X}"),
        element("timePeriod", period),
        element("value", str(mantissa)),
    ]


def _type_fields(kind: ReadingType, uom: int, power: int) -> dict[str, int]:
    electric = kind.commodity == "electricity" and kind.kind not in {"state", "setting"}
    fields = {
        "accumulationBehaviour": _ACCUMULATION[kind.kind],
        "commodity": _COMMODITY[kind.commodity],
        "flowDirection": _FLOW[kind.flow],
        "intervalLength": kind.interval_s,
        "kind": _KIND.get(uom, 0),
        "phase": _PHASES.get(kind.phase, 0) if electric else 0,
        "powerOfTenMultiplier": power,
        "uom": uom,
    }
    optional = {"intervalLength", "phase"}
    return {name: code for name, code in fields.items() if code or name not in optional}


def reading_name(kind: ReadingType, detail: dict[str, object]) -> str:
    """Return the fields of the ReadingType of a property in words, its power of ten as the unit asks for it."""
    field = msgspec.convert(detail, Field)
    unit = load_table("ieee2030_5").unit_of(kind.unit)
    uom, power = (field.uom, 0) if field.uom is not None else (unit or [0, 0])
    return ", ".join(f"{name} {code}" for name, code in _type_fields(kind, uom, power).items())


def _flags(quality: int) -> int:
    """Bit 0 valid, 1 manually edited, 4 questionable; neither 0 nor 4 is a value that is not valid."""
    validity = quality & VALIDITY_MASK
    flags = {0: 0x01, int(Quality.QUESTIONABLE): 0x10}.get(validity, 0)
    return flags | (0x02 if quality & Quality.SUBSTITUTED else 0)


def _der_status(snapshot: Snapshot, status: list[tuple[PointModel, Field]]) -> tuple[Document, list[Loss]]:
    lost: list[Loss] = []
    elements: dict[str, str] = {}
    for point, field in status:
        reported = snapshot.values[point.name]
        if reported.quality:
            lost.append(Loss(point.name, "quality: DERStatus has no word for it"))
        value = field.codes.get(str(code(reported.value))) if field.codes else _hundredths(point, reported, lost)
        if value is None:
            lost.append(Loss(point.name, f"state {code(reported.value)}, which {field.status} has no code for"))
            continue
        at = str(reported.observed_us // _US)
        elements[field.status] = element(field.status, [element("dateTime", at), element("value", str(value))])
    newest = max(snapshot.values[point.name].observed_us for point, _ in status)
    elements["readingTime"] = element("readingTime", str(newest // _US))
    ordered = [elements[name] for name in sorted(elements, key=str.lower)]
    text = HEAD + element("DERStatus", ordered, xmlns=NAMESPACE)
    return Document("DERStatus", _MEDIA, text.encode()), lost


def _hundredths(point: PointModel, reported: Reported, lost: list[Loss]) -> int:
    number = scaled(reported.value, -10_000, 10_000, [-2])  # PerCent: hundredths of a per cent
    if not number.exact:
        lost.append(Loss(point.name, "digits beyond hundredths of a per cent"))
    return number.mantissa


def _mrid(thing: str, part: str) -> str:
    return hashlib.sha256(f"{thing}/{part}".encode()).hexdigest()[:32].upper()
