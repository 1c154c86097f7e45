"""SunSpec point types: registers ↔ numbers, with "not implemented" as None. Pure functions, no I/O.

Source: SunSpec Device Information Model Specification (point types and their unimplemented values; the clause
numbers were not checked), compared with the values in ``pysunspec2``.

A register is 16 bits, most significant register first. A number on the wire is an integer; a scale factor, a point of
its own, says the power of ten: ``value = raw * 10**scale``.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gridspine.kernel.errors import Invalid
from gridspine.kernel.quality import Quality

Words = tuple[int, ...]

_MAX_EXACT: Final = 1 << 53
_MAX_SCALE: Final = 10


@dataclass(frozen=True, slots=True)
class NumberType:
    """A numeric point type: its ``struct`` code, the raw value that means *not implemented*, and its raw range.

    ``saturates`` tells measured values, which stick at an end of their range when they overflow, from counters,
    codes and bit fields, which do not.
    """

    code: str
    absent: float
    saturates: bool = False

    @property
    def bits(self) -> int:
        """Length on the wire [bit]."""
        return struct.calcsize(">" + self.code) * 8

    @property
    def bounds(self) -> tuple[int, int]:
        """Lowest and highest raw value that means a number; an *absent* at the edge of the range is left out."""
        if self.code.islower():
            return -(1 << (self.bits - 1)) + 1, (1 << (self.bits - 1)) - 1
        return (1, (1 << self.bits) - 1) if self.absent == 0 else (0, (1 << self.bits) - 2)


def _unsigned(code: str, bits: int, *, saturates: bool = False) -> NumberType:
    return NumberType(code, (1 << bits) - 1, saturates)


NUMBER_TYPES: Final[dict[str, NumberType]] = {
    "int16": NumberType("h", -(1 << 15), saturates=True),
    "int32": NumberType("i", -(1 << 31), saturates=True),
    "int64": NumberType("q", -(1 << 63), saturates=True),
    "uint16": _unsigned("H", 16, saturates=True),
    "uint32": _unsigned("I", 32, saturates=True),
    "uint64": _unsigned("Q", 64, saturates=True),
    "acc16": NumberType("H", 0),
    "acc32": NumberType("I", 0),
    "acc64": NumberType("Q", 0),
    "count": _unsigned("H", 16),
    "enum16": _unsigned("H", 16),
    "enum32": _unsigned("I", 32),
    "bitfield16": _unsigned("H", 16),
    "bitfield32": _unsigned("I", 32),
    "bitfield64": _unsigned("Q", 64),
    "sunssf": NumberType("h", -(1 << 15)),
}
FLOAT_TYPES: Final = {"float32": "f", "float64": "d"}


def to_bytes(words: Sequence[int]) -> bytes:
    """Return registers as bytes, most significant first."""
    return struct.pack(f">{len(words)}H", *words)


def to_words(data: bytes) -> Words:
    """Return an even number of bytes as registers."""
    return struct.unpack(f">{len(data) // 2}H", data)


def decode_number(type_name: str, words: Sequence[int]) -> int | float | None:
    """Return the raw number in ``words``, or None where the device says that the point is not implemented.

    Raises `KeyError` for a type that is no number.
    """
    if type_name in FLOAT_TYPES:
        (number,) = struct.unpack(">" + FLOAT_TYPES[type_name], to_bytes(words))
        return number if math.isfinite(number) else None
    kind = NUMBER_TYPES[type_name]
    (raw,) = struct.unpack(">" + kind.code, to_bytes(words))
    return None if raw == kind.absent else int(raw)


def decode_text(words: Sequence[int]) -> str | None:
    """Return a string point without its padding, or None when it is empty; bytes that are no UTF-8 are replaced."""
    text = to_bytes(words).split(b"\0", 1)[0].decode("utf-8", errors="replace").strip()
    return text or None


def decode_scale(words: Sequence[int]) -> int | None:
    """Return a scale factor (a power of ten from -10 to 10), or None when it is not implemented or out of range."""
    raw = decode_number("sunssf", words)
    return int(raw) if raw is not None and abs(raw) <= _MAX_SCALE else None


def scaled(raw: float, scale: int) -> float:
    """Return ``raw * 10**scale``, correctly rounded: 1234 at -2 is 12.34 exactly as written."""
    return float(raw * 10**scale if scale >= 0 else raw / 10**-scale)


def quality_of(type_name: str, raw: float) -> Quality:
    """Return what the raw number alone says of its quality.

    A measured value at an end of its type's range has overflowed; an integer beyond 2**53 loses digits as float64.
    """
    kind = NUMBER_TYPES.get(type_name)
    if kind is None:
        return Quality.GOOD
    quality = Quality.GOOD
    if kind.saturates and raw in {bound for bound in kind.bounds if bound != 0}:
        quality |= Quality.QUESTIONABLE | Quality.OVERFLOW
    if abs(raw) > _MAX_EXACT:
        quality |= Quality.QUESTIONABLE | Quality.INACCURATE
    return quality


def encode_number(type_name: str, raw: float) -> Words:
    """Return ``raw`` as registers; raise `Invalid` when the type cannot hold it as a value."""
    if type_name in FLOAT_TYPES:
        return to_words(struct.pack(">" + FLOAT_TYPES[type_name], raw))
    kind = NUMBER_TYPES[type_name]
    low, high = kind.bounds
    if raw != int(raw) or not low <= raw <= high:
        raise Invalid(f"{raw} does not fit a SunSpec {type_name} ({low} … {high})")
    return to_words(struct.pack(">" + kind.code, int(raw)))


def unscaled(value: float, scale: int) -> int:
    """Return the raw integer nearest to ``value`` at scale factor ``scale``."""
    return round(value / 10.0**scale if scale >= 0 else value * 10.0**-scale)
