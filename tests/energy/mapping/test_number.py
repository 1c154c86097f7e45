"""Numbers as integers times a power of ten: exact where they can be, near where they cannot, refused when too large."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.mapping.number import scaled, scaled_together, single, text
from gridspine.kernel.errors import Invalid

INT16 = (-0x7FFF, 0x7FFF)


@pytest.mark.parametrize(
    ("value", "bounds", "powers", "mantissa", "exponent", "exact"),
    [(12.5, INT16, range(-9, 10), 125, -1, True), (0.1 + 0.2, INT16, range(-9, 10), 30000, -5, False),
     (-1_520_000, INT16, range(-9, 10), -15200, 2, True), (1_234_567, INT16, range(-9, 10), 12346, 2, False),
     (0.0, INT16, range(-9, 10), 0, 0, True), (2.5, INT16, [0], 2, 0, False),
     (1e-12, INT16, range(-9, 10), 0, -9, False), (3e6, INT16, [-1, 0], None, None, None),
     (5e22, (0, 2**63), range(-9, 10), 5 * 10**18, 4, True)],
)  # fmt: skip
def test_known_numbers(value, bounds, powers, mantissa, exponent, exact) -> None:
    if mantissa is None:
        with pytest.raises(Invalid, match="does not fit"):
            scaled(value, *bounds, powers)
        return
    got = scaled(value, *bounds, powers)
    assert Decimal(got.mantissa).scaleb(got.exponent) == Decimal(mantissa).scaleb(exponent)
    assert got.exact is exact


@given(st.integers(-(10**14), 10**14), st.integers(-9, 4))
def test_a_short_decimal_is_exact_in_48_bits(mantissa: int, power: int) -> None:
    value = float(Decimal(mantissa).scaleb(power))
    got = scaled(value, -(2**47) + 1, 2**47 - 1, range(-9, 10))
    assert got.exact
    assert float(Decimal(got.mantissa).scaleb(got.exponent)) == value


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5))
def test_together_they_share_a_power_and_none_is_further_off_than_half(values: list[float]) -> None:
    got = scaled_together(values, *INT16, range(-10, 11))
    assert len({one.exponent for one in got}) == 1
    for value, one in zip(values, got, strict=True):
        assert abs(Decimal(one.mantissa).scaleb(one.exponent) - Decimal(repr(value))) <= Decimal(10) ** one.exponent / 2


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_names_the_same_float(value: float) -> None:
    assert float(text(value)) == value
    assert "e" not in text(value).lower()


def test_text_of_zero_has_no_sign_and_what_is_no_number_is_refused() -> None:
    assert text(-0.0) == "0"
    for value in (float("nan"), float("inf")):
        with pytest.raises(Invalid, match="not a number"):
            text(value)


@pytest.mark.parametrize(
    ("value", "printed", "same"), [(50.02, "50.02", True), (0.1 + 0.2, "0.3", False), (-1500, "-1500", True)]
)
def test_a_single_float_says_when_digits_are_lost(value: float, printed: str, same: bool) -> None:
    assert single(value) == (printed, same)
