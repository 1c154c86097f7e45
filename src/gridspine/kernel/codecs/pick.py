"""Numbers picked out of what a device or a vendor's cloud answers: JSON by pointer, a meter's telegram by OBIS code.

::

    {"em:0": {"total_act_power": -678.2}}    "/em:0/total_act_power"                  -678.2
    1-0:1.7.0(00.033*kW)                     plus "/1-0:1.7.0", minus "/1-0:2.7.0"     0.033 - 0.676 = -0.643
    1-0:2.7.0(00.676*kW)

Sources: RFC 6901 (JSON Pointer) §3 and §4; RFC 8259 (JSON).
"""

import math
from typing import Any

import msgspec

from gridspine.kernel.codecs.telegram import read_telegram
from gridspine.kernel.errors import Invalid

MAX_POINTER_CHARS, MAX_PARTS, MAX_TERMS = 256, 16, 12
_SHOWN = 60


class Pick(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where a value is in an answer: the sum of what the pointers ``plus`` lead to, less what ``minus`` do, times
    ``scale``. ``codes`` gives words their numbers, ``true`` and ``false`` among them; a number may be such a word.
    """

    plus: tuple[str, ...] = ("",)
    minus: tuple[str, ...] = ()
    scale: float = 1.0
    codes: dict[str, float] = {}

    def check(self) -> None:
        """Raise `Invalid` when it cannot be so."""
        if not 0 < len(self.plus) + len(self.minus) <= MAX_TERMS:
            raise Invalid(f"1 to {MAX_TERMS} places make a value")
        for pointer in (*self.plus, *self.minus):
            parts_of(pointer)
        if not math.isfinite(self.scale) or self.scale == 0.0:
            raise Invalid("a scale is a number other than 0")
        if self.codes and (self.minus or len(self.plus) > 1 or self.scale != 1.0):
            raise Invalid("what has codes is a word: it is neither added nor scaled")


def parts_of(pointer: str) -> tuple[str, ...]:
    """Return the reference tokens of a JSON Pointer; raise `Invalid` when it is none, or too long."""
    if pointer == "":
        return ()
    if not pointer.startswith("/") or len(pointer) > MAX_POINTER_CHARS or pointer.count("/") > MAX_PARTS:
        raise Invalid(
            f"{pointer[:_SHOWN]!r} is no JSON Pointer: it begins with /, has at most {MAX_PARTS} parts and "
            f"{MAX_POINTER_CHARS} characters"
        )
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def read_answer(body: bytes, form: str = "json") -> Any:
    """Return an answer's document: of *json* as it is, of a *telegram* its objects by OBIS code; raise `Invalid`."""
    if form == "telegram":
        return read_telegram(body.decode("ascii", "replace"))
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the answer is not JSON: {str(error)[:_SHOWN]}") from error


def picked(document: Any, pick: Pick) -> float:
    """Return the value that ``pick`` leads to; raise `Invalid` where there is none, or it is no finite number."""
    plus = [_term(document, pointer, pick) for pointer in pick.plus]
    minus = [_term(document, pointer, pick) for pointer in pick.minus]
    try:
        total = math.fsum(plus) - math.fsum(minus)
    except (OverflowError, ValueError) as error:  # beyond what a float can be, or infinities against each other
        raise Invalid("the number is not finite") from error
    return finite(scaled(total, pick.scale))


def at_pointer(document: Any, pointer: str) -> Any:
    """Return what a JSON Pointer leads to; raise `Invalid` where nothing is there."""
    value = document
    for part in parts_of(pointer):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and len(part) <= 6 and int(part) < len(value):
            value = value[int(part)]
        else:
            raise Invalid(f"nothing is at {pointer[:_SHOWN]!r} in the answer")
    return value


def scaled(number: float, scale: float) -> float:
    """Return ``number * scale``; a scale such as 0.1 divides by 10, so that 123 is 12.3 exactly as written."""
    inverse = round(1.0 / scale) if 1e-12 < abs(scale) < 1.0 else 0
    return number / inverse if inverse and 1.0 / inverse == scale else number * scale


def finite(number: float) -> float:
    """Return a number that is finite; raise `Invalid` for others."""
    if not math.isfinite(number):
        raise Invalid("the number is not finite")
    return number


def _term(document: Any, pointer: str, pick: Pick) -> float:
    value = at_pointer(document, pointer)
    if isinstance(value, bool):
        value = "true" if value else "false"
    if pick.codes:
        word = value if isinstance(value, str) else str(value)
        if word not in pick.codes:
            raise Invalid(f"{word[:_SHOWN]!r} at {pointer[:_SHOWN]!r} is none of the words that have a number")
        return pick.codes[word]
    try:
        if isinstance(value, str) and len(value) <= _SHOWN:
            return float(value)
        if isinstance(value, int | float):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise Invalid(f"{str(value)[:_SHOWN]!r} at {pointer[:_SHOWN]!r} is no number")
