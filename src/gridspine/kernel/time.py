"""Time: integer microseconds of UTC inside, RFC 3339 outside; half-open intervals; local days and periods.

Sources: RFC 3339 §5.6; local time by the IANA time zone database through `zoneinfo`.

::

        start                    end
          [───────────────────────)        contains(start) is true, contains(end) is false
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from gridspine.kernel.errors import Invalid

US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_US = 0
MAX_US = 253_402_300_799 * US
"""The last second of the year 9999, the last one RFC 3339 can write."""
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # datetime.fromisoformat also takes other forms of ISO 8601, and not the same ones in every release


def from_datetime(moment: datetime) -> int:
    """Return ``moment`` (which must carry its offset) as µs since 1970 UTC."""
    if moment.tzinfo is None:
        raise Invalid(f"{moment.isoformat()} has no offset from UTC: add Z or +hh:mm")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_datetime(time_us: int) -> datetime:
    """Return the UTC datetime of ``time_us`` [µs since 1970]."""
    return _EPOCH + timedelta(microseconds=time_us)


def parse_rfc3339(text: str) -> int:
    """Return the µs since 1970 of an RFC 3339 time; raise `Invalid` when it is none or has no offset.

    Decimals beyond µs are cut off. A leap second (``:60``) is refused: there is no such µs since 1970.
    """
    try:
        if _RFC3339.fullmatch(text):
            time_us = from_datetime(datetime.fromisoformat(text.upper()))
            if time_us < MAX_US + US:
                return time_us
    except (ValueError, OverflowError):
        pass  # a 13th month, or a year before the first
    raise Invalid(f"{text[:40]!r} is not an RFC 3339 time such as 2026-01-31T12:00:00Z")


def format_rfc3339(time_us: int) -> str:
    """Return ``time_us`` [µs since 1970] as RFC 3339 in UTC, with as many decimals as it needs."""
    text = to_datetime(time_us).isoformat()
    return text.removesuffix("+00:00") + "Z"


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A half-open stretch of time ``[start_us, end_us)`` [µs since 1970]; never empty or backwards."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.end_us <= self.start_us:
            raise Invalid("an interval must end after it starts")

    @property
    def duration_us(self) -> int:
        """Length [µs]."""
        return self.end_us - self.start_us

    def contains(self, time_us: int) -> bool:
        """Whether ``time_us`` lies in the interval; its end does not."""
        return self.start_us <= time_us < self.end_us

    def intersection(self, other: "Interval") -> "Interval | None":
        """Return the common part, or None where they only touch or miss each other."""
        start, end = max(self.start_us, other.start_us), min(self.end_us, other.end_us)
        return Interval(start, end) if start < end else None


def local_day(day: date, zone: ZoneInfo) -> Interval:
    """Return the interval of a local calendar day: 23, 24 or 25 hours long, as the clocks go."""
    start = datetime(day.year, day.month, day.day, tzinfo=zone)
    following = day + timedelta(days=1)
    end = datetime(following.year, following.month, following.day, tzinfo=zone)
    return Interval(from_datetime(start), from_datetime(end))


def settlement_periods(day: date, zone: ZoneInfo, length: timedelta = timedelta(minutes=30)) -> Iterator[Interval]:
    """Yield the settlement periods of a local day in order: 46, 48 or 50 of them at half an hour."""
    whole = local_day(day, zone)
    step = length // timedelta(microseconds=1)
    for start in range(whole.start_us, whole.end_us, step):
        yield Interval(start, min(start + step, whole.end_us))
