"""What is mirrored at a server: usage points, their readings, and what is said of a DER. Pure; no I/O.

::

    Thing ─► MirrorUsagePoint ─┬─ point ─► MirrorMeterReading (ReadingType) ─► readings, a timePeriod each
                               └─ …

Signs: flow is *forward* with the sign of the value, import positive; energy has two registers, of flow 1 and 19.
Source: as `gridspine.adapters.ieee2030_5.meter`; DERType and the bits of genConnectStatus by ``sep.xsd``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gridspine.adapters.ieee2030_5.meter import FORWARD, INT48, REVERSE
from gridspine.adapters.ieee2030_5.mrid import mrid
from gridspine.adapters.ieee2030_5.power import power
from gridspine.adapters.ieee2030_5.wire import Part, part, text
from gridspine.energy.mapping.xml import element
from gridspine.kernel.time import US

SITE_ROLE, DER_ROLE = "0003", "0049"
"""roleFlags: a mirror of the premises' aggregation point; a mirror of a DER that is submetered."""
_VALID = "0001"


class Kind(NamedTuple):
    """How a point is written: its uom, its flow, a power of ten; ``register``: it accumulates."""

    uom: int
    flow: int
    power: int
    register: bool = False


KINDS: Mapping[str, Kind] = {
    "activePower": Kind(38, FORWARD, 0), "reactivePower": Kind(63, FORWARD, 0), "voltage": Kind(29, FORWARD, -1),
    "frequency": Kind(33, FORWARD, -3), "current": Kind(5, FORWARD, -2),
    "activeEnergyImport": Kind(72, FORWARD, 0, register=True),
    "activeEnergyExport": Kind(72, REVERSE, 0, register=True),
}  # fmt: skip
"""The points that can be mirrored."""


class Read(NamedTuple):
    """A reading in the unit of its point: its time [s since 1970], over how long [s] it is a mean, its value."""

    start_s: int
    lasts_s: int
    value: float


def usage_point(
    lfdi: str, thing: str, title: str, points: Sequence[str], *, site: bool, every_s: int, pen: int
) -> Part:  # fmt: skip
    """Return the MirrorUsagePoint of a Thing, with the kinds of its readings, which come every ``every_s`` [s]."""
    return part(
        "MirrorUsagePoint", text("mRID", mrid("MirrorUsagePoint", lfdi, thing, pen=pen)),
        text("description", _words(title)), text("roleFlags", SITE_ROLE if site else DER_ROLE),
        text("serviceCategoryKind", 0), text("status", 1), text("deviceLFDI", lfdi),
        *(_meter(lfdi, thing, point, (), every_s, pen) for point in points), text("postRate", every_s),
    )  # fmt: skip


def posted(lfdi: str, thing: str, found: Mapping[str, Sequence[Read]], *, every_s: int, pen: int) -> Part:
    """Return the readings of a Thing, by its points, as they are posted to its usage point."""
    given = [_meter(lfdi, thing, point, reads, every_s, pen) for point, reads in found.items() if reads]
    return part("MirrorMeterReadingList", *given, all=str(len(given)), results=str(len(given)))


def _meter(lfdi: str, thing: str, point: str, reads: Sequence[Read], every_s: int, pen: int) -> str:
    kind = KINDS[point]
    id_ = mrid("MirrorMeterReading", lfdi, thing, point, pen=pen)
    type_ = element("ReadingType", [
        text("accumulationBehaviour", 3 if kind.register else 12), text("commodity", 1),
        text("dataQualifier", 0 if kind.register else 2), text("flowDirection", kind.flow),
        text("intervalLength", 0 if kind.register else every_s), text("kind", 12 if kind.register else 37),
        text("powerOfTenMultiplier", kind.power), text("uom", kind.uom),
    ])  # fmt: skip
    sets = ""
    if reads:
        begin_s, end_s = reads[0].start_s, reads[-1].start_s + reads[-1].lasts_s
        sets = element("MirrorReadingSet", [
            text("mRID", mrid("MirrorReadingSet", lfdi, thing, point, str(begin_s), pen=pen)),
            _period(begin_s, end_s - begin_s), *(_reading(kind, one) for one in reads),
        ])  # fmt: skip
    inner = [text("mRID", id_), text("description", point[:32]), sets, type_]
    return element("MirrorMeterReading", [one for one in inner if one])


def _reading(kind: Kind, one: Read) -> str:
    value = round(one.value * 10**-kind.power)
    return element("Reading", [
        text("qualityFlags", _VALID), _period(one.start_s, one.lasts_s), text("value", max(-INT48, min(INT48, value))),
    ])  # fmt: skip


def _period(start_s: int, lasts_s: int) -> str:
    return element("timePeriod", [text("duration", lasts_s), text("start", start_s)])


# -- what is said of a DER ---------------------------------------------------------------------------------------------


def capability(rated_w: float, type_: int, modes: int, doe_modes: int) -> Part:
    """Return DERCapability: ``type_`` is its DERType; ``modes`` and ``doe_modes`` are bitmaps."""
    return part(
        "DERCapability", text("modesSupported", f"{modes:08X}"), power("rtgMaxW", rated_w, limit=False),
        text("type", type_), text("csipaus:doeModesSupported", f"{doe_modes:02X}"),
    )  # fmt: skip


def settings(rated_w: float, modes: int, doe_modes: int, at_us: int) -> Part:
    """Return DERSettings; setGradW is 27, a hundredth of a percent of the rating a second: a full ramp in an hour."""
    return part(
        "DERSettings", text("modesEnabled", f"{modes:08X}"), text("setGradW", 27),
        power("setMaxW", rated_w, limit=False), text("updatedTime", at_us // US),
        text("csipaus:doeModesEnabled", f"{doe_modes:02X}"),
    )  # fmt: skip


def status(at_us: int, *, connected: bool | None = None) -> Part:
    """Return DERStatus; ``connected``: whether it is connected, available and operating, None: nothing is known."""
    at_s = at_us // US
    said = [] if connected is None else [
        element("genConnectStatus", [text("dateTime", at_s), text("value", "07" if connected else "00")]),
        element("operationalModeStatus", [text("dateTime", at_s), text("value", 2 if connected else 1)]),
    ]  # fmt: skip
    return part("DERStatus", *said, text("readingTime", at_s))


def availability(at_us: int, available_w: float) -> Part:
    """Return DERAvailability: what power may be had of it now [W]."""
    return part("DERAvailability", text("readingTime", at_us // US), power("statWAvail", available_w, limit=False))


def end_device(lfdi: str, sfdi: int, category: int, at_us: int) -> Part:
    """Return the EndDevice that a client announces."""
    return part(
        "EndDevice", text("deviceCategory", f"{category:08X}"), text("lFDI", lfdi), text("sFDI", sfdi),
        text("changedTime", at_us // US),
    )  # fmt: skip


def connection_point(id_: str) -> Part:
    """Return the ConnectionPoint of CSIP-AUS."""
    return part("csipaus:ConnectionPoint", text("csipaus:connectionPointId", id_[:32]))


def slots(values: Iterable[float | None], begin_us: int, every_s: int, *, register: bool) -> list[Read]:
    """Return the readings that values of intervals are, those that are none left out; ``begin_us`` is the first's."""
    begin_s, lasts_s = begin_us // US, 0 if register else every_s
    return [
        Read(begin_s + at * every_s, lasts_s, value)
        for at, value in enumerate(values)
        if value is not None
    ]  # fmt: skip


def _words(title: str) -> str:
    return title.encode()[:32].decode(errors="ignore")
