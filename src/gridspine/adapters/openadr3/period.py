"""When intervals begin and end: ISO 8601 durations, defaults of an event, *now*, *for ever*, and loops. Pure; no I/O.

::

    event.intervalPeriod    start, duration: for intervals that say nothing, one after the other
    interval.intervalPeriod own start, own duration
    event.duration          intervals begin anew until it is over

Source: OpenADR 3.1.0, its OpenAPI document: *intervalPeriod*, *duration*, *event.duration*. The User Guide was not
read: that intervals follow each other, and that one without a duration lasts until further notice, is this node's
reading of it.
"""

import calendar
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from gridspine.adapters.openadr3.wire import EventRequest, Interval, IntervalPeriod
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import MAX_US, US, from_datetime, parse_rfc3339, to_datetime

_DURATION = re.compile(
    r"(-?)P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)([DW]))?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII
)
_NOW = ("0001-01-01", "0000-00-00")
"""How a start begins that means now; the second is that of 3.0.1."""
_FOR_EVER_YEARS = 9999
MAX_STEPS = 3_000


class Length(NamedTuple):
    """A duration: ``months`` by the calendar, then ``us`` [µs]."""

    months: int
    us: int

    @property
    def endless(self) -> bool:
        """Whether it means for ever."""
        return self.months >= _FOR_EVER_YEARS * 12

    def after(self, time_us: int) -> int:
        """Return the moment it is over that began at ``time_us`` [µs since 1970], the last one there is at most."""
        if self.endless:
            return MAX_US
        if self.months:
            begun = to_datetime(time_us)
            years, month = divmod(begun.month - 1 + self.months, 12)
            if begun.year + years > 9999:
                return MAX_US
            day = min(begun.day, calendar.monthrange(begun.year + years, month + 1)[1])
            time_us = from_datetime(begun.replace(year=begun.year + years, month=month + 1, day=day))
        return min(time_us + self.us, MAX_US)


class Span(NamedTuple):
    """An interval, and when it is: ``[from_us, until_us)`` [µs since 1970]."""

    from_us: int
    until_us: int
    interval: Interval


def length(text: str | None) -> Length:
    """Return a duration (none is none at all); raise `Invalid` for what is none, or goes back."""
    found = _DURATION.fullmatch(text or "PT0S")
    if found is None or found[1]:
        raise Invalid(f"duration: {text!r} is no ISO 8601 duration such as PT1H, forward in time")
    years, months, count, unit, hours, minutes, seconds = found.groups()[1:]
    try:
        days = int(count or 0) * (7 if unit == "W" else 1)
        rest = timedelta(days=days, hours=int(hours or 0), minutes=int(minutes or 0), seconds=float(seconds or 0))
    except (OverflowError, ValueError):
        return Length(_FOR_EVER_YEARS * 12, 0)
    return Length(
        min(int(years or 0), _FOR_EVER_YEARS) * 12 + min(int(months or 0), 120_000), rest // timedelta(microseconds=1)
    )


def start_us(text: str | None, otherwise_us: int, now_us: int) -> int:
    """Return a start [µs since 1970]; ``now_us`` where it says so, ``otherwise_us`` where it says nothing."""
    if text is None:
        return otherwise_us
    return now_us if text.startswith(_NOW) else parse_rfc3339(text)


def spans(event: EventRequest, programme_s: int, now_us: int) -> list[Span]:
    """Return when the intervals of an event are; ``programme_s`` [s] is how long those of its programme last, or 0.

    Raises `Invalid` for what is no time, or too much.
    """
    intervals = event.intervals or []
    default = event.interval_period or IntervalPeriod()
    begin_us = start_us(default.start, now_us, now_us)
    usual = length(default.duration)
    if usual == Length(0, 0) and programme_s:
        usual = Length(0, programme_s * US)
    found = _once(intervals, begin_us, usual, now_us)
    if event.duration is None or not found:
        return found
    whole_us = length(event.duration).after(begin_us)
    return _looped(found, whole_us)


def chance_s(event: EventRequest) -> float:
    """Return by how much chance may put an event off [s]; raise `Invalid` where its intervals disagree."""
    default = event.interval_period or IntervalPeriod()
    asked = {one.interval_period.randomize_start for one in event.intervals or [] if one.interval_period is not None}
    said = {length(one) for one in (default.randomize_start, *asked) if one is not None}
    if len(said) > 1:
        raise Invalid("intervalPeriod.randomizeStart: it must be the same for all intervals of an event")
    found = said.pop() if said else Length(0, 0)
    return float("inf") if found.months else found.us / US


def _once(intervals: Sequence[Interval], begin_us: int, usual: Length, now_us: int) -> list[Span]:
    found: list[Span] = []
    at_us = begin_us
    for one in intervals:
        period = one.interval_period or IntervalPeriod()
        from_us = start_us(period.start, at_us, now_us)
        lasts = length(period.duration) if period.duration is not None else usual
        at_us = MAX_US if lasts == Length(0, 0) else lasts.after(from_us)
        found.append(Span(from_us, at_us, one))
    return found


def _looped(once: list[Span], whole_us: int) -> list[Span]:
    """Return spans repeated until ``whole_us`` [µs since 1970], the last of them cut."""
    round_us = once[-1].until_us - once[0].from_us
    if round_us <= 0 or once[-1].until_us >= whole_us:
        kept = [one for one in once if one.from_us < whole_us]
    else:
        rounds = -(-(whole_us - once[0].from_us) // round_us)
        if rounds * len(once) > MAX_STEPS:
            raise Invalid(f"duration: its intervals would come {rounds} times; {MAX_STEPS} intervals at most")
        kept = [
            Span(one.from_us + at * round_us, one.until_us + at * round_us, one.interval)
            for at in range(rounds)
            for one in once
            if one.from_us + at * round_us < whole_us
        ]
    return [one._replace(until_us=min(one.until_us, whole_us)) for one in kept]
