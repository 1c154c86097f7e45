"""Messages taken together say what they say one by one."""

import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.mqtt.packs import Published, decode_batch, decode_one, join
from gridspine.adapters.mqtt.topics import Destination, Mapping, ValueRoute
from gridspine.adapters.mqtt.wire import Count, unreadable
from gridspine.kernel.errors import Invalid
from gridspine.kernel.readings import NamedReadings

ONE, TWO = "urn:dev:ops:32473-meter-1", "urn:dev:ops:32473-meter-2"
OWN = [Destination(f"gridspine/{thing}/readings", "readings", (thing,)) for thing in (ONE, TWO)]
VALUES = Destination("home/power", "values", (ONE,), (ValueRoute(ONE, "power", Mapping("home/power", "kW")),))
NOW_US = 1_767_225_600_000_000

names = st.sampled_from(["power", "voltage", f"{ONE}/power", f"{TWO}/power", "", "a b", "ü\\u00fc"])
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
times = st.one_of(st.sampled_from([0, -10, 1.7e9, 1.7e9 + 0.0000005, 2.0**28, 2.0**28 - 1, 1e15, -1e300]), numbers)
records = st.fixed_dictionaries(
    {"v": st.one_of(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), numbers, st.none(), st.just("x"))},
    optional={
        "bn": st.sampled_from([f"{ONE}/", f"{TWO}/", "", None]),
        "bt": times,
        "bu": st.sampled_from(["W", "kW", ""]),
        "n": names,
        "u": st.sampled_from(["W", "", "V"]),
        "t": times,
        "q": st.integers(-1, 5),
        "q_": st.one_of(st.integers(0, 40_000), st.just(2**70)),
        "seq": st.one_of(st.integers(-1, 9), st.just(2**63), st.just("x"), st.booleans()),
        "run": st.sampled_from(["", "a", 7, None]),
        "bv": st.just(3),
        "vb": st.booleans(),
        "bver": st.sampled_from([10, 11]),
        "must_": st.just(1),
        "extra": st.just([1]),
    },
)
plain = st.fixed_dictionaries({"v": st.floats(-1e6, 1e6), "n": st.sampled_from(["power", "voltage"])})
packs = st.one_of(st.lists(plain, max_size=3), st.lists(records, max_size=4))
bodies = st.one_of(
    packs.map(lambda pack: json.dumps(pack).encode()),
    packs.map(lambda pack: json.dumps(pack).encode()),
    st.sampled_from([b"", b"[", b"[]", b'[{"v":1}],[{"v":2}]', b'[{"v":1', b"3.5", b'{"power": 1, "seq": 4}', b"\xff"]),
    st.binary(max_size=8),
)
messages = st.builds(
    Published,
    st.sampled_from([OWN[0], OWN[0], OWN[0], OWN[1], VALUES]),
    bodies,
    st.sampled_from([NOW_US, NOW_US + 1_000_000]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, Count(8, "p")]),
)


def rows(readings: NamedReadings) -> list[tuple[Any, ...]]:
    point = [(readings.names[at], readings.units[at]) for at in readings.name_index.tolist()]
    columns = (readings.item, readings.observed_us, readings.value, readings.quality)
    return list(zip(point, *(column.tolist() for column in columns), strict=True))


def one_by_one(published: list[Published]) -> tuple[NamedReadings, list[Count], int]:
    parts, counts, bad = [], [], 0
    for message in published:
        try:
            payload = decode_one(message)
        except Invalid as error:
            parts.append(unreadable(f"topic {message.destination.topic!r}: {error.detail}"))
            bad += 1
            continue
        parts.append(payload.readings)
        counts += [count for count in [payload.count or message.count] if count is not None]
    return join(parts), counts, bad


@given(st.lists(messages, min_size=1, max_size=6))
def test_a_batch_says_what_its_messages_say(published: list[Published]) -> None:
    batch = decode_batch(published)
    readings, counts, bad = one_by_one(published)
    assert rows(batch.readings) == rows(readings)
    assert batch.readings.problems == readings.problems
    assert (batch.counts, batch.unreadable) == (counts, bad)
    for column in ("name_index", "item", "observed_us", "value", "quality"):
        assert getattr(batch.readings, column).dtype == getattr(readings, column).dtype


@given(st.lists(messages, min_size=1, max_size=6))
def test_no_two_items_of_a_batch_have_one_number(published: list[Published]) -> None:
    batch = decode_batch(published)
    items = batch.readings.item.tolist() + [problem.index for problem in batch.readings.problems]
    assert len(set(items)) == len(items) == batch.readings.received


def test_a_pack_cannot_reach_into_the_next_message() -> None:
    whole = b'[{"n":"power","v":1}]'
    published = [Published(OWN[0], body, NOW_US) for body in (whole, b'[{"n":"a]', b'["}]', whole)]
    batch = decode_batch(published)
    assert batch.unreadable == 2
    assert batch.readings.value.tolist() == [1.0, 1.0]
    assert [problem.reason for problem in batch.readings.problems] == ["unreadable"] * 2


def test_times_left_out_are_those_of_each_message() -> None:
    body = b'[{"n":"power","v":1}]'
    batch = decode_batch([Published(OWN[0], body, NOW_US + at) for at in (0, 5, 9)])
    assert np.array_equal(batch.readings.observed_us - NOW_US, [0, 5, 9])
