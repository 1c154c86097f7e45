"""What node and SPARQL child say to each other: MessagePack frames, each behind its length."""

import struct
from typing import BinaryIO

import msgspec

MAX_FRAME_BYTES = 64 << 20
LENGTH = struct.Struct("<I")


class Put(msgspec.Struct, frozen=True, tag="put"):
    """Let go of all that is said of ``subjects`` (IRIs, with what lies under each), then take N-Triples."""

    subjects: list[str]
    triples: bytes


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Answer a query, in the first of ``accept`` (media types) that its kind can have, ``max_bytes`` at most."""

    query: str
    accept: list[str]
    prefixes: dict[str, str]
    max_bytes: int


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """They were taken. (How many there are now is not said: the engine would count them one by one.)"""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The answer, in a media type."""

    body: bytes
    media_type: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why there is no answer: ``invalid``, ``not-acceptable``, ``too-large`` or ``unavailable``."""

    kind: str
    detail: str


Request = Put | Ask
Reply = Taken | Answer | Refused


def frame(message: msgspec.Struct) -> bytes:
    """Return a message as it is sent."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the next frame's body, None at the end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    body = stream.read(LENGTH.unpack(head)[0])
    return body if len(body) == LENGTH.unpack(head)[0] else None
