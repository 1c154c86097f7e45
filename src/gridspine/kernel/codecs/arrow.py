"""Arrow IPC streams to named readings and back.

Columns: ``point`` (string, best dictionary-encoded), ``observed`` (timestamp; or int64 µs since 1970), ``value``
(float64), and optionally ``quality`` (uint16) and ``unit`` (string). Unknown columns are ignored.

What a stream claims to need is looked at before anything is decompressed, and every batch is validated in full before
anything looks inside: unvalidated Arrow crashes the process. Of a stream that is a validated one again but for its
numbers, only these are looked at (`gridspine.kernel.codecs.arrow_frame`).
Source: Apache Arrow Columnar Format, IPC Streaming Format.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gridspine.kernel.codecs.arrow_frame import WIDTHS, Frames
from gridspine.kernel.codecs.ipc_size import claimed_bytes
from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.kernel.names import PADDING, PackedNames
from gridspine.kernel.quality import ALL_BITS
from gridspine.kernel.readings import ItemProblem, NamedReadings
from gridspine.kernel.time import MAX_US, MIN_US

MAX_BYTES = 256 << 20
"""Bytes that the columns of one stream may take in memory; a bomb is stopped here."""
MAX_MESSAGES = 4_096
"""Batches and dictionaries of one stream."""
_PER_MICROSECOND = {"s": 1_000_000, "ms": 1_000, "us": 1}

_STORED = b"\xff" * 8
"""Stands before a column that a compressed batch stores as it is: a length of -1 (Message.fbs, BodyCompression)."""
SCHEMA = pa.schema(
    [
        ("point", pa.dictionary(pa.int32(), pa.string())),
        ("observed", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
        ("quality", pa.uint16()),
    ]
)
"""What gridspine sends."""


def decode_arrow(body: bytes, *, max_items: int, frames: Frames | None = None) -> NamedReadings:
    """Read an Arrow IPC stream; raise `Invalid` when it is damaged or lacks a column, `TooLarge` beyond a bound.

    With ``frames`` those of plain streams are kept there, and streams with a frame known there are read by it.
    """
    frame = None if frames is None else frames.find(body)
    if frame is not None and frame.count <= max_items and (again := frame.read(body)) is not None:
        return again
    try:
        source = pa.py_buffer(body)
        batches, schema = _read(body, source, max_items)
        if len(batches) == 1 and schema.equals(SCHEMA):
            plain = _plain(batches[0])
            if plain is not None:
                if frames is not None:
                    _keep_frame(frames, body, source, batches[0], plain)
                return plain
        return _named(pa.Table.from_batches(batches, schema))
    except (pa.ArrowException, OSError, KeyError, ValueError, OverflowError, MemoryError) as error:
        raise Invalid(f"not an Arrow IPC stream of readings: {error}") from error


def encode_arrow(names: Sequence[str], name_index: Any, observed_us: Any, value: Any, quality: Any) -> bytes:
    """Return an Arrow IPC stream of readings; ``name_index`` int32 (n,) points into ``names``."""
    if len(names) > len(name_index):  # a few readings of a large product: only the names that occur
        used, name_index = np.unique(name_index, return_inverse=True)
        names = [names[at] for at in used.tolist()]
    batch = pa.record_batch(
        [
            pa.DictionaryArray.from_arrays(pa.array(name_index, pa.int32()), pa.array(names, pa.string())),
            pa.array(observed_us, pa.timestamp("us", "UTC")),
            pa.array(value, pa.float64()),
            pa.array(quality, pa.uint16()),
        ],
        schema=SCHEMA,
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _read(body: bytes, source: pa.Buffer, max_items: int) -> tuple[list[pa.RecordBatch], pa.Schema]:
    if claimed_bytes(body, max_messages=MAX_MESSAGES) > MAX_BYTES:
        raise TooLarge(f"at most {MAX_BYTES >> 20} MiB of columns at once")
    batches = []
    items = size = 0
    with pa.ipc.open_stream(source) as reader:
        missing = {"point", "observed", "value"} - set(reader.schema.names)
        if missing:
            raise Invalid(
                f"column {', '.join(sorted(missing))} is missing; there are: {', '.join(reader.schema.names)}"
            )
        for batch in reader:
            batch.validate(full=True)
            items += batch.num_rows
            size += batch.nbytes
            if items > max_items or size > MAX_BYTES:
                raise TooLarge(f"at most {max_items} readings and {MAX_BYTES >> 20} MiB of columns at once")
            batches.append(batch)
        return batches, reader.schema


def _plain(batch: pa.RecordBatch) -> NamedReadings | None:
    """Return the readings of a batch of `SCHEMA`, straight from its buffers; None where it needs a closer look."""
    point, observed, value, quality = batch.columns
    words = point.dictionary
    if observed.null_count or value.null_count or quality.null_count or point.null_count or words.null_count:
        return None
    observed_us, bits = observed.view(pa.int64()).to_numpy(), quality.to_numpy()
    count = len(observed_us)
    if count and (observed_us.min() < MIN_US or observed_us.max() > MAX_US or bits.max() > ALL_BITS):
        return None
    if len(words) > count:
        return None
    return NamedReadings(
        _packed(words),
        [""] * len(words),
        point.indices.to_numpy(),
        np.arange(count),
        observed_us,
        value.to_numpy(),
        bits,
    )


def _keep_frame(frames: Frames, body: bytes, source: pa.Buffer, batch: pa.RecordBatch, readings: NamedReadings) -> None:
    """Keep the frame of a stream of one batch of `SCHEMA`, if that was neither compressed nor has room for nulls."""
    columns = (batch.column(0).indices, *batch.columns[1:])
    buffers = [column.buffers() for column in columns]
    if not len(readings) or any(valid is not None for valid, _ in buffers):
        return
    starts = [numbers.address - source.address for _, numbers in buffers]
    if any(body[start - len(_STORED) : start] == _STORED for start in starts):
        return  # a compressed batch may store a column as it is, and compress it the next time, to the very same length
    point, observed, value, quality = (
        start + column.offset * width.itemsize for start, column, width in zip(starts, columns, WIDTHS, strict=True)
    )
    frames.keep(body, (point, observed, value, quality), readings)


def _named(table: pa.Table) -> NamedReadings:
    table = _without_null_words(table, "point")
    missing = np.zeros(len(table), np.bool_)
    for name in ("point", "observed", "value"):
        if table.column(name).null_count:
            missing |= table.column(name).is_null().to_numpy()
    names, units, index = _pairs(table)
    observed, bad_time = _microseconds(table.column("observed"))
    value = _numbers(table.column("value"), pa.float64(), np.nan)
    quality, bad_quality = _quality(table)
    problems = [
        ItemProblem(int(i), "malformed", "point, observed and value must be given") for i in missing.nonzero()[0]
    ]
    bad_time &= ~missing
    problems += [ItemProblem(int(i), "time", "observed is not a time from 1970 to 9999") for i in bad_time.nonzero()[0]]
    bad_quality &= ~(missing | bad_time)
    problems += [ItemProblem(int(i), "bad-quality", "quality is not 0…32767") for i in bad_quality.nonzero()[0]]
    item = np.arange(len(table), dtype=np.int64)
    if problems:
        good = ~(missing | bad_time | bad_quality)
        index, item, observed, value, quality = index[good], item[good], observed[good], value[good], quality[good]
    return NamedReadings(names, units, index, item, observed, value, quality, problems)


def _without_null_words(table: pa.Table, name: str) -> pa.Table:
    """A dictionary may hold a null and rows may name it: make those rows null themselves."""
    column = table.column(name)
    if not pa.types.is_dictionary(column.type) or not any(chunk.dictionary.null_count for chunk in column.chunks):
        return table
    return table.set_column(table.schema.get_field_index(name), name, column.cast(column.type.value_type))


def _pairs(table: pa.Table) -> tuple[PackedNames, list[str], Any]:
    """Return the distinct names and units, and each row's place among them."""
    point = _dictionary(table.column("point"))
    index = point.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    words = point.dictionary
    if len(words) > len(index):  # most are not used: a dictionary may be far longer than its column
        used, index = np.unique(index, return_inverse=True)
        words, index = words.take(pa.array(used[used < len(words)])), index.astype(np.int32)
    if "unit" not in table.schema.names:
        return _packed(words), [""] * len(words), index
    unit = _dictionary(table.column("unit").cast(pa.string()).fill_null(""))
    units = unit.dictionary.to_pylist()
    pair = index.astype(np.int64) * max(len(units), 1) + unit.indices.to_numpy(zero_copy_only=False)
    distinct, place = np.unique(pair, return_inverse=True)
    words = words.take(pa.array(distinct // max(len(units), 1)))
    return _packed(words), [units[p % len(units)] for p in distinct], place.astype(np.int32)


def _packed(words: pa.Array) -> PackedNames:
    """Take the words over as they lie, without making texts of them."""
    if words.null_count:
        words = words.fill_null("")
    if not len(words):
        return PackedNames.of(())
    width = np.int64 if pa.types.is_large_string(words.type) else np.int32
    _, places, data = words.buffers()
    offsets = np.frombuffer(places, width)[words.offset : words.offset + len(words) + 1].astype(np.int64)
    first, end = int(offsets[0]), int(offsets[-1])
    packed = np.zeros(end - first + PADDING, np.uint8)
    if end > first:
        packed[: end - first] = np.frombuffer(data, np.uint8)[first:end]
    return PackedNames(packed, offsets - first)


def _dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(column.type):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise Invalid(f"column point must be text, not {column.type}")
        column = column.dictionary_encode()
    elif not (pa.types.is_string(column.type.value_type) or pa.types.is_large_string(column.type.value_type)):
        raise Invalid(f"column point must be text, not {column.type.value_type}")
    if column.num_chunks == 0:
        return pa.array([], pa.string()).dictionary_encode()
    chunk = column.unify_dictionaries().combine_chunks()
    if isinstance(chunk, pa.ChunkedArray):  # several chunks may come back as one chunked array
        chunk = chunk.chunk(0)
    return chunk


def _microseconds(column: pa.ChunkedArray) -> tuple[Any, Any]:
    """Return the times [µs since 1970], and which of them are none; a time without a zone is taken as UTC."""
    unit = "us"
    if pa.types.is_timestamp(column.type):
        unit = column.type.unit
        column = column.cast(pa.int64())
    elif not pa.types.is_integer(column.type):
        raise Invalid(f"column observed must be a timestamp or int64 µs, not {column.type}")
    time = _numbers(column, pa.int64(), 0)
    if unit == "ns":
        time = time // 1_000
        factor = 1
    else:
        factor = _PER_MICROSECOND[unit]
    bad = (time < MIN_US // factor) | (time > MAX_US // factor)
    return np.where(bad, 0, time) * factor, bad


def _numbers(column: pa.ChunkedArray, kind: pa.DataType, fill: float) -> Any:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise Invalid(f"a column of numbers is needed, not {column.type}")
    filled = column.cast(kind, safe=False)
    if filled.null_count:
        filled = pc.fill_null(filled, pa.scalar(fill, kind))
    return filled.to_numpy()


def _quality(table: pa.Table) -> tuple[Any, Any]:
    if "quality" not in table.schema.names:
        return np.zeros(len(table), np.uint16), np.zeros(len(table), np.bool_)
    if not pa.types.is_integer(table.column("quality").type):
        raise Invalid("column quality must be whole numbers")
    wide = _numbers(table.column("quality"), pa.int64(), 0)
    bad = (wide < 0) | (wide > ALL_BITS)
    return wide.astype(np.uint16), bad
