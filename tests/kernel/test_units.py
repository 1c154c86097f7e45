"""Units: factors against known numbers, and W is not VA is not var."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.errors import Invalid
from gridspine.kernel.units import UNITS, conversion, convert, unit

PAIRS = [(a, b) for a, b in itertools.product(UNITS.values(), repeat=2)]


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [(1.5, "kW", "W", 1500), (1, "MWh", "kWh", 1000), (3.6, "J", "Wh", 0.001), (20, "degC", "K", 293.15),
     (0, "K", "degC", -273.15), (50, "%", "1", 0.5), (3.6, "m3/h", "m3/h", 3.6), (90, "min", "h", 1.5),
     (250, "l", "m3", 0.25), (1.2, "bar", "Pa", 120_000), (11, "kvar", "var", 11_000), (2, "kVAh", "VAh", 2000),
     (1, "kWh", "MJ", 3.6), (180, "deg", "rad", 3.141592653589793), (1013.25, "mbar", "kPa", 101.325),
     (420, "ppm", "%", 0.042), (1, "m3/h", "l/min", 1000 / 60),
     (1500, "mA", "A", 1.5), (305, "mm", "m", 0.305)],
)  # fmt: skip
def test_known_conversions(value: float, source: str, target: str, expected: float) -> None:
    assert convert(value, unit(source), unit(target)) == pytest.approx(expected, rel=1e-12)


@given(st.sampled_from(PAIRS), st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5))
def test_there_and_back_or_not_at_all(pair: tuple, values: list[float]) -> None:
    source, target = pair
    if source.quantity != target.quantity:
        with pytest.raises(Invalid):
            conversion(source, target)
        return
    there = convert(np.array(values), source, target)
    np.testing.assert_allclose(convert(there, target, source), values, rtol=1e-9, atol=1e-6)


def test_active_apparent_and_reactive_are_never_converted() -> None:
    powers, energies = ("kW", "kVA", "kvar"), ("kWh", "kVAh", "kvarh")
    for group in (powers, energies):
        for a, b in itertools.permutations(group, 2):
            with pytest.raises(Invalid):
                conversion(unit(a), unit(b))
    for power, energy in zip(powers, energies, strict=True):
        with pytest.raises(Invalid):
            conversion(unit(power), unit(energy))


def test_every_spelling_means_one_unit() -> None:
    for known in UNITS.values():
        assert unit(known.symbol) is known
        if known.ucum:
            assert unit(known.ucum).ucum == known.ucum
    codes = [known.rec20 for known in UNITS.values() if known.rec20]
    assert len(set(codes)) == len(codes)
    assert (unit("Cel"), unit("/"), unit("kVAr")) == (UNITS["degC"], UNITS["1"], UNITS["kvar"])


def test_ucum_codes_divide_by_all_of_a_divisor() -> None:
    """UCUM reads from left to right: ``g/kW.h`` would be grams times hours a kilowatt."""
    for known in UNITS.values():
        _, _, divisor = known.ucum.partition("/")
        assert "." not in divisor or divisor.startswith("(")


@pytest.mark.parametrize("spelling", ["", "w", "KW", "kwh", "volt", "W ", "Ω", "x" * 1000])
def test_unknown_spellings_are_invalid(spelling: str) -> None:
    with pytest.raises(Invalid):
        unit(spelling)
