"""CIM: measurements and their values as RDF/XML.

Source: CIM100 (IEC 61970-301, package Meas; the classes as in CIM17v40 and in CGMES 3.0, profile Operation):
Measurement, Analog, Accumulator, Discrete, their values, MeasurementValueQuality with Quality61850. The texts of the
standards by clause were not read.

``Analog.positiveFlowIn`` says that a positive value flows into the power system resource, which is import. A register
is an Accumulator: an integer, whose unit multiplier is chosen so that it is exact where it can be.
"""

import uuid
from collections.abc import Iterator

import msgspec

from gridspine.energy.mapping.number import Scaled, scaled, text
from gridspine.energy.mapping.quality import quality_losses
from gridspine.energy.mapping.snapshot import Document, Emission, Loss, Reported, Snapshot
from gridspine.energy.mapping.table import Table, load_table, said
from gridspine.energy.mapping.xml import HEAD, element
from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.time import format_rfc3339
from gridspine.things.model import PointModel

NAMESPACE = "http://iec.ch/TC57/CIM100#"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_INT64 = (1 << 63) - 1
_POWER_NAMES = {
    -12: "p", -9: "n", -6: "micro", -3: "m", -2: "c", -1: "d", 0: "none", 1: "da", 2: "h", 3: "k", 6: "M", 9: "G",
    12: "T",
}  # fmt: skip
_PHASES = {"a": "AN", "b": "BN", "c": "CN", "n": "N", "ab": "AB", "bc": "BC", "ca": "AC", "all": "ABC"}
_FLAGS = {
    "badReference": Quality.BAD_REFERENCE, "estimatorReplaced": Quality.ESTIMATED, "failure": Quality.FAILURE,
    "oldData": Quality.OLD_DATA, "operatorBlocked": Quality.OPERATOR_BLOCKED, "oscillatory": Quality.OSCILLATORY,
    "outOfRange": Quality.OUT_OF_RANGE, "overFlow": Quality.OVERFLOW, "suspect": Quality.INCONSISTENT,
    "test": Quality.TEST,
}  # fmt: skip
_VALIDITY = {0: "GOOD", 1: "INVALID", 2: "INVALID", 3: "QUESTIONABLE"}


class Field(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The class of a property's measurement, and its ``measurementType``."""

    cls: str
    type: str


def emit_cim(snapshot: Snapshot) -> Emission:
    """Return one RDF/XML document with a measurement, its value and its quality for each point."""
    table = load_table("cim")
    known, unknown = said("cim", snapshot)
    lost = [Loss(point.name, table.word(snapshot.model.id, point.name).none) for point in unknown]
    resource = _urn(snapshot.thing, "")
    parts = [_resource(table, snapshot, resource)]
    for point, word in known:
        reported = snapshot.values[point.name]
        parts += _measurement(table, snapshot, point, msgspec.convert(word.detail, Field), lost)
        parts.append(_quality(snapshot, point, reported))
        lost += quality_losses("cim", point.name, reported.quality)
        lost += [Loss(point.name, word.lost)] if word.lost else []
    body = HEAD + element("rdf:RDF", parts, xmlns_rdf=_RDF, xmlns_cim=NAMESPACE)
    documents = (Document("measurements", "application/rdf+xml", body.encode()),) if known else ()
    return Emission(documents, tuple(lost))


def _resource(table: Table, snapshot: Snapshot, about: str) -> str:
    short = snapshot.model.id.rpartition("/")[2]
    tag = table.extra["resources"].get(short, "PowerSystemResource")
    names = [
        element("cim:IdentifiedObject.mRID", about.removeprefix("urn:uuid:")),
        element("cim:IdentifiedObject.name", snapshot.title),
        element("cim:IdentifiedObject.aliasName", snapshot.thing),
    ]
    return element(f"cim:{tag}", names, rdf_about=about)


def _measurement(table: Table, snapshot: Snapshot, point: PointModel, field: Field, lost: list[Loss]) -> Iterator[str]:
    kind, reported = point.reading_type, snapshot.values[point.name]
    symbol, power = table.unit_of(kind.unit) or ["none", 0]
    value = Scaled(0, 0, True)
    written = text(reported.value)
    if field.cls != "Analog":
        value = _whole(field, reported, power)
        written = str(value.mantissa)
        if not value.exact:
            lost.append(Loss(point.name, f"the fraction: a value of {field.cls} is a whole number"))
    about = _urn(snapshot.thing, point.name)
    parts = [
        element("cim:IdentifiedObject.name", point.name),
        element("cim:Measurement.measurementType", field.type),
        _ref("Measurement.unitSymbol", f"{NAMESPACE}UnitSymbol.{symbol}"),
        _ref("Measurement.unitMultiplier", f"{NAMESPACE}UnitMultiplier.{_POWER_NAMES[power + value.exponent]}"),
        _ref("Measurement.PowerSystemResource", _urn(snapshot.thing, "")),
    ]
    if kind.commodity == "electricity" and kind.kind != "state":
        parts.append(_ref("Measurement.phases", f"{NAMESPACE}PhaseCode.{_PHASES[kind.phase]}"))
    if field.cls == "Analog" and kind.flow in {"net", "import", "export"}:
        parts.append(element("cim:Analog.positiveFlowIn", "false" if kind.flow == "export" else "true"))
    yield element(f"cim:{field.cls}", parts, rdf_about=about)
    yield element(
        f"cim:{field.cls}Value",
        [
            _ref(f"{field.cls}Value.{field.cls}", about),
            element(f"cim:{field.cls}Value.value", written),
            element("cim:MeasurementValue.timeStamp", format_rfc3339(reported.observed_us)),
        ],
        rdf_about=_urn(snapshot.thing, f"{point.name} value"),
    )


def _whole(field: Field, reported: Reported, power: int) -> Scaled:
    """An integer and a power of ten that, added to the unit's own, has a name; a Discrete has no power."""
    powers = [p - power for p in _POWER_NAMES] if field.cls == "Accumulator" else [0]
    return scaled(reported.value, -_INT64, _INT64, powers)


def _quality(snapshot: Snapshot, point: PointModel, reported: Reported) -> str:
    bits = reported.quality
    source = "SUBSTITUTED" if bits & Quality.SUBSTITUTED else "PROCESS"
    flags = [element(f"cim:Quality61850.{name}", "true" if bits & bit else "false") for name, bit in _FLAGS.items()]
    parts = [
        _ref("MeasurementValueQuality.MeasurementValue", _urn(snapshot.thing, f"{point.name} value")),
        *flags,
        _ref("Quality61850.source", f"{NAMESPACE}Source.{source}"),
        _ref("Quality61850.validity", f"{NAMESPACE}Validity.{_VALIDITY[bits & VALIDITY_MASK]}"),
    ]
    return element("cim:MeasurementValueQuality", parts, rdf_about=_urn(snapshot.thing, f"{point.name} quality"))


def _ref(name: str, target: str) -> str:
    return element(f"cim:{name}", rdf_resource=target)


def _urn(thing: str, part: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{thing}/{part}").urn
