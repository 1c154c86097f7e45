"""SenML, JSON and CBOR: RFC 8428 as it is written, one bad record alone, and no other exception."""

import contextlib
import json
import math
from typing import Any

import cbor2
import msgspec
import pytest
from codec_strategies import NAMES, SENML_TIMES_US, as_rows, check_whole, mutated, named_readings, rows
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.codecs import senml
from gridspine.kernel.codecs.senml import decode_senml_cbor, decode_senml_json, encode_senml
from gridspine.kernel.errors import GridspineError, Invalid
from gridspine.kernel.time import US

NOW_US = 1_800_000_000 * US
Sent = list[tuple[str, str, int, float, int]]
SENT = rows(SENML_TIMES_US, NAMES)
UNITS = ("W", "degC", "1", "kWh")


def pack(sent: Sent, *, cbor: bool) -> bytes:
    batch = named_readings([(n, UNITS[at % 4], t, v, q) for at, (n, _, t, v, q) in enumerate(sent)])
    return encode_senml(
        batch.names, batch.units, batch.name_index, batch.observed_us, batch.value, batch.quality, cbor=cbor
    )


def decode(body: bytes, *, cbor: bool) -> Any:
    return (decode_senml_cbor if cbor else decode_senml_json)(body, now_us=NOW_US)


def both(records: list[dict[str, Any]]) -> Any:
    """Decode records in JSON and in CBOR; they must say the same."""
    batch = decode_senml_json(json.dumps(records).encode(), now_us=NOW_US)
    labels = {"bn": -2, "bt": -3, "bu": -4, "bv": -5, "bver": -1, "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "t": 6}
    relabelled = [{labels.get(k, k): v for k, v in record.items()} for record in records]
    other = decode_senml_cbor(cbor2.dumps(relabelled), now_us=NOW_US)
    assert as_rows(batch) == as_rows(other)
    assert [p.index for p in batch.problems] == [p.index for p in other.problems]
    check_whole(batch)
    return batch


@pytest.mark.parametrize("cbor", [False, True])
@given(sent=SENT)
def test_a_pack_comes_back(sent: Sent, cbor: bool) -> None:
    batch = decode(pack(sent, cbor=cbor), cbor=cbor)
    assert not batch.problems
    spelled = ("W", "Cel", "/", "kWh")
    assert as_rows(batch) == [(n, spelled[at % 4], t, v, q) for at, (n, _, t, v, q) in enumerate(sent)]
    check_whole(batch, sent=len(sent))


@pytest.mark.parametrize("cbor", [False, True])
@given(data=st.data())
def test_damage_raises_nothing_else(cbor: bool, data: st.DataObject) -> None:
    body = data.draw(mutated(SENT.map(lambda sent: pack(sent, cbor=cbor))) | st.binary(max_size=200))
    with contextlib.suppress(GridspineError):
        check_whole(decode(body, cbor=cbor))


FIELDS = ("bn", "bt", "bu", "bv", "bver", "bs", "n", "u", "v", "t", "q", "q_", "vb", "vs", "vd", "s", "x", "x_")
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**63, 10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
RECORDS = st.lists(st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=6) | JUNK, max_size=8)


@given(RECORDS)
def test_any_json_of_any_shape_is_answered_record_by_record(records: list[Any]) -> None:
    try:
        check_whole(decode_senml_json(json.dumps(records, allow_nan=False).encode(), now_us=NOW_US))
    except ValueError:  # JSON has no NaN
        pass
    except GridspineError as error:
        assert "version" in str(error)  # nothing else refuses a whole pack


LABELS = st.integers(-8, 12) | st.sampled_from(FIELDS) | st.binary(max_size=2) | st.floats() | st.booleans()


@given(st.lists(st.dictionaries(LABELS, JUNK | st.decimals(), max_size=6) | JUNK, max_size=8))
def test_any_cbor_of_any_shape_is_answered_record_by_record(records: list[Any]) -> None:
    try:
        check_whole(decode_senml_cbor(cbor2.dumps(records), now_us=NOW_US))
    except GridspineError as error:
        assert "version" in str(error)


@pytest.mark.parametrize(
    "body",
    ["d81c81d81d00", "81d81ca103d81d00", "81a102c5821b7fffffffffffffff01", "81a102c4821b7fffffffffffffff01",
     "81a102d81e820100", "9b7fffffffffffffff", "815b7fffffffffffffff", "81" * 5000, "81a102c11b7fffffffffffffff"],
)  # fmt: skip
def test_what_cbor_can_do_to_a_reader_is_answered(body: str) -> None:
    with contextlib.suppress(Invalid):
        check_whole(decode_senml_cbor(bytes.fromhex(body), now_us=NOW_US))


def test_depth_is_answered_as_deep_as_this_python_goes() -> None:
    with contextlib.suppress(Invalid):
        batch = decode_senml_json(b'[{"n":"a","vs":' + b"[" * 5000 + b"]" * 5000 + b"}]", now_us=NOW_US)
        assert [problem.reason for problem in batch.problems] == ["not-a-number"]


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{}", b""])
def test_what_is_no_pack_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid):
        decode_senml_json(body, now_us=NOW_US)


@pytest.mark.parametrize(
    "bad",
    [b'{"n":"b","v":1e999}', b'{"n":"b","v":' + b"9" * 400 + b"}", b'{"n":"b","v":"1"}', b'{"n":"\xff","v":1}',
     b"7", b"null", b'{"n":"b"}', b'{"n":"b","vs":"on"}', b'{"n":"b","vd":"AA"}', b'{"n":"b","v":1,"q":-1}',
     b'{"n":"b","v":1,"q":' + b"9" * 400 + b"}", b'{"n":"b","v":1,"x_":2}', b'{"n":"b","v":1,"x\\u005f":2}',
     b'{"n":"b","v":1,"t":1e300}', b'{"n":"b","v":1,"t":-9e12}'],
)  # fmt: skip
def test_a_bad_record_spoils_no_other(bad: bytes) -> None:
    batch = decode_senml_json(b'[{"bn":"x/","n":"a","v":1},' + bad + b',{"n":"c","v":2}]', now_us=NOW_US)
    assert as_rows(batch) == [("x/a", "", NOW_US, 1.0, 0), ("x/c", "", NOW_US, 2.0, 0)]
    assert [problem.index for problem in batch.problems] == [1]


@pytest.mark.parametrize(
    "broken", [{"bt": "noon", "n": "a", "v": 1}, {"bn": 7, "v": 1}, {"bt": 10**400}, {"bu": ["W"]}, {"bt": True}]
)
def test_records_after_a_broken_base_field_are_refused_not_guessed(broken: dict[str, Any]) -> None:
    batch = both([{"n": "good", "v": 1}, broken, {"n": "a", "v": 2, "t": 1}])
    assert [row[0] for row in as_rows(batch)] == ["good"]
    assert [problem.index for problem in batch.problems] == [1, 2]


def test_base_fields_of_a_refused_record_still_count() -> None:
    batch = both([{"bn": "x/", "bt": 1.7e9, "bu": "W", "bv": 100.0, "n": "a", "vs": "text"}, {"n": "b", "v": 1}])
    assert as_rows(batch) == [("x/b", "W", 1_700_000_000 * US, 101.0, 0)]


def test_a_base_value_is_added_to_numbers_only() -> None:
    batch = both([{"bv": 1e300, "n": "a", "vb": True}, {"n": "b", "vb": False}, {"n": "c", "v": 1}])
    assert batch.value.tolist() == [1.0, 0.0, 1e300 + 1]


def test_times_below_two_to_28_are_relative_to_now() -> None:
    batch = both([{"n": "a", "v": 1}, {"n": "b", "v": 1, "t": -5}, {"n": "c", "v": 1, "t": 2**28}])
    assert batch.observed_us.tolist() == [NOW_US, NOW_US - 5 * US, 2**28 * US]


def test_a_later_version_is_not_used_and_unknown_fields_are() -> None:
    for version in (11, 10**400):
        with pytest.raises(Invalid):
            decode_senml_json(json.dumps([{"n": "a", "v": 1, "bver": version}]).encode(), now_us=NOW_US)
    batch = decode_senml_cbor(cbor2.dumps([{0: "a", 2: 1, 99: 1, -99: 2, "other": 3}]), now_us=NOW_US)
    assert as_rows(batch) == [("a", "", NOW_US, 1.0, 0)]


def test_decimals_are_numbers_and_nan_is_left_to_the_screen() -> None:
    (decimal,) = decode_senml_cbor(bytes.fromhex("81a2006161" + "02c48220190fa1"), now_us=NOW_US).value
    assert decimal == pytest.approx(400.1)
    batch = decode_senml_cbor(cbor2.dumps([{0: "a", 2: math.nan}]), now_us=NOW_US)
    assert math.isnan(batch.value[0])


def test_the_quality_field_is_one_that_must_be_understood() -> None:
    batch = named_readings([("a", "W", NOW_US, 1.0, 11), ("a", "W", NOW_US, 2.0, 0)])
    columns = (batch.names, batch.units, batch.name_index, batch.observed_us, batch.value, batch.quality)
    assert [record.get("q_") for record in msgspec.json.decode(encode_senml(*columns, cbor=False))] == [11, None]


_NUMBERS = st.one_of(st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False, width=32))
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "n": st.sampled_from(["a", "b", "bn", "urn:x/é", ""]), "u": st.sampled_from(["W", "Wh", ""]), "v": _NUMBERS,
    "t": st.sampled_from([0, -5.5, 1.7e9, 1e300]),
}  # fmt: skip
_BASES: dict[str, st.SearchStrategy[Any]] = {
    "bn": st.sampled_from(["urn:x/", "b"]), "bt": st.sampled_from([1.7e9, 1.0]), "bu": st.just("kW"), "bv": _NUMBERS,
    "bver": st.just(10),
}  # fmt: skip
_RARE = st.sampled_from([{}] * 12 + [{"vb": True}, {"vs": "x"}, {"q": 1}, {"bn": "later/"}, {"x": 1}, {"v": "no"}])
_RECORD = st.fixed_dictionaries({}, optional=_FIELDS) | st.fixed_dictionaries(_FIELDS)


@given(
    st.fixed_dictionaries({}, optional={**_FIELDS, **_BASES}),
    st.lists(st.tuples(_RECORD, _RARE).map(lambda pair: {**pair[0], **pair[1]}), max_size=8),
)
def test_the_short_way_agrees_with_the_long_one(first: dict[str, Any], others: list[dict[str, Any]]) -> None:
    body = msgspec.json.encode([first, *others])
    got = decode_senml_json(body, now_us=NOW_US)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(senml, "_plain", lambda *_: None)
        want = decode_senml_json(body, now_us=NOW_US)
    named = [list(zip(b.names, b.units, strict=True)) for b in (got, want)]
    rows = [
        [(named[at][i], *row) for i, *row in zip(
            b.name_index.tolist(), b.item.tolist(), b.observed_us.tolist(), b.value.tolist(), b.quality.tolist(),
            strict=True,
        )]
        for at, b in enumerate((got, want))
    ]  # fmt: skip
    assert rows[0] == rows[1]
    assert got.problems == want.problems
