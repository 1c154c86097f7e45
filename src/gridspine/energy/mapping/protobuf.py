"""The wire form of Protocol Buffers, as much of it as the emitters need: fields by number, nothing else.

Source: Protocol Buffers documentation, "Encoding": tags, varints, IEEE 754 little endian, length-delimited records;
negative integers are ten bytes; proto3 leaves out fields that hold their default.
"""

import struct
from typing import cast

Tree = dict[int, object]
"""Messages by the number of the field they are in; `OWN` has the encoded fields of the message itself."""
OWN = 0
_VARINT, _DOUBLE, _BYTES = 0, 1, 2
_MASK = (1 << 64) - 1


def varint(number: int) -> bytes:
    """Return ``number`` (64 bits, negative as two's complement) as a varint."""
    number &= _MASK
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(field: int, number: int) -> bytes:
    """Return a field of type int64, uint64, enum or bool; nothing for 0."""
    return varint(field << 3 | _VARINT) + varint(number) if number else b""


def double(field: int, number: float) -> bytes:
    """Return a field of type double; nothing for 0."""
    return varint(field << 3 | _DOUBLE) + struct.pack("<d", number) if number else b""


def message(field: int, body: bytes) -> bytes:
    """Return a field that holds a message: its body, also when that is empty."""
    return varint(field << 3 | _BYTES) + varint(len(body)) + body


def string(field: int, words: str) -> bytes:
    """Return a field of type string; nothing for an empty one."""
    return message(field, words.encode()) if words else b""


def graft(tree: Tree, path: list[int], body: bytes) -> None:
    """Put ``body`` into the message at ``path``: the numbers of the fields, outermost first."""
    for field in path:
        tree = cast("Tree", tree.setdefault(field, {}))
    tree[OWN] = cast("bytes", tree.get(OWN, b"")) + body


def encode(tree: Tree) -> bytes:
    """Return the message ``tree``: its own fields, and each message in it once."""
    below = (message(field, encode(cast("Tree", tree[field]))) for field in sorted(tree) if field != OWN)
    return cast("bytes", tree.get(OWN, b"")) + b"".join(below)
