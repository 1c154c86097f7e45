"""The 18-field name of a reading type as IEC 61968-9 writes it: ``0.0.0.12.1.1.37.0.0.0.0.0.0.0.224.0.38.0``.

Fields, in order: 1 macro period, 2 data qualifier, 3 measuring period, 4 accumulation, 5 flow direction, 6 commodity,
7 kind, 8-9 interharmonic, 10-11 argument, 12 time of use, 13 critical peak, 14 tier, 15 phases, 16 multiplier,
17 unit, 18 currency.

Source: the enumerations in NAESB ESPI 4.0 (``espi.xsd``: AccumulationKind, FlowDirectionKind, CommodityKind,
MeasurementKind, PhaseCodeKind, UnitSymbolKind), which take over those of IEC 61968-9; Annex C of IEC 61968-9 itself
was not read, and so field 3 is written for intervals of 15, 30 and 60 minutes only.
"""

from typing import Final

from gridspine.kernel.reading_type import ReadingType
from gridspine.kernel.units import unit

ACCUMULATION: Final = {"instantaneous": 12, "register": 1, "interval": 4, "state": 12, "setting": 0}
FLOW: Final = {"none": 0, "import": 1, "export": 19, "net": 4, "total": 20}
COMMODITY: Final = {"electricity": 1, "gas": 7, "water": 9, "heat": 12, "cooling": 13, "none": 0}
PHASE: Final = {"all": 224, "a": 129, "b": 65, "c": 33, "n": 16, "ab": 132, "bc": 66, "ca": 40}
PERIOD: Final = {900: 2, 1800: 5, 3600: 7}
KIND: Final = {
    "active_power": 37, "apparent_power": 37, "reactive_power": 37, "active_energy": 12, "apparent_energy": 12,
    "reactive_energy": 12, "voltage": 54, "current": 4, "frequency": 15, "temperature": 46, "volume": 58,
    "volume_flow": 155,
}  # fmt: skip
UNIT: Final = {
    "W": (38, 0), "kW": (38, 3), "MW": (38, 6), "VA": (61, 0), "kVA": (61, 3), "MVA": (61, 6), "var": (63, 0),
    "kvar": (63, 3), "Mvar": (63, 6), "Wh": (72, 0), "kWh": (72, 3), "MWh": (72, 6), "VAh": (71, 0), "kVAh": (71, 3),
    "varh": (73, 0), "kvarh": (73, 3), "J": (31, 0), "kJ": (31, 3), "MJ": (31, 6), "GJ": (31, 9), "V": (29, 0),
    "mV": (29, -3), "kV": (29, 3), "A": (5, 0), "mA": (5, -3), "kA": (5, 3), "Ah": (106, 0), "Hz": (33, 0),
    "Hz/s": (75, 0), "deg": (9, 0), "rad": (10, 0), "degC": (23, 0), "K": (6, 0), "m3": (42, 0), "l": (134, 0),
    "m3/h": (125, 0), "m3/s": (45, 0), "l/h": (137, 0), "l/s": (82, 0), "m/s": (43, 0), "m": (2, 0), "mm": (2, -3),
    "km": (2, 3), "s": (27, 0), "min": (159, 0), "h": (160, 0), "lx": (34, 0), "Pa": (39, 0), "hPa": (39, 2),
    "kPa": (39, 3), "mbar": (39, 2), "bar": (39, 5), "code": (114, 0), "1": (0, 0), "%": (0, -2), "ppm": (0, -6),
}  # fmt: skip
"""Our unit → the code of its unit symbol there, and the power of ten."""


def reading_type_code(reading_type: ReadingType) -> str | None:
    """Return the 18 fields of ``reading_type``; None where its unit, or the length of its interval, has no code."""
    code = UNIT.get(reading_type.unit)
    period = PERIOD.get(reading_type.interval_s, 0)
    if code is None or (reading_type.interval_s and not period):
        return None
    symbol, power = code
    electric = reading_type.commodity == "electricity" and reading_type.unit not in {"code", "1", "%"}
    fields = [0] * 18
    fields[2] = period
    fields[3] = ACCUMULATION[reading_type.kind]
    fields[4] = FLOW[reading_type.flow]
    fields[5] = COMMODITY[reading_type.commodity]
    fields[6] = KIND.get(unit(reading_type.unit).quantity, 0)
    fields[14] = PHASE[reading_type.phase] if electric else 0
    fields[15] = power
    fields[16] = symbol
    return ".".join(map(str, fields))
