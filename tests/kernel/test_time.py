"""Time: RFC 3339 there and back, half-open intervals, days of 23 and 25 hours."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import (
    MAX_US,
    US,
    Interval,
    format_rfc3339,
    from_datetime,
    local_day,
    parse_rfc3339,
    settlement_periods,
)

HOUR_US = 3600 * US
BERLIN, LONDON = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/London")
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "America/Havana",
     "Asia/Kathmandu", "America/St_Johns", "Asia/Beirut"]
).map(ZoneInfo)  # fmt: skip
DAYS = st.dates(date(1975, 1, 1), date(2037, 12, 31))


@given(st.integers(0, MAX_US))
def test_rfc3339_comes_back(time_us: int) -> None:
    assert parse_rfc3339(format_rfc3339(time_us)) == time_us


@pytest.mark.parametrize(
    ("text", "time_us"),
    [("1970-01-01T00:00:00Z", 0), ("1970-01-01t01:00:00.5+01:00", 500_000), ("1969-12-31 23:00:00-01:00", 0),
     ("2026-01-31T12:00:00.1234567Z", from_datetime(datetime(2026, 1, 31, 12, tzinfo=UTC)) + 123_456),
     ("2026-01-31T12:00:00.1z", from_datetime(datetime(2026, 1, 31, 12, tzinfo=UTC)) + 100_000)],
)  # fmt: skip
def test_forms_of_rfc3339(text: str, time_us: int) -> None:
    assert parse_rfc3339(text) == time_us


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-31", "2026-01-31T12:00:00", "20260131T120000Z", "2026-W05-6T12:00:00Z", "2026-01-31T12:00Z",
     "2026-01-31T12:00:00,5Z", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-31T24:00:00Z",
     "2026-01-31T12:00:60Z", "2026-01-31T12:00:00+25:00", "9999-12-31T23:59:59-01:00", "٢٠٢٦-01-31T12:00:00Z",
     "2026-01-31T12:00:00+01", "0000-01-01T00:00:00Z", "2026-01-31T12:00:00Z\n"],
)  # fmt: skip
def test_what_is_no_rfc3339_is_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        parse_rfc3339(text)


@given(
    st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", fullmatch=True)
)
def test_any_text_is_a_time_or_invalid(text: str) -> None:
    try:
        time_us = parse_rfc3339(text)
    except Invalid:
        return
    assert parse_rfc3339(format_rfc3339(time_us)) == time_us


def test_a_time_without_offset_is_invalid() -> None:
    with pytest.raises(Invalid):
        from_datetime(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [(date(2026, 3, 29), BERLIN, 23), (date(2026, 10, 25), BERLIN, 25), (date(2026, 6, 1), BERLIN, 24),
     (date(2026, 3, 29), LONDON, 23), (date(2026, 10, 25), LONDON, 25),
     (date(2026, 4, 5), ZoneInfo("Australia/Lord_Howe"), 24.5)],
)  # fmt: skip
def test_days_are_as_long_as_the_clocks_make_them(day: date, zone: ZoneInfo, hours: float) -> None:
    assert local_day(day, zone).duration_us == hours * HOUR_US
    assert len(list(settlement_periods(day, zone))) == hours * 2


@given(DAYS, ZONES)
def test_days_follow_each_other_without_gap_or_overlap(day: date, zone: ZoneInfo) -> None:
    today, tomorrow = local_day(day, zone), local_day(day + timedelta(days=1), zone)
    assert today.end_us == tomorrow.start_us
    assert today.intersection(tomorrow) is None
    # Where midnight itself is skipped, the day begins when the clocks jump: its last instant is still this day.
    last = datetime.fromtimestamp((today.end_us - 1) / US, zone)
    assert last.date() == day


@given(DAYS, ZONES, st.sampled_from([5, 15, 30, 60]))
def test_periods_fill_the_day(day: date, zone: ZoneInfo, minutes: int) -> None:
    whole = local_day(day, zone)
    periods = list(settlement_periods(day, zone, timedelta(minutes=minutes)))
    assert (periods[0].start_us, periods[-1].end_us) == (whole.start_us, whole.end_us)
    assert all(a.end_us == b.start_us for a, b in pairwise(periods))


BOUNDS = st.tuples(st.integers(0, 100), st.integers(0, 100)).filter(lambda b: b[0] < b[1]).map(lambda b: Interval(*b))


@given(BOUNDS, BOUNDS, st.integers(-5, 105))
def test_intervals_are_half_open(a: Interval, b: Interval, moment: int) -> None:
    assert a.contains(a.start_us)
    assert not a.contains(a.end_us)
    common = a.intersection(b)
    assert common == b.intersection(a)
    assert (common is not None and common.contains(moment)) == (a.contains(moment) and b.contains(moment))


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5)])
def test_an_interval_is_never_empty_or_backwards(start: int, end: int) -> None:
    with pytest.raises(Invalid):
        Interval(start, end)
