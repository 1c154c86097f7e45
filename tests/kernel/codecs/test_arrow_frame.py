"""Frames of Arrow streams: what is read by one is what is read without; they take bounded memory."""

import struct

import numpy as np
import pyarrow as pa
import pytest
from codec_strategies import as_rows, check_whole, mutated, named_readings, rows
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.codecs.arrow import SCHEMA, decode_arrow, encode_arrow
from gridspine.kernel.codecs.arrow_frame import MAX_FRAME_BYTES, Frames
from gridspine.kernel.codecs.ipc_size import _Table, _uint32
from gridspine.kernel.errors import GridspineError, TooLarge
from gridspine.kernel.quality import ALL_BITS
from gridspine.kernel.readings import Float64Array, Int64Array, NamedReadings
from gridspine.kernel.time import MAX_US

T_US = 1_700_000_000_000_000


@pytest.fixture
def frames() -> Frames:
    return Frames()


def encoded(names: int, shift: int = 0, readings: int | None = None) -> bytes:
    count = names if readings is None else readings
    index = np.arange(count, dtype=np.int32) % names
    times = np.arange(count) + T_US + shift
    words = [f"urn:x:{at}/p" for at in range(names)]
    return encode_arrow(words, index, times, np.arange(count) + shift / 8, np.full(count, shift, np.uint16))


def told(body: bytes, frames: Frames | None) -> str:
    """What decoding says, good or bad; as text, for a number that is none is not equal to itself."""
    try:
        got = decode_arrow(body, max_items=100, frames=frames)
    except GridspineError as error:
        return str(type(error))
    check_whole(got)
    return str((as_rows(got), got.item.tolist(), got.problems))


def with_columns(like: bytes, *, at: int, **columns: object) -> bytes:
    """A stream whose frame is that of ``like``, with some other numbers at one row."""
    body = bytearray(like)
    source = pa.py_buffer(like)
    for name, number in columns.items():
        kind = {"point": "<i", "observed": "<q", "value": "<d", "quality": "<H"}[name]
        with pa.ipc.open_stream(source) as reader:
            column = reader.read_next_batch().column(name)
        numbers = (column.indices if name == "point" else column).buffers()[1]
        struct.pack_into(kind, body, numbers.address - source.address + at * struct.calcsize(kind), number)
    return bytes(body)


def test_a_stream_like_one_before_is_read_by_its_frame(frames: Frames) -> None:
    first, again = encoded(5), encoded(5, shift=7)
    decode_arrow(first, max_items=100, frames=frames)
    frame = frames.find(again)
    assert frame is not None
    assert told(again, frames) == told(again, None)
    one, two = decode_arrow(first, max_items=100, frames=frames), decode_arrow(again, max_items=100, frames=frames)
    assert one.names is two.names and one.observed_us[0] != two.observed_us[0]


@pytest.mark.parametrize("other", [encoded(4), encoded(6), encoded(5, readings=10)])
def test_other_names_or_lengths_have_another_frame(frames: Frames, other: bytes) -> None:
    decode_arrow(encoded(5), max_items=100, frames=frames)
    assert frames.find(other) is None
    assert told(other, frames) == told(other, None)


def test_names_of_the_same_lengths_are_told_apart(frames: Frames) -> None:
    body = encoded(5)
    decode_arrow(body, max_items=100, frames=frames)
    other = body.replace(b"urn:x:3/p", b"urn:x:9/p")
    assert len(other) == len(body) and frames.find(other) is None
    assert list(decode_arrow(other, max_items=100, frames=frames).names)[3] == "urn:x:9/p"


BOUNDS = [
    ("point", 4), ("point", 5), ("point", -1), ("observed", MAX_US), ("observed", MAX_US + 1), ("observed", -1),
    ("quality", ALL_BITS), ("quality", ALL_BITS + 1), ("value", float("nan")), ("value", float("inf")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "number"), BOUNDS)
@pytest.mark.parametrize("at", [0, 4])
def test_numbers_out_of_their_bounds_are_found_as_ever(frames: Frames, name: str, number: float, at: int) -> None:
    decode_arrow(encoded(5), max_items=100, frames=frames)
    body = with_columns(encoded(5), at=at, **{name: number})
    assert frames.find(body) is not None
    assert told(body, frames) == told(body, None)


def test_more_items_than_are_taken_are_refused_by_a_frame_too(frames: Frames) -> None:
    body = encoded(5)
    decode_arrow(body, max_items=5, frames=frames)
    assert frames.find(body) is not None
    with pytest.raises(TooLarge):
        decode_arrow(body, max_items=4, frames=frames)


def test_streams_with_room_for_nulls_or_compressed_have_no_frame(frames: Frames) -> None:
    """A stranger may say that how many numbers are missing is not known: then what is among the numbers tells."""
    words = pa.DictionaryArray.from_arrays(pa.array([0, 0, 0], pa.int32()), pa.array(["p"]))
    columns = [pa.array([T_US] * 3, pa.timestamp("us", "UTC")), pa.array([1.0, 2.0, None]), pa.array([0] * 3)]
    batch = pa.record_batch([words, columns[0], columns[1], columns[2].cast(pa.uint16())], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(batch)
    body = sink.getvalue().to_pybytes()
    known, unknown = struct.pack("<qq", 3, 1), struct.pack("<qq", 3, -1)
    missing, whole = (bytes([bits]) + bytes(7) + struct.pack("<d", 1.0) for bits in (3, 7))
    assert body.count(known) == 1 and body.count(missing) == 1
    nothing_missing = body.replace(known, unknown).replace(missing, whole)
    assert len(decode_arrow(nothing_missing, max_items=10, frames=frames)) == 3
    assert len(decode_arrow(body.replace(known, unknown), max_items=10, frames=frames)) == 2
    assert frames.find(nothing_missing) is None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch.slice(0, 2))
    packed = sink.getvalue().to_pybytes()
    assert len(decode_arrow(packed, max_items=10, frames=frames)) == 2
    assert frames.find(packed) is None


@given(rows().filter(bool), st.data())
def test_whatever_comes_after_is_read_as_without_frames(
    sent: list[tuple[str, str, int, float, int]], data: st.DataObject
) -> None:
    named = named_readings(sent)
    body = encode_arrow(named.names, named.name_index, named.observed_us, named.value, named.quality)
    spoilt = data.draw(st.lists(mutated(st.just(body)) | changed(body), max_size=3))
    frames = Frames()
    for one in (body, *spoilt, body):
        assert told(one, frames) == told(one, None)


@st.composite
def changed(draw: st.DrawFn, body: bytes) -> bytes:
    """``body``, as long as before, with some bytes of its second half changed: there the numbers are."""
    spoilt = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        spoilt[draw(st.integers(len(body) // 2, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(spoilt)


def compressed_as_java(times: Int64Array, values: Float64Array) -> tuple[bytes, set[bool]]:
    """A stream in LZ4 whose columns are stored as they are where compression makes them longer, as Arrow Java writes.

    Also whether each column is stored.
    """
    count = len(times)
    arrays = [np.arange(count, dtype=np.int32), times, values, np.zeros(count, np.uint16)]
    names = pa.array([f"urn:x:{at}/p" for at in range(count)])
    columns = [pa.DictionaryArray.from_arrays(arrays[0], names), pa.array(times, pa.timestamp("us", "UTC"))]
    batch = pa.record_batch([*columns, pa.array(values), pa.array(arrays[3])], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    codec, layout, body, stored = pa.Codec("lz4"), b"", b"", set()
    for array in arrays:
        plain = array.tobytes()
        packed = codec.compress(plain, asbytes=True)
        stored.add(len(packed) > len(plain))
        part = struct.pack("<q", -1) + plain if len(packed) > len(plain) else struct.pack("<q", len(plain)) + packed
        layout += struct.pack("<4q", len(body), 0, len(body), len(part))  # no room for nulls, and the numbers
        body += part + bytes(-len(part) % 64)
    whole = b""
    for message in pa.ipc.MessageReader.open_stream(sink.getvalue()):
        metadata, content = message.metadata.to_pybytes(), message.body.to_pybytes() if message.body else b""
        if message.type == "record batch":
            table = _Table(metadata, _uint32(metadata, 0)).table(2)
            assert table is not None
            before = b"".join(struct.pack("<qq", *one) for one in table.structs(2))
            assert (metadata.count(before), metadata.count(struct.pack("<q", len(content)))) == (1, 1)
            metadata = metadata.replace(before, layout).replace(
                struct.pack("<q", len(content)), struct.pack("<q", len(body))
            )
            content = body
        whole += struct.pack("<iI", -1, len(metadata)) + metadata + content
    return whole + struct.pack("<iI", -1, 0), stored


def test_a_column_that_is_stored_once_and_compressed_the_next_time_is_read_right(frames: Frames) -> None:
    """Found in review: of such posts one in twelve was read as what its bytes are in LZ4."""
    random = np.random.default_rng(3)
    kinds = set()
    for post in range(300):
        values = np.round(230 + random.normal(0, 0.3, 8), 1)
        times = np.sort(T_US + post * 60_000_000 + random.integers(0, 60_000_000, 8))
        body, stored = compressed_as_java(times, values)
        kinds |= stored
        assert decode_arrow(body, max_items=100, frames=frames).value.tolist() == values.tolist()
    assert kinds == {True, False}


def test_frames_take_bounded_memory() -> None:
    frames = Frames(max_bytes=100_000)
    bodies = [encoded(5, readings=at) for at in range(5, 105)]
    for body in bodies:
        frames.keep(body, places_of(body), decode_arrow(body, max_items=1000))
        frames.keep(body, places_of(body), decode_arrow(body, max_items=1000))  # again, it counts once
    known = [frames.find(body) is not None for body in bodies]
    assert known[-1] and not known[0] and known == sorted(known)
    assert 20 <= sum(known) < 100
    for number in range(5_000):  # lengths are not remembered for ever either
        body = b"x" * number + bodies[0]
        moved = tuple(place + number for place in places_of(bodies[0]))
        frames.keep(body, moved, decode_arrow(bodies[0], max_items=1000))  # type: ignore[arg-type]
    assert len(frames._spans) < 1_200 and len(frames._known) < 100


def test_large_frames_are_not_kept(frames: Frames) -> None:
    body = encoded(10, readings=MAX_FRAME_BYTES // 8)
    decode_arrow(body, max_items=10**6, frames=frames)
    assert frames.find(body) is None


def test_what_is_not_packed_is_not_kept() -> None:
    frames, body = Frames(), encoded(5)
    read = decode_arrow(body, max_items=100)
    columns = (read.name_index, read.item, read.observed_us, read.value, read.quality)
    frames.keep(body, places_of(body), NamedReadings(list(read.names), read.units, *columns))
    assert frames.find(body) is None


def places_of(body: bytes) -> tuple[int, int, int, int]:
    """Where the numbers of a stream lie, found by looking at what they are."""
    read = decode_arrow(body, max_items=10**6)
    point, observed, value, quality = (
        column.__array_interface__["data"][0] - np.frombuffer(body, np.uint8).__array_interface__["data"][0]
        for column in (read.name_index, read.observed_us, read.value, read.quality)
    )
    return point, observed, value, quality
