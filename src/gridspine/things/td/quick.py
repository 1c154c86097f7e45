"""JSON read quickly where nothing about it is doubtful: a reader in C, and the two questions that it does not ask.

Whether a name is there twice in an object, and how deep it nests: both are seen by counting. Every quote of the text
begins or ends a name or a text, or is one escaped; when what was read is written again, it has fewer quotes if, and
only if, a name was there twice.
"""

import re
from typing import Any

import msgspec

_TEXTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LONG = re.compile(rb"[:,\[]-?[0-9]{19}")
"""A whole number that may have more than 64 bits; or a text that looks like one."""
_OTHERS = bytes(byte for byte in range(256) if byte not in b"{}[]")
_ALIKE = bytes.maketrans(b"[]", b"{}")
_decode, _encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


def quickly(body: bytes, max_depth: int) -> dict[str, Any] | None:
    """Return the JSON object in ``body``, None where there is any doubt that it is one and good."""
    try:
        document = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    if not isinstance(document, dict) or b"\\u0022" in body:
        return None
    plain = _encode(document)
    if plain.count(b'"') != body.count(b'"') or _LONG.search(plain) or not _nests(plain, max_depth):
        return None
    return document


def _nests(plain: bytes, most: int) -> bool:
    """Whether objects and arrays in JSON nest ``most`` deep at most."""
    brackets = _TEXTS.sub(b"", plain).translate(_ALIKE, _OTHERS)
    for _ in range(most):
        if not brackets:
            return True
        brackets = brackets.replace(b"{}", b"")
    return not brackets
