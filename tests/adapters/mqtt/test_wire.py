"""Payloads and topics: properties by Hypothesis, and the cases that devices on the market bring."""

import contextlib
import json
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mqtt_device import OTHER, THING

from gridspine.adapters.mqtt.topics import (
    Mapping,
    MqttConnection,
    Routes,
    ValueRoute,
    check_topic,
    decode_thing,
    encode_thing,
    usual_topic,
)
from gridspine.adapters.mqtt.wire import (
    Count,
    count_of_properties,
    decode_acknowledgement,
    decode_command,
    decode_readings,
    decode_values,
    encode_command,
    relative_times,
)
from gridspine.apps.demo.meter import topic_of
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_urn
from gridspine.kernel.time import format_rfc3339, parse_rfc3339
from gridspine.things.adapter import Binding, Order

NOW_US = 1_767_225_600_000_000
urns = st.from_regex(r"urn:[a-z0-9]{2,8}:[A-Za-z0-9()+,\-.:=@;$_!*'%]{1,40}", fullmatch=True)
points = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: name not in {"time", "seq", "run", "quality", "units"}
)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15)
times = st.integers(0, 4_000_000_000 * 1_000_000)


def bind(thing: str, **connection: Any) -> Binding:
    return Binding(thing, "Meter", "org", "m", connection)


@given(urns)
@example("urn:dev:a+b%2F")
def test_a_thing_is_one_level_and_comes_back(thing: str) -> None:
    check_urn(thing)
    level = encode_thing(thing)
    assert not set(level) & set("/+#")
    assert decode_thing(level) == thing
    assert check_topic(usual_topic(thing, "readings")) == topic_of(thing)


@given(st.text(max_size=60))
def test_only_our_own_spelling_of_a_thing_is_taken(level: str) -> None:
    thing = decode_thing(level)
    assert thing is None or encode_thing(thing) == level


@given(st.dictionaries(points, numbers, max_size=8), times, st.integers(0, 2**40) | st.none())
def test_a_plain_object_gives_its_numbers(values: dict[str, float], time_us: int, seq: int | None) -> None:
    document = {"time": format_rfc3339(time_us), **values} | ({} if seq is None else {"seq": seq, "run": "a"})
    payload = decode_readings(json.dumps(document).encode(), thing=THING, now_us=NOW_US)
    got = payload.readings
    assert {got.names[i]: got.value[at] for at, i in enumerate(got.name_index)} == {
        f"{THING}/{name}": float(value) for name, value in values.items()
    }
    assert set(got.observed_us.tolist()) <= {time_us}
    assert payload.count == (None if seq is None else Count(seq, "a"))
    assert got.problems == []


@given(st.lists(st.tuples(st.sampled_from([THING, OTHER, ""]), points, numbers), max_size=10), st.booleans())
def test_senml_keeps_its_own_and_refuses_others_one_by_one(items: list[tuple[str, str, float]], cbor: bool) -> None:
    records = [{"n": f"{thing}/{name}" if thing else name, "v": value} for thing, name, value in items]
    body = cbor2.dumps([{0: r["n"], 2: r["v"]} for r in records]) if cbor else json.dumps(records).encode()
    got = decode_readings(body, thing=THING, now_us=NOW_US).readings
    assert got.received == len(items)
    assert sorted(p.index for p in got.problems) == [n for n, (thing, *_) in enumerate(items) if thing == OTHER]
    assert {p.reason for p in got.problems} <= {"not-yours"}
    assert got.item.tolist() == [n for n, (thing, *_) in enumerate(items) if thing != OTHER]
    assert all(got.names[i].startswith(f"{THING}/") for i in got.name_index)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode) | st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
).map(lambda document: json.dumps(document).encode()))  # fmt: skip
@example(b'{"time": 1}')
@example(b'{"quality": 70000}')
@example(b'{"units": []}')
@example(b'{"a": 1' + b"0" * 400 + b"}")
@example(b'[{"seq": "x", "n": "a", "v": 1}]')
@example(b"\x81\x63seq")
def test_any_bytes_are_readings_or_invalid(body: bytes) -> None:
    try:
        payload = decode_readings(body, thing=THING, now_us=NOW_US)
    except Invalid:
        return
    got = payload.readings
    assert len(got.observed_us) == len(got.value) == len(got.quality) == len(got.item) == len(got.name_index)
    assert all(name.startswith(f"{THING}/") for name in (got.names[i] for i in got.name_index))


@given(st.binary(max_size=100))
def test_any_bytes_on_a_mapped_topic_are_a_reading_or_a_problem(body: bytes) -> None:
    route = ValueRoute(THING, "power", Mapping("t", path="a.b"))
    bare = ValueRoute(THING, "power", Mapping("t", codes={"ON": 1.0}))
    got = decode_values(body, [route, bare], now_us=NOW_US).readings
    assert got.received in {1, 2}  # one problem for a wrong time, else one result a route


@pytest.mark.parametrize(
    ("body", "mapping", "value"),
    [
        (b"3.5", Mapping("t"), 3.5),
        (b" -7 ", Mapping("t"), -7.0),
        (b"true", Mapping("t"), 1.0),
        (b"ON", Mapping("t", codes={"ON": 2.0}), 2.0),
        (b'"ON"', Mapping("t", codes={"ON": 2.0}), 2.0),
        (b'{"a": {"b": 4}}', Mapping("t", path="a.b", scale=10.0), 40.0),
        (b"3.5 kW", Mapping("t"), None),
        (b"1_000", Mapping("t"), None),
        (b"nan", Mapping("t"), None),
        (b"[1]", Mapping("t"), None),
        (b'{"a": 1}', Mapping("t", path="b"), None),
        (b'{"a": 1}', Mapping("t"), None),
    ],
)
def test_mapped_payloads(body: bytes, mapping: Mapping, value: float | None) -> None:
    got = decode_values(body, [ValueRoute(THING, "p", mapping)], now_us=NOW_US).readings
    assert got.value.tolist() == ([] if value is None else [value])
    assert [p.reason for p in got.problems] == (["not-a-number"] if value is None else [])


def test_which_times_hang_on_the_moment() -> None:
    body = json.dumps(
        [{"n": "a", "v": 1}, {"n": "b", "v": 1, "t": -5}, {"n": "c", "v": 1, "t": 1_767_225_600}]
    ).encode()
    assert relative_times(body, thing=THING, now_us=NOW_US).tolist() == [True, True, False]


@given(
    st.text(max_size=20),
    points,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    times,
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**53),
)
def test_a_command_comes_over_whole(
    command: str, point: str, value: float | None, until_us: int, fallback: float, sequence: int
) -> None:
    order = Order(command, THING, point, value, until_us, fallback, sequence)
    got = decode_command(encode_command(order))
    assert (got.command, got.point, got.value, got.fallback, got.sequence) == (
        command,
        point,
        value,
        fallback,
        sequence,
    )
    assert parse_rfc3339(got.until) == until_us


@given(st.binary(max_size=60))
def test_any_bytes_are_an_acknowledgement_or_invalid(body: bytes) -> None:
    with contextlib.suppress(Invalid):
        assert decode_acknowledgement(body).state in {"acknowledged", "rejected", "failed"}


def test_counts() -> None:
    assert decode_readings(b'[{"n":"a","v":1,"seq":7,"run":3}]', thing=THING, now_us=0).count == Count(7, "3")
    cbor = cbor2.dumps([{0: "a", 2: 1, "seq": 9}])
    assert decode_readings(cbor, thing=THING, now_us=NOW_US).count == Count(9)
    assert decode_readings(b'{"a": 1, "seq": -1}', thing=THING, now_us=0).count is None
    assert decode_readings(b'{"a": 1, "seq": true}', thing=THING, now_us=0).count is None
    assert count_of_properties([("seq", "12"), ("run", "x")]) == Count(12, "x")
    assert count_of_properties([("seq", "twelve")]) is None
    assert count_of_properties([("seq", "٣")]) is None


@pytest.mark.parametrize(
    "connection",
    [
        {"topic": "x"},
        {"readings": "a/#"},
        {"commands": "$SYS/x"},
        {"topics": {"power": {"topic": "a", "unit": "furlong"}}},
        {"topics": {"not a point": {"topic": "a"}}},
        {"topics": {"power": {"topic": ""}}},
        {"readings": "a", "commands": "a"},
        {"readings": usual_topic(OTHER, "readings")},
        {"topics": {"power": {"topic": usual_topic(OTHER, "readings")}}},
    ],
)
def test_a_bad_binding_is_named_and_does_not_spoil_the_others(connection: dict[str, Any]) -> None:
    routes = Routes([bind(OTHER), bind(THING, **connection)])
    assert len(routes.problems) == 1
    assert set(routes.things) == {OTHER}
    destination = routes.destination(usual_topic(OTHER, "readings"))
    assert destination is not None
    assert destination.things == (OTHER,)


def test_a_topic_may_feed_two_things() -> None:
    shared = {"topics": {"power": {"topic": "home/p"}}}
    destination = Routes([bind(THING, **shared), bind(OTHER, **shared)]).destination("home/p")
    assert destination is not None
    assert destination.things == (THING, OTHER)
    assert MqttConnection(topics={"power": Mapping("home/p")}).topics["power"].scale == 1.0
