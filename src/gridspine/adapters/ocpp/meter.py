"""Meter values to readings: signs, units, phases, directions.

=================================  ====================  ============================================================
measurand                          point                 how
=================================  ====================  ============================================================
Energy.Active.Import.Register      activeEnergyImport    Wh; a register, as it stands; per phase only: their sum
Energy.Active.Export.Register      activeEnergyExport    the same: import and export are two registers, never netted
Energy.Reactive.Import.Register    reactiveEnergyImport  varh, the same
Energy.Reactive.Export.Register    reactiveEnergyExport  varh, the same
Power.Active.Import, .Export       activePower           W, import positive: import minus export
Power.Reactive.Import, .Export     reactivePower         var, import positive: import minus export
Current.Import, Current.Export     current               A, no direction: the most loaded phase
Voltage                            voltage               V, the mean of the phases to neutral
Frequency                          frequency             Hz
Power.Factor                       powerFactor           1
SoC                                stateOfCharge         %
Temperature                        temperature           degC
=================================  ====================  ============================================================

A value counts where it is measured at the outlet (what no location means), the state of charge and a temperature also
where they come from the vehicle; of the charge point as a whole (EVSE 0) the inlet counts too. What a message says of
one moment counts together, in however many elements it says it. What a Thing's model has no point for, other locations,
phase to phase voltages and energy by intervals (whose length OCPP does not say) are no readings here: they are counted
by measurand. Signed values are kept as they came, and are no numbers.

Sources: OCPP 1.6 §7.31 (Measurand), §7.28 (Location), §7.33 (Phase); OCPP 2.0.1 Part 2, MeasurandEnumType,
SampledValueType, as their JSON schemas have them.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from gridspine.adapters.ocpp.wire import Version
from gridspine.kernel.errors import Invalid
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import ItemProblem
from gridspine.kernel.time import parse_rfc3339
from gridspine.kernel.units import conversion, unit

REGISTER = "Energy.Active.Import.Register"
_BEGIN = "Transaction.Begin"
MAX_EXPONENT = 12
"""Powers of ten that a multiplier may have, either way: a terawatt-hour register in nano-units is within."""
_UNITS = {"Celsius": "degC", "Celcius": "degC", "Percent": "%", "Hertz": "Hz"}
"""What OCPP calls them (1.6 with its spelling mistake), and our symbols."""
_TO_NEUTRAL = frozenset({"L1", "L2", "L3", "L1-N", "L2-N", "L3-N"})


class Row(NamedTuple):
    """A reading of ``point`` in ``unit``, observed at ``observed_us`` [µs since 1970]."""

    point: str
    unit: str
    observed_us: int
    value: float
    quality: int = Quality.GOOD


class Taken(NamedTuple):
    """What meter values come to: ``rows``, ``problems`` of those that are no good, ``left_out`` by measurand.

    ``signed`` are the sampled values with a signature, as they came, with their times; ``number`` is that of their
    message, -1 while they are not kept, or there are none. ``begin_wh`` is the import register that is said to be that
    of a transaction's beginning [Wh].
    """

    rows: list[Row]
    problems: list[ItemProblem]
    signed: list[dict[str, Any]]
    left_out: list[str]
    number: int = -1
    begin_wh: float | None = None


class _Sample(NamedTuple):
    measurand: str
    phase: str
    value: float
    context: str


def _total(samples: list[_Sample]) -> float | None:
    whole = [one.value for one in samples if not one.phase]
    parts = {one.phase[:2]: one.value for one in samples if one.phase in _TO_NEUTRAL}
    return whole[-1] if whole else sum(parts.values()) if parts else None


def _most(samples: list[_Sample]) -> float | None:
    parts = [abs(one.value) for one in samples if one.phase in _TO_NEUTRAL]
    whole = [abs(one.value) for one in samples if not one.phase]
    return max(parts or whole, default=None)


def _mean(samples: list[_Sample]) -> float | None:
    parts = [one.value for one in samples if one.phase in _TO_NEUTRAL]
    values = parts or [one.value for one in samples if not one.phase]
    return sum(values) / len(values) if values else None


@dataclass(frozen=True, eq=False, slots=True)
class _Rule:
    """How ``measurands`` come to a point: each combined over its phases, then added with its sign."""

    point: str
    unit: str
    measurands: dict[str, int]
    combine: Callable[[list[_Sample]], float | None] = _total
    of_vehicle: bool = False


_RULES = (
    _Rule("activeEnergyImport", "Wh", {REGISTER: 1}),
    _Rule("activeEnergyExport", "Wh", {"Energy.Active.Export.Register": 1}),
    _Rule("reactiveEnergyImport", "varh", {"Energy.Reactive.Import.Register": 1}),
    _Rule("reactiveEnergyExport", "varh", {"Energy.Reactive.Export.Register": 1}),
    _Rule("activePower", "W", {"Power.Active.Import": 1, "Power.Active.Export": -1}),
    _Rule("reactivePower", "var", {"Power.Reactive.Import": 1, "Power.Reactive.Export": -1}),
    _Rule("current", "A", {"Current.Import": 1, "Current.Export": 1}, _most),
    _Rule("voltage", "V", {"Voltage": 1}, _mean),
    _Rule("frequency", "Hz", {"Frequency": 1}),
    _Rule("powerFactor", "1", {"Power.Factor": 1}),
    _Rule("stateOfCharge", "%", {"SoC": 1}, of_vehicle=True),
    _Rule("temperature", "degC", {"Temperature": 1}, of_vehicle=True),
)
_RULE_OF = {measurand: rule for rule in _RULES for measurand in rule.measurands}


def take(values: Iterable[Mapping[str, Any]], version: Version, evse: int, points: frozenset[str]) -> Taken:
    """Return what the meter values of ``evse`` (as their schema has them) come to for a Thing with ``points``."""
    taken = Taken([], [], [], [])
    index = 0
    by_time: dict[int, list[_Sample]] = {}
    for value in values:
        samples = by_time.setdefault(parse_rfc3339(value["timestamp"]), [])
        for sampled in value["sampledValue"]:
            sample = _sample(sampled, version, evse, points, taken, index, value["timestamp"])
            if sample is not None:
                samples.append(sample)
            index += 1
    for observed_us, samples in by_time.items():
        taken.rows.extend(_rows(samples, observed_us))
    begin = [one for samples in by_time.values() for one in samples if one.context == _BEGIN]
    return taken._replace(begin_wh=_total([one for one in begin if one.measurand == REGISTER]))


def _rows(samples: list[_Sample], observed_us: int) -> Iterable[Row]:
    by_measurand: dict[str, list[_Sample]] = {}
    for sample in samples:
        by_measurand.setdefault(sample.measurand, []).append(sample)
    for rule in dict.fromkeys(_RULE_OF[measurand] for measurand in by_measurand):
        parts = [
            (sign, value)
            for measurand, sign in rule.measurands.items()
            if measurand in by_measurand and (value := rule.combine(by_measurand[measurand])) is not None
        ]
        if not parts:
            continue
        values = [sign * value for sign, value in parts]
        yield Row(rule.point, rule.unit, observed_us, max(values) if rule.combine is _most else sum(values))


def _sample(
    sampled: Mapping[str, Any], version: Version, evse: int, points: frozenset[str], taken: Taken, index: int, time: str
) -> _Sample | None:
    """Return a sampled value in its rule's unit; None for one that is signed only, left out, or no good."""
    measurand = sampled.get("measurand", REGISTER)
    if _signed(sampled):
        taken.signed.append({"timestamp": time, "sampledValue": sampled})
        if sampled.get("format") == "SignedData":
            return None
    rule = _RULE_OF.get(measurand)
    if rule is None or rule.point not in points or not _is_here(sampled, rule, evse):
        taken.left_out.append(measurand)
        return None
    try:
        number, spelling = _number(sampled, version)
        value = _in_unit(number, _UNITS.get(spelling, spelling) or rule.unit, rule.unit)
    except Invalid as error:
        taken.problems.append(ItemProblem(index, "not-a-number", error.detail, rule.point))
        return None
    return _Sample(measurand, sampled.get("phase", ""), value, sampled.get("context", ""))


def _signed(sampled: Mapping[str, Any]) -> bool:
    return sampled.get("format") == "SignedData" or "signedMeterValue" in sampled


def _is_here(sampled: Mapping[str, Any], rule: _Rule, evse: int) -> bool:
    if rule.point == "voltage" and sampled.get("phase", "") in {"L1-L2", "L2-L3", "L3-L1", "N"}:
        return False
    if sampled.get("phase") == "N":
        return False
    location = sampled.get("location", "Outlet")
    return location == "Outlet" or (rule.of_vehicle and location == "EV") or (evse == 0 and location == "Inlet")


def _number(sampled: Mapping[str, Any], version: Version) -> tuple[float, str]:
    """Return the number and the spelling of its unit, "" where OCPP leaves it to the measurand."""
    if version == "1.6":
        try:
            number = float(sampled["value"])
        except ValueError as error:
            raise Invalid(f"{sampled['value'][:40]!r} is not a number") from error
        spelling = sampled.get("unit", "")
    else:
        of_measure = sampled.get("unitOfMeasure", {})
        exponent = of_measure.get("multiplier", 0)
        if abs(exponent) > MAX_EXPONENT:
            raise Invalid(f"multiplier {exponent}: a power of ten beyond ±{MAX_EXPONENT}")
        try:
            number, spelling = sampled["value"] * 10.0**exponent, of_measure.get("unit", "")
        except OverflowError as error:
            raise Invalid("a number beyond what one can be") from error
    if not math.isfinite(number):
        raise Invalid("not a finite number")
    return number, spelling


def _in_unit(number: float, spelling: str, wanted: str) -> float:
    if spelling == wanted:
        return number
    if spelling == "Fahrenheit":
        number, spelling = (number - 32.0) / 1.8, "degC"
    scale, shift = conversion(unit(spelling), unit(wanted))
    return number * scale + shift


def encode_signed(signed: list[dict[str, Any]], transaction: str) -> bytes:
    """Return signed values for the store, untouched, with the transaction they belong to ("" for none)."""
    return msgspec.json.encode({"transaction": transaction, "values": signed})
