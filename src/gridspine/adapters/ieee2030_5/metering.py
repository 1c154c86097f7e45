"""What is mirrored here, handed back: usage points, their kinds of readings, and of each the newest reading. Pure.

::

    /upt   /upt/{m}   /upt/{m}/mr   /upt/{m}/mr/{mRID}   …/rt   …/r

A reading is as its device posted it, in the numbers of its ReadingType, since the node started; before that it says
nothing. What became of it in the node, its Thing says.

Source: IEEE 2030.5-2018 ``sep.xsd``: UsagePoint, MeterReading, ReadingType, Reading; Subscription.Condition, whose
thresholds are told of when the value is below the lower or above the upper, as open implementations read them: the
clause itself was not read.
"""

from collections.abc import Callable, Iterator, Sequence

from gridspine.adapters.ieee2030_5 import resources
from gridspine.adapters.ieee2030_5.der_document import TIME_MAX
from gridspine.adapters.ieee2030_5.meter import INT48, Meter, UsagePoint
from gridspine.adapters.ieee2030_5.record import Condition, Subscription
from gridspine.adapters.ieee2030_5.view import ClientView, DeviceView, LastReading, Page
from gridspine.adapters.ieee2030_5.wire import Element, Part, link, part, text
from gridspine.energy.mapping.xml import element
from gridspine.kernel.errors import Invalid

MAX_LATEST = 50_000
"""Readings that are remembered, of all clients."""
READING_VALUE = 0
"""attributeIdentifier of a Condition: the value of a reading, and nothing else yet."""


def usage_point(view: ClientView, number: str) -> tuple[DeviceView, UsagePoint] | None:
    """Return a usage point of a client's, and whose it is, by how it is called in paths."""
    key, _, own = number.partition("-")
    one = view.device(key)
    point = None if one is None else one.record.usage_point(own)
    return None if one is None or point is None else (one, point)


def metered(view: ClientView, rest: Sequence[str], page: Page) -> Part | None:
    """Return the resource beneath ``/upt`` that ``rest`` names, None where there is none for this client."""
    href = f"{view.settings.path}/upt"
    if not rest:
        found = [(one.device.key, point) for one in view.devices for point in one.record.usage_points]
        items = [(view.now_us, _written(_usage_point, f"{href}/{key}-{point.number}", point)) for key, point in found]
        return resources.listed("UsagePointList", href, items, page, rate_s=view.rates.mirror_usage_point_list)
    known = usage_point(view, rest[0])
    if known is None:
        return None
    href, point = f"{href}/{rest[0]}", known[1]
    match rest[1:]:
        case []:
            return _usage_point(href, point)
        case ["mr"]:
            items = [(view.now_us, _written(_meter_reading, f"{href}/mr/{one.mrid}", one)) for one in point.meters]
            return resources.listed("MeterReadingList", f"{href}/mr", items, page)
        case ["mr", mrid, *further]:
            meter = point.meter(mrid)
            return None if meter is None else _of_meter(view, f"{href}/mr/{mrid}", meter, further)
    return None


def _of_meter(view: ClientView, href: str, meter: Meter, rest: Sequence[str]) -> Part | None:
    match rest:
        case []:
            return _meter_reading(href, meter)
        case ["rt"]:
            kind = [text(name, meter.type[name]) for name in sorted(meter.type)]
            return part("ReadingType", *kind, href=f"{href}/rt")
        case ["r"]:
            return _reading(f"{href}/r", view.latest.get(meter.mrid))
    return None


def _usage_point(href: str, point: UsagePoint) -> Part:
    return part(
        "UsagePoint", text("mRID", point.mrid), text("description", point.description or None),
        text("roleFlags", point.role_flags), text("serviceCategoryKind", point.service), text("status", point.status),
        text("deviceLFDI", point.lfdi), link("MeterReadingListLink", f"{href}/mr", len(point.meters)), href=href,
    )  # fmt: skip


def _meter_reading(href: str, meter: Meter) -> Part:
    return part(
        "MeterReading", text("mRID", meter.mrid), text("description", meter.description or None),
        link("ReadingLink", f"{href}/r"), link("ReadingTypeLink", f"{href}/rt"), href=href,
    )  # fmt: skip


def _reading(href: str, last: LastReading | None) -> Part:
    said = [] if last is None else [
        text("qualityFlags", last.flags or None),
        element("timePeriod", [text("duration", last.lasts_s), text("start", last.start_s)]) if last.timed else "",
        text("value", last.value),
    ]  # fmt: skip
    return part("Reading", *said, href=href, subscribable=resources.SUBSCRIBABLE_BOTH)


def _written(write: Callable[..., Part], *given: object) -> Callable[[], str]:
    return lambda: str(write(*given))


# -- readings as they are posted, and who wants to be told of them -----------------------------------------------------


def newest(given: Element) -> LastReading | None:
    """Return the newest reading of a MirrorMeterReading, None where it has none; its numbers were checked before."""
    sets = given.all("MirrorReadingSet")
    every = (*given.all("Reading"), *(one for within in sets for one in within.all("Reading")))
    return max(_read(every), key=lambda one: one.until_s, default=None)


def _read(given: Sequence[Element]) -> Iterator[LastReading]:
    for one in given:
        value, period = one.whole("value", -INT48 - 1, INT48), one.find("timePeriod")
        if value is None:
            continue
        start_s = lasts_s = None
        if period is not None:
            start_s, lasts_s = period.whole("start", 0, TIME_MAX), period.whole("duration", 0, 2**32 - 1)
        yield LastReading(value, start_s or 0, lasts_s or 0, one.hex("qualityFlags", 4) or "", start_s is not None)


def read_condition(given: Element) -> Condition:
    """Return the Condition of a Subscription; raise `Invalid` for one that is about something else, or is none."""
    about = given.whole("attributeIdentifier", 0, 255)
    lower, upper = (given.whole(name, -INT48 - 1, INT48) for name in ("lowerThreshold", "upperThreshold"))
    if about != READING_VALUE or lower is None or upper is None or lower > upper:
        raise Invalid("Condition: attributeIdentifier 0, lowerThreshold and upperThreshold, no higher, are needed")
    return Condition(lower, upper)


def meter_of(one: Subscription) -> str:
    """Return the mRID of the kind of readings that a subscription is to the newest of, "" for another subscription."""
    *_, upt, _, mr, mrid, last = ["", "", "", "", *one.resource.split("/")]
    return mrid if (upt, mr, last) == ("upt", "mr", "r") else ""


def triggered(view: ClientView, one: Subscription) -> bool:
    """Whether there is something to be told: of readings only what was read, and is beyond the thresholds, if any."""
    mrid = meter_of(one)
    if not mrid:
        return True
    last = view.latest.get(mrid)
    if last is None:
        return False
    return one.condition is None or not one.condition.lower <= last.value <= one.condition.upper
