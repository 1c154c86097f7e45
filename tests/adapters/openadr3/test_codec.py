"""The codec: both editions come back as they were said, times and payloads mean what the standard says."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.openadr3 import edition
from gridspine.adapters.openadr3.native import body_of_event
from gridspine.adapters.openadr3.payload import control_of, signals_of
from gridspine.adapters.openadr3.period import chance_s, length, spans, start_us
from gridspine.adapters.openadr3.wire import (
    BlVenRequest,
    EventRequest,
    ProgramRequest,
    Record,
    ReportRequest,
    SubscriptionRequest,
    ValuesMap,
    VenVenRequest,
    body_of,
    read,
)
from gridspine.energy.control import Control
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, Signal
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import MAX_US, US, parse_rfc3339

NOW_US = parse_rfc3339("2026-03-01T00:00:00Z")
HOUR_US = 3600 * US

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
values = st.lists(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53), words, st.booleans(),
        st.fixed_dictionaries({"x": st.floats(-1e6, 1e6), "y": st.floats(-1e6, 1e6)}),
    ),
    max_size=4,
)  # fmt: skip
maps = st.lists(st.fixed_dictionaries({"type": words, "values": values}), max_size=3)
targets = st.lists(words, unique=True, max_size=4)
periods = st.fixed_dictionaries(
    {}, optional={"start": st.just("2026-01-01T00:00:00Z"), "duration": st.sampled_from(["PT1H", "P1DT2H", "P9999Y"])}
)
events = st.fixed_dictionaries(
    {"programID": st.from_regex(r"\A[a-zA-Z0-9_-]{1,20}\Z")},
    optional={
        "eventName": words, "priority": st.integers(0, 9), "targets": targets, "intervalPeriod": periods,
        "intervals": st.lists(
            st.fixed_dictionaries(
                {"id": st.integers(-5, 5), "payloads": maps}, optional={"intervalPeriod": periods}
            ), max_size=3,
        ),
        "reportDescriptors": st.lists(
            st.fixed_dictionaries({"payloadType": words}, optional={"repeat": st.integers(2, 5), "targets": targets}),
            max_size=2,
        ),
    },
)  # fmt: skip


def record(body, types=None):
    return Record(
        kind="EVENT", id="e", organisation="o", client="c", created_us=NOW_US, modified_us=NOW_US, body=body,
        types=types or {},
    )  # fmt: skip


def as_sent(document):
    """Return a document as JSON makes it: 1.0 and 1 are one number."""
    return msgspec.json.decode(msgspec.json.encode(document))


@given(events)
def test_any_request_comes_back_in_both_editions(document) -> None:
    body = body_of(read(msgspec.json.encode(document), EventRequest))
    assert as_sent(body) == as_sent(document)
    types = dict.fromkeys(document.get("targets", []), "GROUP")
    older = edition.shown(record(body, types), "3.0.1")
    again = edition.newer({name: older[name] for name in document}, found := {})
    assert as_sent(again) == as_sent(document)
    assert set(found) >= set(document.get("targets", []))


@given(st.binary(max_size=200))
@pytest.mark.parametrize(
    "kind", [EventRequest, ProgramRequest, ReportRequest, SubscriptionRequest, BlVenRequest | VenVenRequest]
)
def test_any_bytes_are_a_request_or_invalid(kind, body) -> None:
    try:
        read(body, kind)
    except Invalid as error:
        assert error.detail


def test_types_of_targets_of_3_0_1_come_back() -> None:
    given_ = [{"type": "GROUP", "values": ["a", "b"]}, {"type": "VEN_NAME", "values": ["v"]}]
    newer = edition.newer({"programID": "p", "targets": given_}, types := {})
    assert newer["targets"] == ["a", "b", "v"]
    assert edition.shown(record(newer, types), "3.0.1")["targets"] == given_
    with pytest.raises(Invalid):
        edition.newer({"targets": [{"type": "GROUP"}]}, {})


@given(
    st.from_regex(
        re.compile(r"P(\d{1,3}D)?(T(\d{1,3}H)?(\d{1,3}M)?(\d{1,3}(\.\d{1,6})?S)?)?", re.ASCII), fullmatch=True
    )
)
def test_any_duration_is_a_length_or_invalid(text) -> None:
    try:
        found = length(text)
    except Invalid:
        return
    assert found.months == 0
    assert found.us >= 0


@pytest.mark.parametrize(("text", "after"), [
    ("PT1H", "2026-01-31T01:00:00Z"), ("P1M", "2026-02-28T00:00:00Z"), ("P1Y", "2027-01-31T00:00:00Z"),
    ("P2W", "2026-02-14T00:00:00Z"), ("PT0.5S", "2026-01-31T00:00:00.500000Z"), ("P1DT1M", "2026-02-01T00:01:00Z"),
])  # fmt: skip
def test_durations_by_the_calendar(text, after) -> None:
    assert length(text).after(parse_rfc3339("2026-01-31T00:00:00Z")) == parse_rfc3339(after)


def test_for_ever_now_and_nothing() -> None:
    assert length("P9999Y").after(NOW_US) == MAX_US
    assert length("P500000000W").endless or length("P500000000W").after(NOW_US) == MAX_US
    assert length(None).after(NOW_US) == NOW_US
    for text in ("-PT1H", "P", "PT", "1H"):
        with pytest.raises(Invalid):
            length(text)
    for text in ("0001-01-01", "0001-01-01T00:00:00Z", "0000-00-00"):
        assert start_us(text, 0, NOW_US) == NOW_US


def event(intervals, **more):
    numbered = [{"id": at, "payloads": [], **one} for at, one in enumerate(intervals)]
    return read({"programID": "p", "intervals": numbered, **more}, EventRequest)


def hours(found):
    return [((one.from_us - NOW_US) / HOUR_US, (one.until_us - NOW_US) / HOUR_US) for one in found]


START = {"start": "2026-03-01T00:00:00Z"}


def test_intervals_follow_each_other_or_say_when_they_are() -> None:
    found = spans(event([{}, {}], intervalPeriod={**START, "duration": "PT1H"}), 0, NOW_US)
    assert hours(found) == [(0, 1), (1, 2)]
    own = {"intervalPeriod": {"start": "2026-03-01T05:00:00Z", "duration": "PT30M"}}
    assert hours(spans(event([{}, own, {}], intervalPeriod={**START, "duration": "PT1H"}), 0, NOW_US)) == [
        (0, 1), (5, 5.5), (5.5, 6.5)
    ]  # fmt: skip
    assert hours(spans(event([{}], intervalPeriod=START), 1800, NOW_US)) == [(0, 0.5)], "as long as the program says"
    assert spans(event([{}]), 0, NOW_US)[0].until_us == MAX_US, "until further notice"


def test_an_event_that_lasts_longer_begins_anew() -> None:
    period = {**START, "duration": "PT1H"}
    assert hours(spans(event([{}, {}], intervalPeriod=period, duration="PT3H30M"), 0, NOW_US)) == [
        (0, 1), (1, 2), (2, 3), (3, 3.5)
    ]  # fmt: skip
    assert hours(spans(event([{}, {}], intervalPeriod=period, duration="PT30M"), 0, NOW_US)) == [(0, 0.5)]
    with pytest.raises(Invalid, match="3000"):
        spans(event([{}], intervalPeriod={**START, "duration": "PT1S"}, duration="P30D"), 0, NOW_US)


def test_chance_is_the_same_for_all_intervals() -> None:
    assert chance_s(event([{}], intervalPeriod={**START, "randomizeStart": "PT5M"})) == 300
    assert chance_s(event([{}])) == 0
    with pytest.raises(Invalid, match="same"):
        chance_s(event([{"intervalPeriod": {"randomizeStart": "PT1M"}}], intervalPeriod={"randomizeStart": "PT5M"}))


LIMITS = frozenset({"IMPORT_CAPACITY_LIMIT", "DISPATCH_SETPOINT"})


def test_controls_have_their_units_and_the_rest_are_signals() -> None:
    payloads = read({"a": [
        {"type": "IMPORT_CAPACITY_LIMIT", "values": [2.5]}, {"type": "PRICE", "values": [-0.1]},
        {"type": "EXPORT_CAPACITY_LIMIT", "values": [1]}, {"type": "CURVE", "values": [{"x": 1, "y": 2.5}]},
    ]}, dict[str, list[ValuesMap]])["a"]  # fmt: skip
    assert control_of(payloads, LIMITS, {"IMPORT_CAPACITY_LIMIT": "KW"}) == Control(import_limit_w=2500.0)
    assert signals_of(payloads, LIMITS) == (
        Signal("PRICE", (-0.1,)), Signal("EXPORT_CAPACITY_LIMIT", (1.0,)), Signal("CURVE", ('{"x":1.0,"y":2.5}',)),
    )  # fmt: skip
    with pytest.raises(Invalid, match="units"):
        control_of(payloads, LIMITS, {})


@pytest.mark.parametrize("wrong", [[], [True], ["3"], [1, 2]])
def test_a_limit_is_one_number(wrong) -> None:
    payloads = [read({"type": "DISPATCH_SETPOINT", "values": wrong}, ValuesMap)]
    with pytest.raises(Invalid, match="one number"):
        control_of(payloads, LIMITS, {"DISPATCH_SETPOINT": "KW"})


def test_a_native_event_is_a_request_of_its_own() -> None:
    made = ProgrammeEvent(
        id="urn:uuid:e", programme="urn:uuid:p", organisation="o", title="T", targets=("t",), randomise_start_s=1.5,
        intervals=(
            EventInterval(NOW_US, NOW_US + HOUR_US, (Signal("PRICE", (1.0, "x", True)),)),
            EventInterval(NOW_US + HOUR_US, MAX_US, (), Control(export_limit_w=500.0, load_limit_w=1.0)),
        ),
    )  # fmt: skip
    found = read(body_of_event(made, "p"), EventRequest)
    assert [(one.from_us, one.until_us) for one in spans(found, 0, NOW_US)] == [
        (NOW_US, NOW_US + HOUR_US), (NOW_US + HOUR_US, MAX_US)
    ]  # fmt: skip
    assert chance_s(found) == 1.5
    assert [value.values for value in found.intervals[1].payloads] == [[0.5]]
