"""The DataTypeTemplates of SCL that the emitted logical nodes need: common data classes, constructed types, enums.

Source: IEC 61850-7-3 and 7-4 edition 2.1 as name space definitions (NSD 2007B3), IEC 61850-7-420 (NSD 2019A4), the
SCL schema 2007B4. Of each class the data attributes are declared that are written or mandatory; of each logical node
the data objects that are written, and Beh: what else is mandatory there (of a valve's material, of a breaker's blocks)
is not known of a Thing, and so these are the values of a device and not its whole description.
"""

from collections.abc import Iterable, Mapping

from gridspine.energy.mapping.xml import element

_Q = ("q", "MX", "Quality", "")
_T = ("t", "MX", "Timestamp", "")
_QS = ("q", "ST", "Quality", "")
_TS = ("t", "ST", "Timestamp", "")
_UNITS = ("units", "CF", "Struct", "Unit")
_CONTROL = ("ctlModel", "CF", "Enum", "CtlModelKind")
# Common data class → its data attributes: name, functional constraint, basic type, constructed type.
CLASSES: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "MV": (("mag", "MX", "Struct", "AnalogueValue"), _Q, _T, _UNITS),
    "CMV": (("cVal", "MX", "Struct", "Vector"), _Q, _T, _UNITS),
    "BCR": (("actVal", "ST", "INT64", ""), _QS, _TS, _UNITS, ("pulsQty", "CF", "FLOAT32", "")),
    "INS": (("stVal", "ST", "INT32", ""), _QS, _TS),
    "SPS": (("stVal", "ST", "BOOLEAN", ""), _QS, _TS),
    "ACT": (("general", "ST", "BOOLEAN", ""), _QS, _TS),
    "DPC": (("stVal", "ST", "Dbpos", ""), _QS, _TS, _CONTROL),
    "ENS": (("stVal", "ST", "Enum", "DERStateKind"), _QS, _TS),
    "APC": (("mxVal", "MX", "Struct", "AnalogueValue"), _Q, _T, _UNITS, _CONTROL, ("dbRef", "CF", "FLOAT32", "")),
    "ISC": (("valWTr", "ST", "Struct", "ValWithTrans"), _QS, _TS, _CONTROL),
}
VALUE: dict[str, tuple[str, ...]] = {
    "MV": ("mag", "f"), "CMV": ("cVal", "mag", "f"), "CMV.ang": ("cVal", "ang", "f"), "BCR": ("actVal",),
    "INS": ("stVal",), "SPS": ("stVal",), "ACT": ("general",), "DPC": ("stVal",), "ENS": ("stVal",),
    "APC": ("mxVal", "f"), "ISC": ("valWTr", "posVal"),
}  # fmt: skip
"""Where the value of a class stands."""

_STRUCTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "AnalogueValue": (("f", "FLOAT32", ""),),
    "Vector": (("mag", "Struct", "AnalogueValue"), ("ang", "Struct", "AnalogueValue")),
    "Unit": (("SIUnit", "Enum", "SIUnitKind"), ("multiplier", "Enum", "MultiplierKind")),
    "ValWithTrans": (("posVal", "INT8", ""), ("transInd", "BOOLEAN", "")),
}
STATUS_ONLY = "status-only"
"""The control model of what can be controlled there: a snapshot takes no orders."""
CONTROLLED = frozenset({"DPC", "APC", "ISC"})
MULTIPLIERS = {-3: "m", -2: "c", -1: "d", 0: "", 1: "da", 2: "h", 3: "k", 6: "M", 9: "G"}
_BEHAVIOUR = {1: "on", 2: "blocked", 3: "test", 4: "test/blocked", 5: "off"}


def templates(
    nodes: Mapping[tuple[str, str, str], Mapping[str, tuple[str, tuple[str, ...]]]],
    units: Mapping[str, int],
    states: Mapping[str, int],
) -> str:
    """Return the DataTypeTemplates.

    ``nodes``: (prefix, class, instance) of a logical node → data object → its class, and for WYE and DEL the phases.
    ``units`` are the SI units and ``states`` the words of DERStateKind by name, with their numbers.
    """
    parts = [_node_type("LLN0", "LLN0", {"Beh": "Beh"})]
    object_types: dict[str, str] = {"Beh": _behaviour()}
    for (prefix, ln, inst), objects in nodes.items():
        named = {"Beh": "Beh"}
        for name, (cdc, phases) in objects.items():
            named[name] = cdc if not phases else f"{prefix}{ln}{inst}.{name}"
            if phases:
                subs = [element("SDO", name=phase, type="CMV") for phase in phases]
                object_types[named[name]] = element("DOType", subs, id=named[name], cdc=cdc)
                object_types["CMV"] = _object_type("CMV")
            else:
                object_types[cdc] = _object_type(cdc)
        parts.append(_node_type(f"{prefix}{ln}{inst}", ln, named))
    parts += [object_types[name] for name in sorted(object_types)]
    parts += [_struct(name) for name in _STRUCTS]
    parts += [_enum("SIUnitKind", ((number, name) for name, number in units.items()))]
    parts += [_enum("MultiplierKind", ((power, name) for power, name in MULTIPLIERS.items() if name))]
    parts += [_enum("BehaviourModeKind", _BEHAVIOUR.items())]
    parts += [_enum("CtlModelKind", ((0, STATUS_ONLY),))]
    parts += [_enum("DERStateKind", ((number, name) for name, number in states.items()))]
    return element("DataTypeTemplates", parts)


def _node_type(name: str, ln: str, objects: Mapping[str, str]) -> str:
    return element("LNodeType", [element("DO", name=do, type=cdc) for do, cdc in objects.items()], id=name, lnClass=ln)


def _object_type(cdc: str) -> str:
    attributes = []
    for name, constraint, basic, constructed in CLASSES[cdc]:
        more = {"type": constructed} if constructed else {}
        attributes.append(element("DA", name=name, fc=constraint, bType=basic, **more))
    return element("DOType", attributes, id=cdc, cdc=cdc)


def _behaviour() -> str:
    value = element("DA", name="stVal", fc="ST", bType="Enum", type="BehaviourModeKind")
    quality = element("DA", name="q", fc="ST", bType="Quality")
    time = element("DA", name="t", fc="ST", bType="Timestamp")
    return element("DOType", [value, quality, time], id="Beh", cdc="ENS")


def _struct(name: str) -> str:
    attributes = []
    for part, basic, constructed in _STRUCTS[name]:
        more = {"type": constructed} if constructed else {}
        attributes.append(element("BDA", name=part, bType=basic, **more))
    return element("DAType", attributes, id=name)


def _enum(name: str, values: Iterable[tuple[int, str]]) -> str:
    return element("EnumType", [element("EnumVal", words, ord=str(number)) for number, words in values], id=name)
