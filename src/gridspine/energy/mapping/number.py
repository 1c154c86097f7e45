"""Numbers as other languages hold them: an integer times a power of ten, or a short decimal text.

A float is taken for the shortest decimal that names it (as it is printed), so that 12.5 is 125 tenths, exactly.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import msgspec
import numpy as np

from gridspine.kernel.errors import Invalid

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)


class Scaled(msgspec.Struct, frozen=True):
    """``mantissa * 10**exponent``; ``exact`` says whether that is the number it was made of."""

    mantissa: int
    exponent: int
    exact: bool


def decimal(value: float) -> Decimal:
    """Return the shortest decimal that names ``value``; raise `Invalid` for what is not a number."""
    if not math.isfinite(value):
        raise Invalid(f"{value} is not a number that can be written")
    return Decimal(repr(float(value))).normalize(_CONTEXT)


def scaled(value: float, low: int, high: int, exponents: Sequence[int]) -> Scaled:
    """Return ``value`` as an integer from ``low`` to ``high`` times ten to one of ``exponents`` (ascending).

    It is exact where it can be, and else as near as it can be; raises `Invalid` when it is too large for either.
    """
    return scaled_together([value], low, high, exponents)[0]


def scaled_together(values: Iterable[float], low: int, high: int, exponents: Sequence[int]) -> list[Scaled]:
    """Return ``values`` as integers of one common exponent, as `scaled` does for one."""
    numbers = [decimal(value) for value in values]
    natural = min([0, *(_own_exponent(number) for number in numbers if number)])
    usable = [x for x in exponents if x >= natural] or [exponents[-1]]
    for exponent in usable:
        whole = [number.scaleb(-exponent, _CONTEXT).to_integral_value(ROUND_HALF_EVEN) for number in numbers]
        if all(low <= one <= high for one in whole):
            rows = zip(numbers, whole, strict=True)
            return [Scaled(int(one), exponent, one.scaleb(exponent, _CONTEXT) == number) for number, one in rows]
    raise Invalid(f"{max(numbers, key=abs)} does not fit between {low} and {high}, whatever the power of ten")


def code(value: float) -> int:
    """Return the code that ``value`` is; raise `Invalid` when it is not a whole number."""
    if not float(value).is_integer():
        raise Invalid(f"{value} is no code: a code is a whole number")
    return int(value)


def text(value: float) -> str:
    """Return ``value`` as the shortest decimal text, without an exponent: ``-0.0`` is ``0``."""
    return format(decimal(value) + 0, "f")


def single(value: float) -> tuple[str, bool]:
    """Return ``value`` as a text of a 32-bit float, and whether that is the same number as it is printed."""
    if not abs(value) <= _FLOAT32_MAX:
        raise Invalid(f"{value} does not fit into a 32-bit float")
    short: Any = np.float32(value)
    printed = np.format_float_positional(short, trim="-")
    return printed, Decimal(printed) == decimal(value)


def _own_exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # a finite number has one
    return exponent
