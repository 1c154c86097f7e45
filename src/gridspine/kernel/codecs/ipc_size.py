"""How much memory an Arrow IPC stream asks for, read from its own claims before any of it is decompressed.

Arrow makes room for a compressed buffer by the length the buffer itself claims, so a few kilobytes can ask for
terabytes. The claims stand in the message's table (FlatBuffers) and in the first eight bytes of each buffer.

::

    Message ─► header: RecordBatch, or DictionaryBatch ─► data: RecordBatch ─► buffers: (offset, length) …
                                                                            └► compression, when present

Source: Apache Arrow Columnar Format, IPC; its FlatBuffers schemas Message.fbs (tables Message, RecordBatch,
DictionaryBatch, BodyCompression) give the field numbers below.
"""

import struct

import pyarrow as pa

from gridspine.kernel.errors import Invalid

_HEADER_TYPE, _HEADER = 1, 2
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_DICTIONARY_DATA = 1
_BUFFERS, _COMPRESSION = 2, 3
_STORED = -1
"""A buffer of a compressed batch that claims this length is not compressed itself."""


def claimed_bytes(body: bytes, *, max_messages: int) -> int:
    """Return the bytes that the buffers of an Arrow IPC stream will take; raise `Invalid` beyond ``max_messages``."""
    total = messages = 0
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return total
        messages += 1
        if messages > max_messages:
            raise Invalid(f"an Arrow stream of more than {max_messages} messages: send fewer, larger batches")
        if message.type in {"record batch", "dictionary"}:
            total += _message_bytes(bytes(message.metadata), memoryview(message.body or b""))


def _message_bytes(metadata: bytes, body: memoryview) -> int:
    try:
        message = _Table(metadata, _uint32(metadata, 0))
        header, kind = message.table(_HEADER), message.byte(_HEADER_TYPE)
        batch = header.table(_DICTIONARY_DATA) if header is not None and kind == _DICTIONARY_BATCH else header
        if batch is None or kind not in {_DICTIONARY_BATCH, _RECORD_BATCH}:
            return 0
        buffers = batch.structs(_BUFFERS)
        if not batch.has(_COMPRESSION):
            return sum(length for _, length in buffers)
        return sum(_claim(body, offset, length) for offset, length in buffers)
    except (struct.error, ValueError) as error:
        raise Invalid(f"not an Arrow IPC stream of readings: {error}") from error


def _claim(body: memoryview, offset: int, length: int) -> int:
    if length < 8:
        return 0
    if offset < 0 or offset + length > len(body):
        raise ValueError("a buffer lies outside its message")
    (claimed,) = struct.unpack_from("<q", body, offset)
    return length if claimed == _STORED else int(claimed) & 0xFFFF_FFFF_FFFF_FFFF


class _Table:
    """A FlatBuffers table: field numbers to places, through its table of offsets."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields_at = at - _int32(data, at)
        self._fields_size = _uint16(data, self._fields_at)

    def _place(self, field: int) -> int:
        """Return where ``field`` stands, 0 when it is not there."""
        entry = 4 + 2 * field
        if entry + 2 > self._fields_size:
            return 0
        offset = _uint16(self._data, self._fields_at + entry)
        return self._at + offset if offset else 0

    def has(self, field: int) -> bool:
        return self._place(field) > 0

    def byte(self, field: int) -> int:
        place = self._place(field)
        return self._data[place] if 0 < place < len(self._data) else 0

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return _Table(self._data, place + _uint32(self._data, place)) if place else None

    def structs(self, field: int) -> list[tuple[int, int]]:
        """Return a vector of structs of two int64."""
        place = self._place(field)
        if not place:
            return []
        vector = place + _uint32(self._data, place)
        count = _uint32(self._data, vector)
        if vector + 4 + 16 * count > len(self._data):
            raise ValueError("a vector is longer than its message")
        return list(struct.iter_unpack("<qq", self._data[vector + 4 : vector + 4 + 16 * count]))


def _unpack(code: struct.Struct, data: bytes, at: int) -> int:
    if at < 0:  # struct would count from the end
        raise ValueError("an offset lies before its message")
    return int(code.unpack_from(data, at)[0])


_UINT16, _INT32, _UINT32 = struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<I")


def _uint16(data: bytes, at: int) -> int:
    return _unpack(_UINT16, data, at)


def _int32(data: bytes, at: int) -> int:
    return _unpack(_INT32, data, at)


def _uint32(data: bytes, at: int) -> int:
    return _unpack(_UINT32, data, at)
