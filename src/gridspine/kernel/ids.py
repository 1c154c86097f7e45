"""Identifiers: URNs of Things, and time-ordered UUIDs for everything the node itself names.

Sources: RFC 8141 (URN) §2, RFC 9562 (UUID) §5.7 version 7.
"""

import re
import uuid
from collections.abc import Callable

from gridspine.kernel.errors import Invalid

MAX_ID_LENGTH = 256
_URN = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,30}[a-z0-9]:[A-Za-z0-9()+,\-.:=@;$_!*'%]+", re.ASCII)
_POINT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)


def uuid7(now_us: int, randbytes: Callable[[int], bytes]) -> uuid.UUID:
    """Return a version 7 UUID for the time ``now_us`` [µs since 1970] from injected randomness.

    Reference: RFC 9562 §5.7. ``randbytes(10)`` must return ten random bytes.
    """
    milliseconds = (now_us // 1000) & 0xFFFF_FFFF_FFFF
    tail = int.from_bytes(randbytes(10), "big")
    value = (milliseconds << 80) | (tail & ((1 << 80) - 1))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return uuid.UUID(int=value)


def check_urn(text: str) -> str:
    """Return ``text`` when it is a URN this node can name a Thing by; raise `Invalid` otherwise.

    A slash is refused, although RFC 8141 §2 allows it: it separates the Thing from its point.
    """
    if len(text) > MAX_ID_LENGTH or not _URN.fullmatch(text):
        raise Invalid(f"{text[:80]!r} is not a URN such as urn:uuid:… or urn:dev:ops:32473-meter-7")
    return text


def check_point_name(text: str) -> str:
    """Return ``text`` when it can name a point (a letter, then letters, digits or ``_``); else raise `Invalid`."""
    if not _POINT_NAME.fullmatch(text):
        raise Invalid(f"{text[:80]!r} is not a point name: a letter, then up to 63 letters, digits or _")
    return text


def point_id(thing: str, name: str) -> str:
    """Return the id of a point: the Thing's URN, a slash, the point's name."""
    return f"{thing}/{name}"


def split_point_id(text: str) -> tuple[str, str]:
    """Split a point's id into Thing and point name; an id without a slash gives an empty name."""
    thing, _, name = text.partition("/")
    return thing, name
