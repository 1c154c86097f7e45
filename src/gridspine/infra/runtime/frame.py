"""Frames: what a process and its child say to each other over pipes, MessagePack behind its length.

A frame is a length (uint32, little-endian) and that many bytes. Whoever reads says how many it takes at most.
"""

import asyncio
import struct
from typing import BinaryIO

import msgspec

_LENGTH = struct.Struct("<I")


def frame(message: msgspec.Struct) -> bytes:
    """Return ``message`` as a frame."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def write_frame(stream: BinaryIO, message: msgspec.Struct) -> None:
    """Send ``message``; a large one is not copied."""
    body = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def read_frame(stream: BinaryIO, max_bytes: int) -> bytes | None:
    """Return the next frame's body; None at the end of the stream, in mid-frame too, and for one that is too long."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = stream.read(length) if length <= max_bytes else b""
    return body if len(body) == length else None


async def receive_frame(stream: asyncio.StreamReader, max_bytes: int) -> bytes:
    """Return the next frame's body; raise `asyncio.IncompleteReadError` where `read_frame` returns None."""
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    if length > max_bytes:
        raise asyncio.IncompleteReadError(b"", length)
    return await stream.readexactly(length)
