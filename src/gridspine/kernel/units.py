"""Quantities and units: static SI factors with UCUM and UN/CEFACT Recommendation 20 codes.

W, VA and var are three quantities, not one: active, apparent and reactive power share a dimension and must never
be converted into each other. So are their energies. Heat is energy like any other (J, Wh); the reading type's
commodity tells it apart. A power factor is a ratio.

Sources: UCUM (case-sensitive codes), UN/CEFACT Recommendation 20 (common codes), SenML RFC 8428 §12.1 and
RFC 8798 §3 (unit symbols accepted as other spellings).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gridspine.kernel.errors import Invalid


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of one quantity: ``value_si = value * factor + offset``.

    ``symbol`` is how gridspine writes it, ``ucum`` and ``rec20`` are its codes elsewhere ("" where there is none).
    """

    symbol: str
    quantity: str
    factor: float
    ucum: str
    rec20: str
    offset: float = 0.0


_TABLE: Final = (
    Unit("W", "active_power", 1.0, "W", "WTT"),
    Unit("kW", "active_power", 1e3, "kW", "KWT"),
    Unit("MW", "active_power", 1e6, "MW", "MAW"),
    Unit("VA", "apparent_power", 1.0, "V.A", "D46"),
    Unit("kVA", "apparent_power", 1e3, "kV.A", "KVA"),
    Unit("MVA", "apparent_power", 1e6, "MV.A", "MVA"),
    Unit("var", "reactive_power", 1.0, "", "D44"),
    Unit("kvar", "reactive_power", 1e3, "", "KVR"),
    Unit("Mvar", "reactive_power", 1e6, "", "MAR"),
    Unit("Wh", "active_energy", 3600.0, "W.h", "WHR"),
    Unit("kWh", "active_energy", 3.6e6, "kW.h", "KWH"),
    Unit("MWh", "active_energy", 3.6e9, "MW.h", "MWH"),
    Unit("J", "active_energy", 1.0, "J", "JOU"),
    Unit("kJ", "active_energy", 1e3, "kJ", "KJO"),
    Unit("MJ", "active_energy", 1e6, "MJ", "3B"),
    Unit("GJ", "active_energy", 1e9, "GJ", "GV"),
    Unit("VAh", "apparent_energy", 3600.0, "V.A.h", ""),
    Unit("kVAh", "apparent_energy", 3.6e6, "kV.A.h", "C79"),
    Unit("varh", "reactive_energy", 3600.0, "", ""),
    Unit("kvarh", "reactive_energy", 3.6e6, "", "K3"),
    Unit("mV", "voltage", 1e-3, "mV", "2Z"),
    Unit("V", "voltage", 1.0, "V", "VLT"),
    Unit("kV", "voltage", 1e3, "kV", "KVT"),
    Unit("mA", "current", 1e-3, "mA", "4K"),
    Unit("A", "current", 1.0, "A", "AMP"),
    Unit("kA", "current", 1e3, "kA", "B22"),
    Unit("Ah", "charge", 3600.0, "A.h", "AMH"),
    Unit("Hz", "frequency", 1.0, "Hz", "HTZ"),
    Unit("Hz/s", "frequency_rate", 1.0, "Hz/s", ""),
    Unit("rpm", "rotational_speed", 1 / 60, "{rev}/min", "RPM"),
    Unit("rad", "angle", 1.0, "rad", "C81"),
    Unit("deg", "angle", math.pi / 180, "deg", "DD"),
    Unit("degC", "temperature", 1.0, "Cel", "CEL", 273.15),
    Unit("K", "temperature", 1.0, "K", "KEL"),
    Unit("%", "ratio", 0.01, "%", "P1"),
    Unit("1", "ratio", 1.0, "1", "C62"),
    Unit("ppm", "ratio", 1e-6, "[ppm]", "59"),
    Unit("mm", "length", 1e-3, "mm", "MMT"),
    Unit("m", "length", 1.0, "m", "MTR"),
    Unit("km", "length", 1e3, "km", "KMT"),
    Unit("m3", "volume", 1.0, "m3", "MTQ"),
    Unit("l", "volume", 1e-3, "L", "LTR"),
    Unit("m3/s", "volume_flow", 1.0, "m3/s", "MQS"),
    Unit("m3/h", "volume_flow", 1 / 3600, "m3/h", "MQH"),
    Unit("l/s", "volume_flow", 1e-3, "L/s", "G51"),
    Unit("l/min", "volume_flow", 1e-3 / 60, "L/min", "L2"),
    Unit("l/h", "volume_flow", 1e-3 / 3600, "L/h", "E32"),
    Unit("MJ/m3", "calorific_value", 1e6, "MJ/m3", "JM"),
    Unit("s", "duration", 1.0, "s", "SEC"),
    Unit("min", "duration", 60.0, "min", "MIN"),
    Unit("h", "duration", 3600.0, "h", "HUR"),
    Unit("m/s", "speed", 1.0, "m/s", "MTS"),
    Unit("W/m2", "irradiance", 1.0, "W/m2", "D54"),
    Unit("lx", "illuminance", 1.0, "lx", "LUX"),
    Unit("Pa", "pressure", 1.0, "Pa", "PAL"),
    Unit("hPa", "pressure", 100.0, "hPa", "A97"),
    Unit("mbar", "pressure", 100.0, "mbar", "MBR"),
    Unit("kPa", "pressure", 1e3, "kPa", "KPA"),
    Unit("bar", "pressure", 1e5, "bar", "BAR"),
    Unit("g/kWh", "carbon_intensity", 1e-3 / 3.6e6, "g/(kW.h)", ""),
    Unit("code", "code", 1.0, "", ""),
)
_SENML_SPELLINGS: Final = {
    "Cel": "degC",
    "/": "1",
    "VAr": "var",
    "kVAr": "kvar",
    "VArh": "varh",
    "kVArh": "kvarh",
}
UNITS: Final[dict[str, Unit]] = {unit.symbol: unit for unit in _TABLE}
_BY_SPELLING: Final[dict[str, Unit]] = {
    **{unit.ucum: unit for unit in reversed(_TABLE) if unit.ucum},
    **{spelling: UNITS[symbol] for spelling, symbol in _SENML_SPELLINGS.items()},
    **UNITS,
}


def unit(spelling: str) -> Unit:
    """Return the unit that ``spelling`` names (our symbol, UCUM, or SenML); raise `Invalid` when none does."""
    found = _BY_SPELLING.get(spelling)
    if found is None:
        raise Invalid(f"unit {spelling[:32]!r} is not known; known are: {', '.join(UNITS)}")
    return found


def conversion(source: Unit, target: Unit) -> tuple[float, float]:
    """Return ``(scale, shift)`` so that ``value_target = value_source * scale + shift``.

    Raises `Invalid` when the two measure different quantities (W is not VA is not var).
    """
    if source.quantity != target.quantity:
        raise Invalid(f"{source.symbol} is a {source.quantity}, {target.symbol} is a {target.quantity}")
    return source.factor / target.factor, (source.offset - target.offset) / target.factor


def convert(values: npt.NDArray[np.float64] | float, source: Unit, target: Unit) -> npt.NDArray[np.float64] | float:
    """Return ``values`` [source], of any shape, as the same quantity in ``target``."""
    if source == target:
        return values
    scale, shift = conversion(source, target)
    return values * scale + shift
