"""Reports of VENs: what they offer as points of Things, and their values as readings. Pure; no I/O.

::

    oadrReportDescription   rID · resourceID · itemBase · reportType ─► Thing, point, unit, factor: what is asked for
    oadrReportPayload       rID · number · data quality              ─► reading: observed, value, quality

The unit is the item's own, times its scale. Power is import positive, as on the node. Energy is a register where the
report is a *reading*; energy of an interval (usage) is none of the points that are known by themselves. A value is
observed at the end of its interval.

Source: reportType, readingType and DataQuality of ``oadr_ei_20b.xsd``, ``oadr_20b.xsd``; the text was not read: that
power is import positive is this node's reading of *usage* and *demand*.
"""

from collections.abc import Iterator

from gridspine.adapters.openadr2.book import Asked, Column
from gridspine.adapters.openadr2.message_report import (
    Description,
    Report,
    ReportPayload,
    ReportRequest,
    Specifier,
    Wanted,
)
from gridspine.adapters.openadr2.ven import Ven
from gridspine.adapters.openadr2.wire_shape import SCALES
from gridspine.kernel.ids import point_id
from gridspine.kernel.quality import Quality

Row = tuple[str, str, int, float, int]
METADATA = "METADATA_"
_MEANS: dict[tuple[str, str], tuple[str, str, float]] = {
    ("power:powerReal", "W"): ("activePower", "W", 1.0),
    ("power:powerReal", "J/s"): ("activePower", "W", 1.0),
    ("power:powerReactive", "VAR"): ("reactivePower", "var", 1.0),
    ("power:powerApparent", "VA"): ("apparentPower", "VA", 1.0),
    ("power:energyReal", "Wh"): ("activeEnergyImport", "Wh", 1.0),
    ("power:voltage", "V"): ("voltage", "V", 1.0),
    ("oadr:current", "A"): ("current", "A", 1.0),
    ("oadr:frequency", "Hz"): ("frequency", "Hz", 1.0),
    ("oadr:temperature", "celsius"): ("temperature", "degC", 1.0),
}
"""Item and units → point, its unit, and what to multiply by."""
_REGISTERS = frozenset({"activeEnergyImport"})
_POWERS = frozenset({"reading", "usage", "demand", "avgDemand"})
_QUALITIES = {
    "No Quality": None, "No New Value": Quality.OLD_DATA, "Quality Bad": Quality.INVALID,
    "Quality Uncertain": Quality.QUESTIONABLE, "Quality Limit": Quality.QUESTIONABLE | Quality.OUT_OF_RANGE,
    "Quality Good": Quality.GOOD,
}  # fmt: skip


def column_of(ven: Ven, given: Description) -> Column | None:
    """Return which point what is described is, None for one that the node does not know.

    A resource that no Thing is stands for the VEN itself, as long as it has no Things for its resources.
    """
    named = [name for one in (given.source, given.subject) if one for name in (*one.resource_ids, *one.mrids)]
    resource = next((ven.resources[name] for name in named if name in ven.resources), None)
    if resource is None and (not named or len(ven.resources) == 1):
        resource = ven.resources.get("")
    if resource is None:
        return None
    units = given.item.units if given.item else ""
    scale = SCALES[given.item.scale] if given.item else 1.0
    own = resource.by_rid.get(given.rid)
    means = _MEANS.get((given.item.kind, units)) if given.item else None
    if own is not None:
        unit, factor = (means[1], means[2]) if means else ("", 1.0)
        return Column(resource.thing, own, unit, scale * factor) if own in resource.points else None
    if means is None or means[0] not in resource.points:
        return None
    known = given.type == "reading" if means[0] in _REGISTERS else given.type in _POWERS
    return Column(resource.thing, means[0], means[1], scale * means[2]) if known else None


def wanted_of(ven: Ven, offered: Report, id: str, every_us: int) -> tuple[Asked, ReportRequest] | None:
    """Return what of an offered report is asked for under ``id``, None for nothing of it; a point is asked for once."""
    if offered.name.removeprefix(METADATA) not in {"TELEMETRY_USAGE", "TELEMETRY_STATUS"}:
        return None
    found: dict[str, tuple[Description, Column]] = {}
    taken: set[tuple[str, str]] = set()
    for one in offered.descriptions:
        column = column_of(ven, one)
        if column is not None and (column.thing, column.point) not in taken and one.rid not in found:
            taken.add((column.thing, column.point))
            found[one.rid] = one, column
    if not found:
        return None
    pace_us = every_us
    for one, _ in found.values():
        if one.sampling is not None:
            pace_us = min(max(pace_us, one.sampling.min_us), max(one.sampling.max_us, one.sampling.min_us))
    specifier = Specifier(
        specifier_id=offered.specifier_id, granularity_us=pace_us, back_us=pace_us,
        wanted=tuple(Wanted(rid=one.rid, item=one.item, reading_type=one.reading_type) for one, _ in found.values()),
    )  # fmt: skip
    columns = {rid: column for rid, (_, column) in found.items()}
    return Asked(offered.specifier_id, columns), ReportRequest(request_id=id, specifier=specifier)


def rows_of(asked: Asked, given: Report, now_us: int) -> Iterator[Row]:
    """Yield the readings of a report that was asked for; values of what was not, and none at all, are left out."""
    from_us, lasts_us = given.start_us, given.duration_us
    for interval in given.intervals:
        start_us = interval.start_us if interval.start_us is not None else from_us
        length_us = interval.duration_us if interval.duration_us is not None else 0
        if interval.start_us is None and interval.duration_us is None and len(given.intervals) == 1:
            length_us = lasts_us or 0
        if start_us is None:
            start_us = given.created_us
        from_us = start_us + length_us
        observed_us, doubt = from_us, Quality.GOOD
        if start_us <= now_us < from_us:  # it stands for a time that is not over yet
            observed_us, doubt = now_us, Quality.CLOCK_UNSYNCHRONISED
        for one in interval.payloads:
            column, value = asked.columns.get(one.rid), _value(one)
            quality = _quality(one.quality)
            if column is not None and value is not None and quality is not None:
                marked = int(quality | doubt)
                yield (point_id(column.thing, column.point), column.unit, observed_us, value * column.factor, marked)


def _value(given: ReportPayload) -> float | None:
    if given.online is not None:
        return float(given.online)
    return given.value


def _quality(said: str) -> Quality | None:
    if not said:
        return Quality.GOOD
    return next((quality for begins, quality in _QUALITIES.items() if said.startswith(begins)), Quality.QUESTIONABLE)
