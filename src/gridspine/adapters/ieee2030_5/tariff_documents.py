"""Tariff profiles as they are written, and which of them a path names. Pure; no I/O.

::

    …/tp  …/tp/{p}  …/tp/{p}/rc  …/rc/{r}  …/rc/{r}/{rt, tti, atti}  …/tti/{t}  …/tti/{t}/cti  …/cti/1
"""

from collections.abc import Sequence

from gridspine.adapters.ieee2030_5.mrid import mrid
from gridspine.adapters.ieee2030_5.resources import listed, words
from gridspine.adapters.ieee2030_5.tariff import ACTIVE, POWER, Rate, Tariff, TariffInterval
from gridspine.adapters.ieee2030_5.view import Page
from gridspine.adapters.ieee2030_5.wire import Part, link, part, text
from gridspine.energy.mapping.xml import element
from gridspine.kernel.time import US


def tariff_resource(tariffs: Sequence[Tariff], rest: Sequence[str], href: str, page: Page, pen: int) -> Part | None:
    """Return the resource beneath ``href``, a TariffProfileList, that ``rest`` names; None where there is none."""
    if not rest:
        items = [(one.changed_us, lambda one=one: str(_profile(one, f"{href}/{one.key}", pen))) for one in tariffs]
        return listed("TariffProfileList", href, items, page, subscribable=True)
    tariff = next((one for one in tariffs if one.key == rest[0]), None)
    if tariff is None:
        return None
    href = f"{href}/{tariff.key}"
    match rest[1:]:
        case []:
            return _profile(tariff, href, pen)
        case ["rc"]:
            rates = [
                (tariff.changed_us, lambda one=one: str(_rate(one, f"{href}/rc/{one.key}", pen)))
                for one in tariff.rates
            ]
            return listed("RateComponentList", f"{href}/rc", rates, page)
        case ["rc", key, *further]:
            rate = next((one for one in tariff.rates if one.key == key), None)
            return None if rate is None else _of_rate(rate, further, f"{href}/rc/{key}", page, pen)
    return None


def _of_rate(rate: Rate, rest: Sequence[str], href: str, page: Page, pen: int) -> Part | None:
    match rest:
        case []:
            return _rate(rate, href, pen)
        case ["rt"]:
            return part(
                "ReadingType", text("commodity", 1), text("flowDirection", rate.flow), text("kind", 12),
                text("powerOfTenMultiplier", 3), text("uom", 72), href=f"{href}/rt",
            )  # fmt: skip
        case [("tti" | "atti") as kind]:
            items = [
                (one.created_us, lambda one=one: str(_interval(one, f"{href}/tti/{one.key}", pen)))
                for one in rate.intervals
                if kind == "tti" or one.status == ACTIVE
            ]
            return listed("TimeTariffIntervalList", f"{href}/{kind}", items, page, subscribable=True)
        case ["tti", key, *further]:
            one = next((each for each in rate.intervals if each.key == key), None)
            return None if one is None else _of_interval(one, further, f"{href}/tti/{key}", page, pen)
    return None


def _of_interval(one: TariffInterval, rest: Sequence[str], href: str, page: Page, pen: int) -> Part | None:
    match rest:
        case []:
            return _interval(one, href, pen)
        case ["cti"]:
            items = [(one.created_us, lambda: str(_consumption(one, f"{href}/cti/1")))]
            return listed("ConsumptionTariffIntervalList", f"{href}/cti", items, page)
        case ["cti", "1"]:
            return _consumption(one, f"{href}/cti/1")
    return None


def _profile(one: Tariff, href: str, pen: int) -> Part:
    """The tariff as a whole; its prices are of electricity."""
    return part(
        "TariffProfile", text("mRID", mrid("TariffProfile", *one.names, pen=pen)),
        text("description", words(one.title)), text("version", one.version % 2**16), text("currency", one.currency),
        text("pricePowerOfTenMultiplier", POWER), text("primacy", one.primacy),
        link("RateComponentListLink", f"{href}/rc", len(one.rates)), text("serviceCategoryKind", 0), href=href,
    )  # fmt: skip


def _rate(one: Rate, href: str, pen: int) -> Part:
    active = sum(each.status == ACTIVE for each in one.intervals)
    return part(
        "RateComponent", text("mRID", mrid("RateComponent", *one.names, pen=pen)), text("description", one.kind),
        link("ActiveTimeTariffIntervalListLink", f"{href}/atti", active), link("ReadingTypeLink", f"{href}/rt"),
        text("roleFlags", "0002"), link("TimeTariffIntervalListLink", f"{href}/tti", len(one.intervals)), href=href,
    )  # fmt: skip


def _interval(one: TariffInterval, href: str, pen: int) -> Part:
    start_s, end_s = one.from_us // US, -(-one.until_us // US)
    status = [
        text("currentStatus", one.status), text("dateTime", one.status_us // US),
        text("potentiallySuperseded", one.potentially_superseded),
    ]  # fmt: skip
    return part(
        "TimeTariffInterval", text("mRID", mrid("TimeTariffInterval", *one.names, pen=pen)),
        text("description", words(one.title)), text("creationTime", one.created_us // US),
        element("EventStatus", status),
        element("interval", [text("duration", end_s - start_s), text("start", start_s)]),
        link("ConsumptionTariffIntervalListLink", f"{href}/cti", 1), text("touTier", 0), href=href,
    )  # fmt: skip


def _consumption(one: TariffInterval, href: str) -> Part:
    return part(
        "ConsumptionTariffInterval", text("consumptionBlock", 0), text("price", one.price), text("startValue", 0),
        href=href,
    )  # fmt: skip
