"""NDJSON and CSV: good lines come through, bad lines are named, nothing else happens."""

import contextlib
import csv
import io
import json

import pytest
from codec_strategies import as_rows, check_whole, mutated, rows
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.codecs.rows import decode_csv, decode_ndjson
from gridspine.kernel.errors import GridspineError, Invalid, TooLarge
from gridspine.kernel.time import format_rfc3339


def ndjson(sent: list[tuple[str, str, int, float, int]]) -> bytes:
    return b"".join(
        json.dumps({"point": n, "unit": u, "observed": format_rfc3339(t), "value": v, "quality": q}).encode() + b"\n"
        for n, u, t, v, q in sent
    )


def as_csv(sent: list[tuple[str, str, int, float, int]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["point", "unit", "observed", "value", "quality"])
    writer.writerows([n, u, format_rfc3339(t), repr(v), q] for n, u, t, v, q in sent)
    return text.getvalue().encode()


@given(rows())
def test_ndjson_lines_become_readings(sent: list[tuple[str, str, int, float, int]]) -> None:
    batch = decode_ndjson(ndjson(sent), max_items=100)
    assert as_rows(batch) == sent
    check_whole(batch, sent=len(sent))


@given(rows())
def test_csv_lines_become_readings(sent: list[tuple[str, str, int, float, int]]) -> None:
    batch = decode_csv(as_csv(sent), max_items=100)
    assert as_rows(batch) == sent
    check_whole(batch, sent=len(sent))


@given(mutated(rows().map(ndjson)) | st.binary(max_size=200))
def test_damaged_ndjson_raises_nothing_else(body: bytes) -> None:
    with contextlib.suppress(GridspineError):
        check_whole(decode_ndjson(body, max_items=20))


@given(mutated(rows().map(as_csv)) | st.binary(max_size=200))
def test_damaged_csv_raises_nothing_else(body: bytes) -> None:
    with contextlib.suppress(GridspineError):
        check_whole(decode_csv(body, max_items=20))


GOOD = b'{"point":"a","observed":1700000000.5,"value":1}'


@pytest.mark.parametrize(
    "bad",
    [
        b"{", b"[]", b'{"point":1,"observed":1,"value":1}', b'{"point":"a","observed":1}',
        b'{"point":"a","observed":1,"value":' + b"9" * 400 + b"}", b'{"point":"a","observed":1,"value":1e999}',
        b'{"point":"a","observed":-1,"value":1}', b'{"point":"a","observed":1e300,"value":1}',
        b'{"point":"a","observed":"2026-01-31","value":1}', b'{"point":"\xff","observed":1,"value":1}',
        b'{"point":"a","observed":1,"value":1,"quality":32768}', b'{"point":"a","observed":1,"value":1,"quality":-1}',
        b'{"point":"a","observed":1,"value":1,"x":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_bad_ndjson_line_is_named_and_spoils_no_other(bad: bytes) -> None:
    batch = decode_ndjson(GOOD + b"\n" + bad + b"\n\n" + GOOD, max_items=10)
    assert as_rows(batch) == [("a", "", 1_700_000_000_500_000, 1.0, 0)] * 2
    assert [problem.index for problem in batch.problems] == [1]
    check_whole(batch, sent=3)


@pytest.mark.parametrize(
    "bad", [b'"b"x,1,2', b"b,1", b"b,yesterday,1", b"b,1,x", b"b,1,,", b"b,nan,1", b"b" * 200_000 + b",1,2"]
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_bad_csv_line_is_named_and_spoils_no_other(bad: bytes, end: bytes) -> None:
    body = end.join((b"\xef\xbb\xbfpoint,observed,value", b"a,5,1", bad, b"a,6,2", b""))
    batch = decode_csv(body, max_items=10)
    assert as_rows(batch) == [("a", "", 5_000_000, 1.0, 0), ("a", "", 6_000_000, 2.0, 0)]
    assert [problem.index for problem in batch.problems] == [1]


def test_a_csv_without_its_columns_is_invalid() -> None:
    for body in (b"", b"point,value\na,1", b"\xff\xfe", b"observed,value"):
        with pytest.raises(Invalid):
            decode_csv(body, max_items=10)


def test_both_take_a_bounded_number() -> None:
    with pytest.raises(TooLarge):
        decode_ndjson((GOOD + b"\n") * 11, max_items=10)
    with pytest.raises(TooLarge):
        decode_csv(b"point,observed,value\n" + b"a,1,1\n" * 11, max_items=10)
    assert len(decode_ndjson((GOOD + b"\n") * 10, max_items=10)) == 10
