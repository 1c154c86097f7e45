"""Registers of no standard: where a value is, of what type and order, as a description says. Pure functions, no I/O.

Source: W3C WoT Modbus Binding, Editor's Draft as of commit 45f87f3 of w3c/wot-binding-templates: ``modv:entity``,
``modv:type``, ``modv:mostSignificantByte`` and ``modv:mostSignificantWord``. Its text and its example do not agree on
what a least significant byte alone means; here each flag is about its own level, as in the field:

::

    registers of 0xAABBCCDD     byte first   word first
    AABB CCDD                   yes          yes
    CCDD AABB                   yes          no
    BBAA DDCC                   no           yes
    DDCC BBAA                   no           no
"""

import math
import struct
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gridspine.adapters.modbus.wire import Words, to_bytes, to_words
from gridspine.kernel.errors import Invalid

Entity = Literal["coil", "discrete", "input", "holding"]
Type = Literal[
    "bit", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"
]  # fmt: skip
BITS: Final = frozenset({"coil", "discrete"})
WRITABLE: Final = frozenset({"coil", "holding"})
COUNT_OF: Final[dict[str, int]] = {
    "bit": 1, "int8": 1, "uint8": 1, "int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "int64": 4, "uint64": 4,
    "float32": 2, "float64": 4,
}  # fmt: skip
"""How many registers a value of each type takes."""
_CODES: Final = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f",
    "float64": "d",
}  # fmt: skip
_LAST_ADDRESS: Final = 0xFFFF


class Register(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A value in a device: ``entity`` from ``address`` on, counted from 0 as on the wire.

    ``byte_swap``: within a register the least significant byte is first; ``word_swap``: the least significant register
    is first. The value is the number there times ``factor`` [its unit a step]. ``single``: it is written by the
    function for one (5, 6), not for several (15, 16).
    """

    entity: Entity
    address: int
    type: Type
    byte_swap: bool = False
    word_swap: bool = False
    factor: float = 1.0
    single: bool = False

    @property
    def count(self) -> int:
        """How many registers, or bits, it takes."""
        return COUNT_OF[self.type]

    def check(self) -> None:
        """Raise `Invalid` when there can be no such register."""
        if not 0 <= self.address <= _LAST_ADDRESS + 1 - self.count:
            raise Invalid(f"address {self.address} is none of 0 to {_LAST_ADDRESS}")
        if self.entity in BITS and self.type != "bit":
            raise Invalid(f"a {self.entity} holds one bit, no {self.type}")
        if not math.isfinite(self.factor) or self.factor == 0.0:
            raise Invalid("a factor is a number other than 0")
        if self.single and (self.count != 1 or self.entity not in WRITABLE):
            raise Invalid("only one coil or holding register can be written singly")


class Served(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One point: ``read`` there, in ``unit`` ("": the point's own); where it may be commanded, ``write`` there.

    What ends a command: ``timer``, a register of the device that counts down [s] and then lets it fall back; or, with
    ``held``, whoever runs this adapter, because the model says that the state is safe to keep.
    """

    read: Register
    unit: str = ""
    write: Register | None = None
    timer: Register | None = None
    held: bool = False

    def check(self) -> None:
        """Raise `Invalid` when it cannot be so."""
        for register in (self.read, self.write, self.timer):
            if register is not None:
                register.check()
        for register in (self.write, self.timer):
            if register is not None and register.entity not in WRITABLE:
                raise Invalid(f"a register of entity {register.entity} cannot be written")
        if self.timer is not None and (self.timer.type[:5] == "float" or self.timer.type == "bit"):
            raise Invalid("a timer is a whole number of seconds")


def decode(register: Register, words: Sequence[int]) -> float | None:
    """Return the value of ``words``, the registers or bits in their order on the wire; None for no number (NaN)."""
    if register.type == "bit":
        return (1.0 if words[0] else 0.0) * register.factor
    data = to_bytes(_ordered(register, words))
    if register.type in {"int8", "uint8"}:
        number: float = int.from_bytes(data[1:], "big", signed=register.type == "int8")
    else:
        (number,) = struct.unpack(">" + _CODES[register.type], data)
    if not math.isfinite(number):
        return None
    value = _by_factor(number, register.factor)
    return value if math.isfinite(value) else None


def encode(register: Register, value: float) -> Words:
    """Return ``value`` as registers, or a bit, in their order on the wire; raise `Invalid` when they cannot hold it.

    Whole numbers are rounded to the nearest step of the register.
    """
    if register.type == "bit":
        return (int(value != 0.0),)
    number = value / register.factor
    if register.type in {"float32", "float64"}:
        try:
            data = struct.pack(">" + _CODES[register.type], number)
        except OverflowError as error:
            raise Invalid(f"{value:g} does not fit its register ({register.type})") from error
        return tuple(_ordered(register, to_words(data)))
    low, high = bounds(register)
    whole = round(number) if math.isfinite(number) else high + 1
    if not low <= whole <= high:
        raise Invalid(f"{value:g} does not fit its register ({register.type}, {low} … {high})")
    if register.type in {"int8", "uint8"}:
        data = bytes((0, whole & 0xFF))
    else:
        data = struct.pack(">" + _CODES[register.type], whole)
    return tuple(_ordered(register, to_words(data)))


def bounds(register: Register) -> tuple[int, int]:
    """Return the least and the greatest whole number of an integer's register."""
    bits = 8 if register.type in {"int8", "uint8"} else register.count * 16
    return (0, (1 << bits) - 1) if register.type.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def steps_of(factor: float) -> tuple[float, float]:
    """Return what to multiply by and then divide by: 0.1 divides by 10, so that 123 is 12.3 exactly as written."""
    inverse = round(1.0 / factor) if abs(factor) < 1.0 and abs(factor) > 1e-12 else 0
    return (1.0, float(inverse)) if inverse and 1.0 / inverse == factor else (factor, 1.0)


def _by_factor(number: float, factor: float) -> float:
    times, over = steps_of(factor)
    return float(number * times / over)


def _ordered(register: Register, words: Sequence[int]) -> Sequence[int]:
    """Return ``words`` from the wire's order to the usual one, or back: the way is the same."""
    if register.byte_swap:
        words = [(word & 0xFF) << 8 | word >> 8 for word in words]
    return words[::-1] if register.word_swap else words
