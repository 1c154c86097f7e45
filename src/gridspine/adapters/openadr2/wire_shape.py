"""Shapes that messages of OpenADR 2.0b share: responses, targets, and what numbers mean. Pure; no I/O.

Source: ``oadr_ei_20b.xsd`` (EiResponseType, EiTargetType), ``oadr_power_20b.xsd`` and ``oadr_20b.xsd`` (what stands in
for emix:itemBase), ``oadr_siscale_20b.xsd``. Of a target nodes of the grid, areas and locations are left out.
"""

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.document import Field, Node, Shape, flag, number, one, whole, word, words
from gridspine.energy.mapping.xml import element
from gridspine.kernel.errors import Invalid

OPTS = (m.OPT_IN, m.OPT_OUT)
SCALES = {
    "p": 1e-12, "n": 1e-9, "micro": 1e-6, "m": 1e-3, "c": 1e-2, "d": 1e-1, "none": 1.0, "k": 1e3, "M": 1e6, "G": 1e9,
    "T": 1e12,
}  # fmt: skip
"""What a scale code multiplies by."""
MAX_TARGETS = 200

CODE = (
    whole("code", "ei:responseCode", most=999),
    word("description", "ei:responseDescription", ""),
    word("request_id", "pyld:requestID"),
)
RESPONSE = Shape(m.Response, CODE)
ANSWERED = one("response", "ei:eiResponse", RESPONSE)
REQUEST = word("request_id", "pyld:requestID")
VEN, MAYBE_VEN = word("ven_id", "ei:venID"), word("ven_id", "ei:venID", "")
TARGET = Shape(
    m.Target,
    (
        words("mrids", "power:endDeviceAsset/power:mrid", most=MAX_TARGETS),
        words("group_ids", "ei:groupID", most=MAX_TARGETS),
        words("group_names", "ei:groupName", most=MAX_TARGETS),
        words("resource_ids", "ei:resourceID", most=MAX_TARGETS),
        words("ven_ids", "ei:venID", most=MAX_TARGETS),
        words("party_ids", "ei:partyID", most=MAX_TARGETS),
    ),
)
_POWERS = {
    "power:powerReal": "RealPower", "power:powerApparent": "ApparentPower", "power:powerReactive": "ReactivePower"
}  # fmt: skip
DESCRIPTIONS = {
    **_POWERS, "power:energyReal": "RealEnergy", "power:energyApparent": "ApparentEnergy",
    "power:energyReactive": "ReactiveEnergy", "power:voltage": "Voltage", "oadr:current": "Current",
    "oadr:frequency": "Frequency", "oadr:Therm": "Therm", "oadr:temperature": "temperature",
    "oadr:pulseCount": "pulse count", "oadr:currency": "currency", "oadr:currencyPerKWh": "currencyPerKWh",
    "oadr:currencyPerKW": "currencyPerKW", "oadr:currencyPerThm": "currencyPerThm", "oadr:customUnit": "",
}  # fmt: skip
"""Kinds of items, and how each describes itself."""
_ATTRIBUTES = (
    number("hertz", "power:powerAttributes/power:hertz"),
    number("voltage", "power:powerAttributes/power:voltage"),
    flag("ac", "power:powerAttributes/power:ac"),
)


def _read_item(node: Node) -> m.Item | None:
    found = next((each for each in node.children if each.name in DESCRIPTIONS), None)
    if found is None:
        return None
    prefix = found.name.partition(":")[0]
    said = {each.name: each.text.strip() for each in found.children}
    units, description = said.get(f"{prefix}:itemUnits"), said.get(f"{prefix}:itemDescription")
    if units is None or description is None:
        raise Invalid(f"{found.name}: itemDescription and itemUnits are needed")
    scale = said.get("scale:siScaleCode", "none")
    if scale not in SCALES:
        raise Invalid(f"scale:siScaleCode: {scale[:20]!r} is none of {', '.join(SCALES)}")
    power = found.name in _POWERS and found.find("power:powerAttributes") is not None
    hertz, voltage, ac = (field.read(found) for field in _ATTRIBUTES) if power else (None, None, None)
    pulse = number("", "oadr:pulseFactor").read(found) if found.name == "oadr:pulseCount" else None
    return m.Item(
        kind=found.name, units=units[:100], scale=scale, description=description[:200], hertz=hertz, voltage=voltage,
        ac=ac, pulse_factor=pulse,
    )  # fmt: skip


def _write_item(item: m.Item | None) -> str:
    if item is None:
        return ""
    prefix = item.kind.partition(":")[0]
    said = [
        element(f"{prefix}:itemDescription", item.description or DESCRIPTIONS[item.kind]),
        element(f"{prefix}:itemUnits", item.units),
    ]
    if item.kind == "oadr:pulseCount":
        return element(item.kind, [*said, element("oadr:pulseFactor", repr(item.pulse_factor or 1.0))])
    said.append(element("scale:siScaleCode", item.scale))
    if item.kind in _POWERS:
        said.append(_attributes(item))
    return element(item.kind, said)


def _attributes(item: m.Item) -> str:
    hertz = 50.0 if item.hertz is None else item.hertz
    voltage = 230.0 if item.voltage is None else item.voltage
    said = (("hertz", f"{hertz:f}"), ("voltage", f"{voltage:f}"), ("ac", "false" if item.ac is False else "true"))
    return element("power:powerAttributes", [element(f"power:{name}", value) for name, value in said])


ITEM = Field("item", _read_item, _write_item)
"""What numbers mean, whichever element says it; None where none does."""
