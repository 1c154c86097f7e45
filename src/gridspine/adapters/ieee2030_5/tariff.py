"""Prices that a Thing follows, in words of IEEE 2030.5: tariff profiles, rate components, intervals. Pure; no I/O.

::

    programme that tells PRICE [per kWh] ──► TariffProfile ─► RateComponent, forward: what is taken costs so much
    … EXPORT_PRICE ────────────────────────►                  RateComponent, reverse: what is given earns so much
        event, each interval ──────────────►                    TimeTariffInterval ─► ConsumptionTariffInterval: price

A price is a 32-bit integer times ten to the -5, rounded half to even; one that does not fit is not told. An interval is
superseded when a better event of the programme lies over all that is left of it, from when that begins.

Source: IEEE 2030.5-2018 ``sep.xsd``: TariffProfile, RateComponent, TimeTariffInterval, ConsumptionTariffInterval,
CurrencyCode (ISO 4217, by number). PRICE and EXPORT_PRICE are payload types of OpenADR 3.1.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gridspine.adapters.ieee2030_5.mrid import short
from gridspine.energy.followed import Part
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent
from gridspine.kernel.time import MAX_US

SCHEDULED, ACTIVE, CANCELLED, SUPERSEDED = 0, 1, 2, 4
POWER, INT32 = -5, 2**31 - 1
"""The power of ten of a price; the largest integer that one may have."""
KINDS = {"PRICE": 1, "EXPORT_PRICE": 19}
"""What is told of, and which flow it is of."""
_KWH = frozenset({"", "KWH", "kWh"})
CURRENCIES = {
    "AUD": 36, "BRL": 986, "CAD": 124, "CHF": 756, "CNY": 156, "CZK": 203, "DKK": 208, "EUR": 978, "GBP": 826,
    "HUF": 348, "INR": 356, "JPY": 392, "KRW": 410, "MXN": 484, "NOK": 578, "NZD": 554, "PLN": 985, "SEK": 752,
    "SGD": 702, "THB": 764, "USD": 840, "ZAR": 710,
}  # fmt: skip


class TariffInterval(NamedTuple):
    """A time with a price, in ``[from_us, until_us)`` [µs since 1970]; ``price`` as it is written, None: none fits."""

    names: tuple[str, ...]
    title: str
    price: int | None
    from_us: int
    until_us: int
    created_us: int
    status: int
    status_us: int
    potentially_superseded: bool = False

    @property
    def key(self) -> str:
        """How it is called in paths."""
        return short("TimeTariffInterval", *self.names)


class Rate(NamedTuple):
    """A rate component: prices of what flows one way (``flow``: 1 forward, 19 reverse), in the order of their start."""

    names: tuple[str, ...]
    kind: str
    flow: int
    intervals: tuple[TariffInterval, ...]

    @property
    def key(self) -> str:
        """How it is called in paths."""
        return short("RateComponent", *self.names)


class Tariff(NamedTuple):
    """A tariff profile; ``currency`` by its number, 0 where that is not known."""

    names: tuple[str, ...]
    title: str
    primacy: int
    version: int
    changed_us: int
    currency: int
    rates: tuple[Rate, ...]

    @property
    def key(self) -> str:
        """How it is called in paths."""
        return short("TariffProfile", *self.names)


def tariffs(part: Part, now_us: int) -> tuple[Tariff, ...]:
    """Return the tariff that a programme's prices are, none where it tells of none per kWh."""
    programme, enrolment = part.programme, part.enrolment
    told = {one.payload_type: one for one in programme.signals if one.payload_type in KINDS and one.units in _KWH}
    if not told:
        return ()
    standing = [
        one
        for one in part.events
        if one.aimed_at(enrolment.words) and one.until_us > now_us
    ]  # fmt: skip
    rates = tuple(
        Rate((programme.id, kind), kind, flow, tuple(_intervals(standing, kind, now_us)))
        for kind, flow in KINDS.items()
        if kind in told
    )
    currency = next((CURRENCIES.get(one.currency, 0) for one in told.values() if one.currency), 0)
    changed_us = max([programme.created_us, *(max(one.created_us, one.cancelled_us) for one in standing)])
    names = (programme.id,)
    return (Tariff(names, programme.title, programme.primacy, programme.version, changed_us, currency, rates),)


def _intervals(events: Sequence[ProgrammeEvent], kind: str, now_us: int) -> Iterator[TariffInterval]:
    found = [
        (event, at, one, value)
        for event in events
        for at, one in enumerate(event.intervals)
        if one.until_us > now_us and (value := _price(one, kind)) is not None
    ]
    telling = [event for event in {id(event): event for event, *_ in found}.values() if not event.cancelled_us]
    for event, at, one, value in sorted(found, key=lambda each: (each[2].from_us, each[0].created_us, each[0].id)):
        over = [each for other in telling if _better(other, event) for each in _overlapping(other, one, kind)]
        begin_us = min((each.from_us for each in over if _covers(each, one, now_us)), default=MAX_US)
        status, status_us = SCHEDULED, event.created_us
        if event.cancelled_us:
            status, status_us = CANCELLED, event.cancelled_us
        elif begin_us <= now_us:
            status, status_us = SUPERSEDED, max(event.created_us, begin_us)
        elif one.from_us <= now_us:
            status, status_us = ACTIVE, max(one.from_us, event.created_us)
        yield TariffInterval(
            (event.id, str(at), kind), event.title, _written(value), one.from_us, one.until_us, event.created_us,
            status, status_us, bool(over),
        )  # fmt: skip


def _overlapping(other: ProgrammeEvent, one: EventInterval, kind: str) -> Iterator[EventInterval]:
    """Yield the intervals of ``other`` that touch ``one`` and have a price."""
    if other.from_us < one.until_us and other.until_us > one.from_us:
        first = bisect_right(other.intervals, one.from_us, key=lambda each: each.until_us)
        last = bisect_left(other.intervals, one.until_us, key=lambda each: each.from_us)
        yield from (each for each in other.intervals[first:last] if _price(each, kind) is not None)


def _covers(each: EventInterval, one: EventInterval, now_us: int) -> bool:
    """Whether ``each`` lies over all that is left of ``one``."""
    return each.from_us <= max(one.from_us, now_us) and each.until_us >= one.until_us


def _better(one: ProgrammeEvent, other: ProgrammeEvent) -> bool:
    return one.id != other.id and (one.priority, -one.created_us, one.id) < (
        other.priority, -other.created_us, other.id
    )  # fmt: skip


def _price(interval: EventInterval, kind: str) -> float | None:
    """Return the price of an interval [currency per kWh], None where it tells of none."""
    given = next((one.values for one in interval.signals if one.type == kind), ())
    first = given[0] if given else None
    return float(first) if isinstance(first, (int, float)) and not isinstance(first, bool) else None


def _written(price: float) -> int | None:
    number = round(price * 10**-POWER)
    return number if abs(number) <= INT32 else None
