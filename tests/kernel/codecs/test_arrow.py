"""Arrow streams: back as they were; damage and bombs are answered and never crash the process."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from codec_strategies import as_rows, check_whole, named_readings, rows
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.codecs import arrow
from gridspine.kernel.codecs.arrow import MAX_MESSAGES, SCHEMA, decode_arrow, encode_arrow
from gridspine.kernel.codecs.ipc_size import claimed_bytes
from gridspine.kernel.errors import GridspineError, Invalid, TooLarge
from gridspine.kernel.time import MAX_US

T_US = 1_700_000_000_000_000


def stream(*batches: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def batch(**columns: pa.Array) -> pa.RecordBatch:
    length = max((len(column) for column in columns.values()), default=1)
    plain = {
        "point": pa.array(["a"] * length),
        "observed": pa.array([T_US] * length),
        "value": pa.array([1.0] * length),
    }
    return pa.record_batch(plain | columns)


def decode(*batches: pa.RecordBatch, max_items: int = 1000) -> list[tuple[str, str, int, float, int]]:
    named = decode_arrow(stream(*batches), max_items=max_items)
    check_whole(named, sent=sum(b.num_rows for b in batches))
    return as_rows(named)


@given(rows())
def test_readings_come_back(sent: list[tuple[str, str, int, float, int]]) -> None:
    named = named_readings(sent)
    body = encode_arrow(named.names, named.name_index, named.observed_us, named.value, named.quality)
    back = decode_arrow(body, max_items=100)
    assert as_rows(back) == sent
    check_whole(back, sent=len(sent))


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_plain_text_units_and_several_batches(compression: str | None) -> None:
    first = batch(point=pa.array(["a", "b"]), unit=pa.array(["W", None]), quality=pa.array([3, 0], pa.uint8()))
    second = batch(point=pa.array(["b", "a"]), unit=pa.array(["kW", "W"]), quality=pa.array([0, None], pa.uint8()))
    named = decode_arrow(stream(first, second, compression=compression), max_items=4)
    assert [(n, u, q) for n, u, _, _, q in as_rows(named)] == [
        ("a", "W", 3),
        ("b", "", 0),
        ("b", "kW", 0),
        ("a", "W", 0),
    ]


def test_growing_dictionaries() -> None:
    parts = [pa.array(words).dictionary_encode() for words in (["a", "b"], ["a", "b", "c"])]
    assert [row[0] for row in decode(*(batch(point=part) for part in parts))] == ["a", "b", "a", "b", "c"]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1_000_000), ("ms", 1000), ("us", 1), ("ns", 0.001)])
def test_times_of_every_resolution(unit: str, factor: float) -> None:
    observed = pa.array([round(T_US / factor), -1, 2**62, None], pa.timestamp(unit))
    named = decode_arrow(stream(batch(observed=observed)), max_items=4)
    expected = [T_US, 2**62 // 1000] if unit == "ns" else [T_US]
    assert named.observed_us.tolist() == expected
    assert {p.index: p.reason for p in named.problems if p.index != 2} == {1: "time", 3: "malformed"}
    assert named.received == 4


def test_rows_with_nulls_are_named_and_spoil_no_other() -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int8()), pa.array(["a", None]))
    named = decode_arrow(stream(batch(point=words, value=pa.array([1.0, 2.0, 3.0, None]))), max_items=4)
    assert as_rows(named) == [("a", "", T_US, 1.0, 0)]
    assert [(p.index, p.reason) for p in named.problems] == [(1, "malformed"), (2, "malformed"), (3, "malformed")]


def test_bad_qualities_and_times_are_named() -> None:
    quality = pa.array([0, -1, 32768, 2**62], pa.int64())
    observed = pa.array([T_US, -5, T_US, MAX_US + 1])
    named = decode_arrow(stream(batch(quality=quality, observed=observed)), max_items=4)
    assert [(p.index, p.reason) for p in named.problems] == [(1, "time"), (3, "time"), (2, "bad-quality")]


@pytest.mark.parametrize(
    "columns",
    [{"point": pa.array([1])}, {"value": pa.array(["1"])}, {"observed": pa.array(["noon"])},
     {"observed": pa.array([1.5])}, {"quality": pa.array([0.5])}, {"unit": pa.array([[1]])},
     {"point": pa.array([b"a"])}],
)  # fmt: skip
def test_columns_of_another_type_are_invalid(columns: dict[str, pa.Array]) -> None:
    with pytest.raises(Invalid):
        decode(batch(**columns))


def test_a_missing_column_and_one_given_twice_are_invalid() -> None:
    for names in (["point", "value"], ["point", "observed", "value", "value"]):
        arrays = [pa.array(["a"]) if name == "point" else pa.array([1.0]) for name in names]
        with pytest.raises(Invalid):
            decode_arrow(stream(pa.RecordBatch.from_arrays(arrays, names)), max_items=5)


def test_more_rows_or_messages_than_are_taken() -> None:
    with pytest.raises(TooLarge):
        decode(batch(value=pa.array([1.0] * 11)), max_items=10)
    with pytest.raises(Invalid, match="messages"):
        decode_arrow(stream(*[batch()] * (MAX_MESSAGES + 1)), max_items=10**6)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_bomb_is_answered_before_it_is_unpacked(compression: str) -> None:
    zeros = batch(point=pa.array(["a"]), ballast=pa.array([b"\0" * (300 << 20)], pa.large_binary()))
    body = stream(zeros, compression=compression)
    assert len(body) < 3 << 20
    assert claimed_bytes(body, max_messages=10) > 300 << 20
    before = pa.total_allocated_bytes(), pa.default_memory_pool().max_memory()
    del zeros
    with pytest.raises(TooLarge):
        decode_arrow(body, max_items=10)
    assert pa.default_memory_pool().max_memory() == before[1]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_claims_are_what_the_columns_take(compression: str | None) -> None:
    words = pa.array(["a", "b"] * 500).dictionary_encode()
    one = batch(point=words, value=pa.array(np.arange(1000.0)))
    claimed = claimed_bytes(stream(one, compression=compression), max_messages=10)
    assert one.nbytes - 100 <= claimed <= one.nbytes + 1000


def test_words_that_no_row_uses_are_not_made_into_names() -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([7, 3, 7], pa.int32()), pa.array([str(n) for n in range(100_000)]))
    named = decode_arrow(stream(batch(point=words)), max_items=10)
    assert sorted(named.names) == ["3", "7"]
    assert [row[0] for row in as_rows(named)] == ["7", "3", "7"]


CHILD = """
import random, sys
import pyarrow as pa
from gridspine.kernel.codecs.arrow import decode_arrow
from gridspine.kernel.errors import GridspineError

def stream(point, compression):
    n = len(point)
    batch = pa.record_batch({"point": point, "observed": pa.array([1700000000] * n, pa.timestamp("s", "UTC")),
        "value": pa.array([1.5] * n), "quality": pa.array([0] * n, pa.uint16()),
        "unit": pa.array(["W", None] * (n // 2))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    return bytes(sink.getvalue())

words = pa.array(["urn:x:a/p", "urn:x:b/p"] * 20)
bodies = [stream(p, c) for p in (words, words.dictionary_encode()) for c in (None, "lz4", "zstd")]
rng, read, refused = random.Random(int(sys.argv[1])), 0, 0
for _ in range(int(sys.argv[2])):
    body = bytearray(rng.choice(bodies))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        choice = rng.random()
        if choice < 0.6:
            body[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256), body[at] ^ 1 << rng.randrange(8)))
        elif choice < 0.9:
            body[at : at + 4] = rng.choice((2**32 - 1, 2**31, 2**31 - 1, 0)).to_bytes(4, "little")
        else:
            del body[at:]
            break
    try:
        named = decode_arrow(bytes(body), max_items=1000)
        [named.names[k] for k in named.name_index]
        assert named.received <= 1000
        read += 1
    except GridspineError:
        refused += 1
print(read, refused)
"""


def fuzz(seed: int, count: int) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, str(seed), str(count)], capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}: code {done.returncode}\n{done.stderr[-2000:]}"
    read, refused = map(int, done.stdout.split())
    assert read + refused == count
    assert refused > count // 4  # the mutations do reach what is checked


def test_mutated_streams_never_crash_the_process() -> None:
    fuzz(seed=1, count=4_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 7))
def test_very_many_mutated_streams_never_crash_the_process(seed: int) -> None:
    fuzz(seed, count=30_000)


def test_what_is_no_stream_is_refused() -> None:
    for body in (b"", b"\0" * 100, b"ARROW1\0\0" * 20, b"\xff\xff\xff\xff\xff\xff\xff\x7f"):
        with pytest.raises(GridspineError):
            decode_arrow(body, max_items=10)


@given(rows(), st.data())
def test_the_short_way_agrees_with_the_long_one(
    sent: list[tuple[str, str, int, float, int]], data: st.DataObject
) -> None:
    """Streams of the schema that gridspine sends, with nulls, odd times and odd qualities among them."""
    named = named_readings(sent)
    columns = [
        [data.draw(st.sampled_from((value, value, value, None, *odd))) for value in values]
        for values, odd in (
            (named.name_index.tolist(), ()), (named.observed_us.tolist(), (-1, MAX_US + 1)), (named.value.tolist(), ()),
            (named.quality.tolist(), (40_000,)),
        )
    ]  # fmt: skip
    words = pa.array([*named.names, data.draw(st.sampled_from(["more", None]))], pa.string())
    point = pa.DictionaryArray.from_arrays(pa.array(columns[0], pa.int32()), words)
    arrays = [point, *(pa.array(c, f.type) for c, f in zip(columns[1:], list(SCHEMA)[1:], strict=True))]
    body = stream(pa.record_batch(arrays, schema=SCHEMA))
    got = decode_arrow(body, max_items=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "_plain", lambda _: None)
        want = decode_arrow(body, max_items=100)
    assert as_rows(got) == as_rows(want)
    assert (got.item.tolist(), got.problems) == (want.item.tolist(), want.problems)
