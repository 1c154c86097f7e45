"""What a device says of its DER: DERCapability, DERSettings, DERStatus and DERAvailability, checked and kept as said.

They are the device's own words: the node keeps them, element by element in the order of the schema, and hands them
back. What nobody's schema names is left out. What a Thing has points for is read of them as well (`der_readings`).

Source: IEEE 2030.5-2018 ``sep.xsd``, the types of these names, and the extensions of CSIP-AUS (doeModesSupported,
doeModesEnabled).
"""

from collections.abc import Callable, Mapping

from gridspine.adapters.ieee2030_5.power import INT16
from gridspine.adapters.ieee2030_5.wire import Element, hex_binary, text, whole
from gridspine.energy.mapping.xml import element
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US

Read = Callable[[Element, str], str]
"""Reads an element, named for errors, and returns what is within it, written anew; raises `Invalid`."""
TIME_MAX = 2**40
_UINT8, _UINT16, _UINT32 = 2**8 - 1, 2**16 - 1, 2**32 - 1


def _number(low: int, high: int) -> Read:
    return lambda one, where: str(whole(one.text.strip(), low, high, where))


def _hex(digits: int) -> Read:
    return lambda one, where: hex_binary(one.text.strip(), digits, where)


def _parts(**fields: Read) -> Read:
    def read(one: Element, where: str) -> str:
        return "".join(
            element(name, [field(one.needed(name), f"{where}.{name}")]) for name, field in fields.items()
        )  # fmt: skip

    return read


def _words(one: Element, where: str) -> str:
    if len(one.text) > 6:
        raise Invalid(f"{where}: at most 6 characters")
    return text("x", one.text)[3:-4]


_time = _number(0, TIME_MAX)
_signed = _parts(multiplier=_number(-9, 9), value=_number(-INT16 - 1, INT16))
_magnitude = _parts(multiplier=_number(-9, 9), value=_number(0, _UINT16))
_factor = _parts(displacement=_number(0, _UINT16), multiplier=_number(-9, 9))
_u8, _u16, _u32 = _number(0, _UINT8), _number(0, _UINT16), _number(0, _UINT32)
_i16, _percent = _number(-INT16 - 1, INT16), _number(0, 10_000)
_connect, _code = _parts(dateTime=_time, value=_hex(2)), _parts(dateTime=_time, value=_u8)
_ES: dict[str, Read] = {
    "setESDelay": _u32, "setESHighFreq": _u16, "setESHighVolt": _i16, "setESLowFreq": _u16, "setESLowVolt": _i16,
    "setESRampTms": _u32, "setESRandomDelay": _u32,
}  # fmt: skip
_RATINGS: dict[str, Read] = {
    "MaxA": _magnitude, "MaxAh": _magnitude, "MaxChargeRateVA": _signed, "MaxChargeRateW": _signed,
    "MaxDischargeRateVA": _signed, "MaxDischargeRateW": _signed, "MaxV": _signed, "MaxVA": _signed,
    "MaxVar": _signed, "MaxVarNeg": _signed, "MaxW": _signed, "MaxWh": _signed, "MinPFOverExcited": _factor,
    "MinPFUnderExcited": _factor, "MinV": _signed,
}  # fmt: skip
_SCHEMAS: dict[str, dict[str, Read]] = {
    "DERCapability": {
        "modesSupported": _hex(8), "rtgAbnormalCategory": _u8, **{f"rtg{key}": one for key, one in _RATINGS.items()},
        "rtgNormalCategory": _u8, "rtgOverExcitedPF": _factor, "rtgOverExcitedW": _signed,
        "rtgReactiveSusceptance": _magnitude, "rtgUnderExcitedPF": _factor, "rtgUnderExcitedW": _signed,
        "rtgVNom": _signed, "type": _u8, "csipaus:doeModesSupported": _hex(2),
    },
    "DERSettings": {
        "modesEnabled": _hex(8), **_ES, "setGradW": _u16, **{f"set{key}": one for key, one in _RATINGS.items()},
        "setSoftGradW": _u16, "setVNom": _signed, "setVRef": _signed, "setVRefOfs": _signed, "updatedTime": _time,
        "csipaus:doeModesEnabled": _hex(2),
    },
    "DERStatus": {
        "alarmStatus": _hex(8), "genConnectStatus": _connect, "inverterStatus": _code, "localControlModeStatus": _code,
        "manufacturerStatus": _parts(dateTime=_time, value=_words), "operationalModeStatus": _code,
        "readingTime": _time, "stateOfChargeStatus": _parts(dateTime=_time, value=_percent),
        "storageModeStatus": _code, "storConnectStatus": _connect,
    },
    "DERAvailability": {
        "availabilityDuration": _u32, "maxChargeDuration": _u32, "readingTime": _time,
        "reserveChargePercent": _percent, "reservePercent": _percent, "statVarAvail": _signed, "statWAvail": _signed,
    },
}  # fmt: skip
NAMES = tuple(_SCHEMAS)
_NEEDED: Mapping[str, frozenset[str]] = {
    "DERCapability": frozenset({"modesSupported", "rtgMaxW", "type"}),
    "DERSettings": frozenset({"setGradW", "setMaxW", "updatedTime"}),
    "DERStatus": frozenset({"readingTime"}),
    "DERAvailability": frozenset({"readingTime"}),
}


def read_document(given: Element, name: str) -> str:
    """Return what is within a DER document of that ``name``, in the schema's order; raise `Invalid` naming a field."""
    if given.name != name:
        raise Invalid(f"a {name} is needed here, this is a {given.name[:60]}")
    schema = _SCHEMAS[name]
    if lacking := sorted(one for one in _NEEDED[name] if given.find(one) is None):
        raise Invalid(f"{name}: {lacking[0]} is needed")
    found = []
    for field, read in schema.items():
        if (one := given.find(field)) is not None:
            found.append(_element(field, read(one, f"{name}.{field}")))
    return "".join(found)


def _element(name: str, inner: str) -> str:
    return element(name, [inner])


def der_readings(given: Element) -> list[tuple[str, str, float, int]]:
    """Return what a DERStatus says that points of Things are: (point, unit, value, observed [µs since 1970])."""
    found = []
    charge = given.find("stateOfChargeStatus")
    if charge is not None:
        percent, at_s = charge.whole("value", 0, 10_000), charge.whole("dateTime", 0, TIME_MAX)
        if percent is not None and at_s is not None:
            found.append(("stateOfCharge", "%", percent / 100, at_s * US))
    return found
