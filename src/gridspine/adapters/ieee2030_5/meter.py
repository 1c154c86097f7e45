"""Mirror usage points and their readings: what a device meters, as points of Things. Pure; no I/O.

::

    MirrorUsagePoint   mRID, roleFlags (whose: the site's, or the device's), postRate
      MirrorMeterReading   mRID, ReadingType: uom, kind, flow, phase, power of ten ─► point name, unit, sign
        Reading              value · 10^power, timePeriod, qualityFlags ─► value, observed, quality

Signs: flow *forward* (1) is delivered to the customer, our import; *reverse* (19) received from it. A power is import
positive: what is of reverse flow is turned. Energy keeps two registers, by its flow. A reading stands for its
timePeriod: powers and the like are observed at its end.

Source: IEEE 2030.5-2018 ``sep.xsd``: MirrorUsagePoint, ReadingType, UomType, FlowDirectionType, RoleFlagsType,
ReadingBase.qualityFlags. Units by the table of `gridspine.energy.mapping.ieee2030_5`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from gridspine.adapters.ieee2030_5.der_document import TIME_MAX
from gridspine.adapters.ieee2030_5.wire import Element
from gridspine.kernel.errors import Invalid
from gridspine.kernel.quality import Quality
from gridspine.kernel.time import US

INT48 = 2**47 - 1
FORWARD, REVERSE = 1, 19
MAX_METERS, MAX_READINGS = 100, 5_000
"""Kinds of readings of one usage point; readings of one post."""
_SITE = 0x02
"""Bit 1 of roleFlags: the premises' aggregation point."""
_PHASES = {0: "", 32: "C", 33: "C", 64: "B", 65: "B", 128: "A", 129: "A", 224: "", 132: "AB", 66: "BC", 40: "CA"}
_UNITS = {
    38: ("activePower", "W"), 63: ("reactivePower", "var"), 61: ("apparentPower", "VA"), 29: ("voltage", "V"),
    5: ("current", "A"), 33: ("frequency", "Hz"), 72: ("activeEnergy", "Wh"), 73: ("reactiveEnergy", "varh"),
    71: ("apparentEnergy", "VAh"), 65: ("powerFactor", "1"), 23: ("temperature", "degC"),
}  # fmt: skip
"""uom → the property it is of, and our unit."""
_TURNED = {38, 63}
_REGISTERS = {72, 73, 71}
_STATISTIC = {0: "", 2: "", 12: "", 8: "Maximum", 9: "Minimum", 29: "StandardDeviation", 30: "StandardDeviation"}
_CUMULATIVE = {0, 3, 9, 1}
_FIELDS = {
    "accumulationBehaviour": 12, "commodity": 16, "dataQualifier": 30, "flowDirection": 19, "intervalLength": 2**32 - 1,
    "kind": 255, "phase": 224, "powerOfTenMultiplier": 9, "uom": 255,
}  # fmt: skip


class Meter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A MirrorMeterReading: its ``mrid`` and its ReadingType, by the names of the fields."""

    mrid: str
    type: dict[str, int]
    description: str = ""


class UsagePoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A MirrorUsagePoint. ``device`` is the key of the EndDevice it is of; ``number`` its place in paths."""

    mrid: str
    device: str
    lfdi: str
    role_flags: str
    service: int
    status: int
    meters: tuple[Meter, ...]
    number: str = ""
    description: str = ""
    post_rate_s: int = 0

    @property
    def site(self) -> bool:
        """Whether it is of the connection point, and not of the device."""
        return bool(int(self.role_flags, 16) & _SITE)

    @property
    def mrids(self) -> set[str]:
        """Its own mRID, and those of its kinds of readings."""
        return {self.mrid, *(one.mrid for one in self.meters)}

    def meter(self, mrid: str) -> Meter | None:
        """Return the kind of readings with that mRID."""
        return next((one for one in self.meters if one.mrid == mrid), None)


class Metered(NamedTuple):
    """A reading of ``point`` in ``unit``; ``observed_us`` [µs since 1970]; ``quality`` (`gridspine.kernel.quality`)."""

    point: str
    unit: str
    observed_us: int
    value: float
    quality: int


def read_usage_point(given: Element, device: str) -> UsagePoint:
    """Return what a MirrorUsagePoint says; raise `Invalid` naming a field."""
    if given.name != "MirrorUsagePoint":
        raise Invalid(f"a MirrorUsagePoint is needed here, this is a {given.name[:60]}")
    meters = tuple(read_meter(one) for one in given.all("MirrorMeterReading"))
    if len(meters) > MAX_METERS:
        raise Invalid(f"MirrorUsagePoint: at most {MAX_METERS} MirrorMeterReadings")
    if len({one.mrid for one in meters}) < len(meters):
        raise Invalid("MirrorUsagePoint: an mRID is given twice")
    service, status = given.whole("serviceCategoryKind", 0, 255), given.whole("status", 0, 255)
    lfdi = given.hex("deviceLFDI", 40)
    if service is None or status is None or lfdi is None:
        raise Invalid("MirrorUsagePoint: deviceLFDI, serviceCategoryKind and status are needed")
    return UsagePoint(
        read_mrid(given), device, lfdi, given.hex("roleFlags", 4) or "00", service, status, meters,
        description=(given.said("description") or "")[:32], post_rate_s=given.whole("postRate", 0, 2**32 - 1) or 0,
    )  # fmt: skip


def read_mrid(given: Element) -> str:
    """Return the mRID of a document; raise `Invalid` when there is none."""
    found = given.hex("mRID", 32)
    if found is None:
        raise Invalid(f"{given.name}: mRID is needed")
    return found


def read_meter(given: Element) -> Meter:
    """Return what a MirrorMeterReading says of its kind; raise `Invalid` naming a field."""
    kind = given.find("ReadingType")
    found: dict[str, int] = {}
    if kind is not None:
        for name, high in _FIELDS.items():
            number = kind.whole(name, -9 if name == "powerOfTenMultiplier" else 0, high)
            if number is not None:
                found[name] = number
    return Meter(read_mrid(given), found, (given.said("description") or "")[:32])


def point_of(meter: Meter) -> tuple[str, str, int] | None:
    """Return the point that a kind of readings is of, its unit, and 1 or -1, the sign to turn it by; None for none."""
    kind = meter.type
    known = _UNITS.get(kind.get("uom", 0))
    phase = _PHASES.get(kind.get("phase", 0))
    statistic = _STATISTIC.get(kind.get("dataQualifier", 0))
    if known is None or phase is None or statistic is None or kind.get("commodity", 0) not in {0, 1, 2}:
        return None
    name, unit = known
    uom, flow = kind["uom"], kind.get("flowDirection", 0)
    if uom in _REGISTERS:
        if kind.get("accumulationBehaviour", 0) not in _CUMULATIVE or flow not in {FORWARD, REVERSE}:
            return None
        return name + ("Import" if flow == FORWARD else "Export") + phase, unit, 1
    turned = -1 if uom in _TURNED and flow == REVERSE else 1
    return name + phase + statistic, unit, turned


def readings_of(meter: Meter, given: Element, now_us: int) -> Iterator[Metered]:
    """Yield the readings that a MirrorMeterReading has; raise `Invalid` for one whose numbers cannot be."""
    found = point_of(meter)
    point, unit, sign = found or (f"mirrorMeterReading{meter.mrid}", "", 1)
    power = meter.type.get("powerOfTenMultiplier", 0)
    sets = given.all("MirrorReadingSet")
    for one in (*given.all("Reading"), *(reading for within in sets for reading in within.all("Reading"))):
        value = one.whole("value", -INT48 - 1, INT48)
        if value is None:
            continue
        observed_us, doubt = _observed(one, now_us)
        yield Metered(point, unit, observed_us, scale(value, power) * sign, _quality(one) | doubt)


def scale(value: int, power: int) -> float:
    """Return ``value`` times ten to ``power``, as near as a float can be: divided by powers below 0, not multiplied."""
    return float(value * 10**power) if power >= 0 else value / 10**-power


def _observed(given: Element, now_us: int) -> tuple[int, int]:
    """Return when a reading was observed, at its period's end, and what is to be said of one that is to come."""
    period = given.find("timePeriod")
    if period is None:
        return now_us, 0
    start_s, duration_s = period.whole("start", 0, TIME_MAX), period.whole("duration", 0, 2**32 - 1)
    if start_s is None or duration_s is None:
        raise Invalid("timePeriod: start and duration are needed")
    if start_s * US <= now_us < (start_s + duration_s) * US:
        return now_us, int(Quality.CLOCK_UNSYNCHRONISED)
    return (start_s + duration_s) * US, 0


def _quality(given: Element) -> int:
    """Bit 0 valid, 1 manually edited, 2 and 3 estimated, 4 questionable, 5 derived, 6 forecast."""
    text = given.hex("qualityFlags", 4)
    flags = int(text, 16) if text else 0
    quality = int(Quality.QUESTIONABLE) if flags & 0x10 else 0
    quality |= int(Quality.SUBSTITUTED) if flags & 0x02 else 0
    return quality | (int(Quality.ESTIMATED) if flags & 0x0C else 0)
