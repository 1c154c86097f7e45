"""Registers of no standard: there and back for each type and order, and what does not fit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.modbus.address import parse_address
from gridspine.adapters.modbus.register import COUNT_OF, Register, Served, bounds, decode, encode
from gridspine.kernel.errors import Invalid

WHOLE = sorted(set(COUNT_OF) - {"bit", "float32", "float64"})


@given(st.sampled_from(WHOLE), st.booleans(), st.booleans(), st.data())
def test_whole_numbers_come_back(kind, byte_swap, word_swap, data) -> None:
    register = Register("holding", 0, kind, byte_swap, word_swap)
    low, high = bounds(register)
    number = data.draw(st.integers(max(low, -(1 << 53)), min(high, 1 << 53)))
    words = encode(register, float(number))
    assert len(words) == register.count and all(0 <= word <= 0xFFFF for word in words)
    assert decode(register, words) == number


@given(st.sampled_from(["float32", "float64"]), st.booleans(), st.booleans(), st.floats(width=32, allow_nan=False))
def test_floats_come_back_or_are_none(kind, byte_swap, word_swap, number) -> None:
    register = Register("input", 9, kind, byte_swap, word_swap)
    found = decode(register, encode(register, number))
    assert found == (number if math.isfinite(number) else None)


@given(st.sampled_from(sorted(set(COUNT_OF) - {"bit"})), st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4))
def test_whatever_a_device_says_is_a_finite_number_or_none(kind, words) -> None:
    register = Register("holding", 0, kind, factor=1e300)
    found = decode(register, words[: register.count])
    assert found is None or math.isfinite(found)


@pytest.mark.parametrize(
    ("byte_swap", "word_swap", "words"),
    [(False, False, (0x0A0B, 0x0C0D)), (False, True, (0x0C0D, 0x0A0B)), (True, False, (0x0B0A, 0x0D0C)),
     (True, True, (0x0D0C, 0x0B0A))],
)  # fmt: skip
def test_each_order_is_its_own(byte_swap, word_swap, words) -> None:
    register = Register("holding", 0, "int32", byte_swap, word_swap)
    assert encode(register, 0x0A0B0C0D) == words
    assert decode(register, words) == 0x0A0B0C0D


def test_steps_bits_and_ends_of_ranges() -> None:
    tenth = Register("holding", 0, "int16", factor=0.1)
    assert decode(tenth, (123,)) == 12.3
    assert encode(tenth, 12.34) == (123,)
    assert decode(Register("holding", 0, "int8"), (0xFF80,)) == -128
    assert decode(Register("coil", 0, "bit"), (1,)) == 1.0
    assert encode(Register("holding", 0, "bit"), 5.0) == (1,)
    for register, value in ((tenth, 3276.8), (tenth, math.inf), (Register("holding", 0, "uint16"), -1.0),
                            (Register("holding", 0, "float32"), 1e39)):  # fmt: skip
        with pytest.raises(Invalid, match="does not fit"):
            encode(register, value)


@pytest.mark.parametrize(
    "served",
    [
        Served(Register("holding", 65535, "int32")), Served(Register("holding", -1, "int16")),
        Served(Register("coil", 0, "int16")), Served(Register("holding", 0, "int16", factor=0.0)),
        Served(Register("input", 0, "int16"), write=Register("input", 0, "int16")),
        Served(Register("holding", 0, "int32"), write=Register("holding", 0, "int32", single=True)),
        Served(Register("holding", 0, "int16"), timer=Register("holding", 1, "float32")),
    ],
)  # fmt: skip
def test_registers_that_cannot_be_are_refused(served) -> None:
    with pytest.raises(Invalid):
        served.check()


def test_a_connection_names_them() -> None:
    read = {"entity": "input", "address": 3, "type": "uint16"}
    address = parse_address({"registers": {"power": {"read": read, "unit": "kW"}}})
    assert address.registers["power"].read.count == 1
    assert address.endpoint.guarded
    with pytest.raises(Invalid, match="registers: power"):
        parse_address({"registers": {"power": {"read": read | {"address": 70000}}}})
    with pytest.raises(Invalid, match="at most"):
        parse_address({"registers": {f"p{at}": {"read": read} for at in range(1001)}})
