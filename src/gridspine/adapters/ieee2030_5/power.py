"""Powers as the wire has them: a 16-bit integer and a power of ten.

A limit that has more digits than fit is rounded to the side that holds: never to more than was allowed.
Source: IEEE 2030.5-2018 ``sep.xsd``: ActivePower (Int16 value, PowerOfTenMultiplierType -9 to 9).
"""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from gridspine.adapters.ieee2030_5.wire import Element
from gridspine.energy.mapping.xml import element
from gridspine.kernel.errors import Invalid

INT16 = 2**15 - 1
POWERS = range(-9, 10)
_TENTHS = 6
"""Digits behind the point that a power is taken to have [µW]."""


def scaled(value_w: float, *, limit: bool) -> tuple[int, int]:
    """Return value and power of ten of a power [W]; a ``limit`` that does not fit is made smaller, not larger."""
    number = round(Decimal(repr(value_w)), _TENTHS).normalize()
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    for power in range(min(exponent, 0), POWERS.stop):
        exact = number.scaleb(-power)
        whole = int(exact.to_integral_value(ROUND_DOWN if limit else ROUND_HALF_EVEN))
        if abs(whole) <= INT16:
            return whole, power
    raise Invalid(f"{value_w} W does not fit into an ActivePower")


def power(tag: str, value_w: float | None, *, limit: bool) -> str:
    """Return an ActivePower element, "" for None."""
    if value_w is None:
        return ""
    value, multiplier = scaled(value_w, limit=limit)
    return element(tag, [element("multiplier", str(multiplier)), element("value", str(value))])


def read_power(given: Element) -> float:
    """Return the power [W] that an ActivePower says; raise `Invalid` for what is none."""
    value, multiplier = given.whole("value", -INT16 - 1, INT16), given.whole("multiplier", -9, 9)
    if value is None or multiplier is None:
        raise Invalid(f"{given.name}: value and multiplier are needed")
    return float(Decimal(value).scaleb(multiplier))
