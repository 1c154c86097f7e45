"""A batch of readings as the body of one log record: a small header, then compressed columns.

::

    byte 0      format version (2)
    bytes 1-4   header length, little-endian uint32
    header      MessagePack: sources, channel, received_us, backfill, count
    rest        zstd of point int32 │ observed int64 (differences) │ value float64 │ quality uint16 │ origin uint16,
                each column byte-transposed: all first bytes, then all second bytes, …

Transposing puts the bytes that hardly change side by side; it makes about 7 bytes a reading of 22. The column *origin*
is there only where there are several sources. Version 1 named one source in place of the list.
"""

import struct
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from gridspine.kernel.errors import Corrupt
from gridspine.kernel.readings import MAX_BATCH, Channel, Readings

VERSION = 2
_COLUMNS = ("<i4", "<i8", "<f8", "<u2")
_ORIGIN = "<u2"
_PREFIX = struct.Struct("<BI")


class _Header(msgspec.Struct, array_like=True):
    sources: tuple[str, ...]
    channel: int
    received_us: int
    backfill: bool
    count: int


class _FirstHeader(msgspec.Struct, array_like=True):
    source: str
    channel: int
    received_us: int
    backfill: bool
    count: int


_encode_header = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(_Header).decode
_decode_first_header = msgspec.msgpack.Decoder(_FirstHeader).decode


def encode_batch(readings: Readings) -> bytes:
    """Return the log record's body for ``readings`` (at most `MAX_BATCH` of them)."""
    count = len(readings)
    assert count <= MAX_BATCH, f"{count} readings in one batch"
    header = _encode_header(
        _Header(readings.sources, int(readings.channel), readings.received_us, readings.backfill, count)
    )
    observed = readings.observed_us.copy()
    observed[1:] -= readings.observed_us[:-1]
    columns: list[npt.NDArray[np.generic]] = [readings.point, observed, readings.value, readings.quality]
    if readings.origin is not None:
        columns.append(readings.origin)
    plain = b"".join(
        _transposed(column.astype(dtype, copy=False))
        for column, dtype in zip(columns, (*_COLUMNS, _ORIGIN), strict=False)
    )
    return _PREFIX.pack(VERSION, len(header)) + header + zstandard.ZstdCompressor(level=1).compress(plain)


def decode_batch(body: bytes) -> Readings:
    """Return the readings of a log record's body; raise `Corrupt` when it is not one."""
    try:
        version, header_length = _PREFIX.unpack_from(body)
        start = _PREFIX.size + header_length
        header = _header(version, body[_PREFIX.size : start])
        dtypes = _COLUMNS if len(header.sources) == 1 else (*_COLUMNS, _ORIGIN)
        size = header.count * sum(np.dtype(dtype).itemsize for dtype in dtypes)
        frame = body[start:]
        # Room is made for what the frame claims to hold: a damaged claim must be seen first.
        if zstandard.get_frame_parameters(frame).content_size != size:
            raise Corrupt(f"batch of {header.count} readings does not hold {size} bytes of columns")
        plain = zstandard.ZstdDecompressor().decompress(frame)
        if len(plain) != size:
            raise Corrupt(f"batch holds {len(plain)} bytes of columns instead of {size}")
        return _readings(header, _columns(plain, header.count, dtypes))
    except (struct.error, msgspec.MsgspecError, zstandard.ZstdError, ValueError) as error:
        raise Corrupt(f"batch cannot be read: {error}") from error


def _header(version: int, data: bytes) -> _Header:
    if version == VERSION:
        header = _decode_header(data)
    elif version == 1:
        first = _decode_first_header(data)
        header = _Header((first.source,), first.channel, first.received_us, first.backfill, first.count)
    else:
        raise Corrupt(f"batch format {version} is not known to this release")
    if not 0 <= header.count <= MAX_BATCH or not header.sources:
        raise Corrupt(f"batch of {header.count} readings of {len(header.sources)} sources")
    return header


def _columns(plain: bytes, count: int, dtypes: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    at = 0
    columns = []
    for dtype in dtypes:
        width = np.dtype(dtype).itemsize
        block = np.frombuffer(plain, np.uint8, count * width, at)
        columns.append(np.ascontiguousarray(block.reshape(width, count).T).view(dtype).reshape(count))
        at += count * width
    return columns


def _readings(header: _Header, columns: list[npt.NDArray[Any]]) -> Readings:
    point, observed, value, quality, *rest = columns
    origin = rest[0] if rest else None
    if origin is not None and len(origin) and int(origin.max()) >= len(header.sources):
        raise Corrupt("batch names a source that it does not list")
    return Readings(
        point,
        np.cumsum(observed, dtype=np.int64),
        value,
        quality,
        header.sources,
        Channel(header.channel),
        header.received_us,
        header.backfill,
        origin,
    )


def _transposed(column: npt.NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(column).view(np.uint8).reshape(-1, column.itemsize).T.tobytes()
