"""Registers of a device decoded together: the same numbers as one by one, whatever their types, orders and gaps."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.modbus.plan import Span
from gridspine.adapters.modbus.readout import Readout
from gridspine.adapters.modbus.register import COUNT_OF, Register, Served, decode
from gridspine.kernel.quality import Quality

FACTORS = st.sampled_from([1.0, 0.1, 0.01, -1.0, 1000.0, 0.3, -0.001])
WORDS = st.lists(st.integers(0, 0xFFFF), min_size=8, max_size=8)


@st.composite
def registers(draw: st.DrawFn) -> Register:
    kind = draw(st.sampled_from(sorted(set(COUNT_OF) - {"bit"})))
    address = draw(st.integers(0, 8 - COUNT_OF[kind]))
    swaps = draw(st.booleans()), draw(st.booleans())
    return Register("holding", address, kind, *swaps, factor=draw(FACTORS))  # type: ignore[arg-type]


@given(st.lists(registers(), min_size=1, max_size=6), WORDS)
def test_decoded_together_they_are_what_each_is_alone(read: list[Register], words: list[int]):
    served = {f"p{at}": Served(one, "V") for at, one in enumerate(read)}
    made = Readout("urn:example:x", served, [("holding", Span(0, 8))])
    found, problems = made.read(np.array(words, np.uint16), np.ones(8, np.bool_), 5)
    alone = {f"p{at}": decode(one, words[one.address : one.address + one.count]) for at, one in enumerate(read)}
    values = {found.names[place]: value for place, value in zip(found.name_index, found.value.tolist(), strict=True)}
    expected = {f"urn:example:x/{name}": value for name, value in alone.items() if value is not None}
    assert values.keys() == expected.keys()
    assert all(math.isclose(values[name], expected[name], rel_tol=1e-15, abs_tol=0.0) for name in expected)
    assert len(problems) == len(alone) - len(expected)
    assert set(found.observed_us.tolist()) <= {5}


def test_what_did_not_come_is_left_out_and_named():
    served = {
        "a": Served(Register("holding", 3, "uint16")),
        "b": Served(Register("holding", 4, "int32", word_swap=True)),
        "on": Served(Register("coil", 3, "bit")),
    }
    made = Readout("urn:example:x", served, [("holding", Span(3, 4)), ("holding", Span(4, 6)), ("coil", Span(3, 4))])
    came = np.array([True, True, False, True])
    found, problems = made.read(np.array([7, 1, 0, 1], np.uint16), came, 5)
    assert [found.names[place] for place in found.name_index] == ["urn:example:x/a", "urn:example:x/on"]
    assert found.value.tolist() == [7.0, 1.0]
    assert problems == ["b: refused at holding 4"]


@pytest.mark.parametrize(
    ("word", "quality"), [(0x0010, Quality.GOOD), (0x0040, Quality.QUESTIONABLE | Quality.INACCURATE)]
)
def test_an_integer_beyond_what_a_float_holds_exactly_says_so(word: int, quality: Quality):
    made = Readout("urn:example:x", {"a": Served(Register("holding", 0, "uint64"))}, [("holding", Span(0, 4))])
    found, _ = made.read(np.array([word, 0, 0, 1], np.uint16), np.ones(4, np.bool_), 5)
    assert found.quality.tolist() == [int(quality)]


def test_a_device_that_refuses_what_overlaps_is_not_asked_for_ever():
    """Two points in one register, the one wider: each is asked for alone, once a poll."""
    served = {"a": Served(Register("holding", 0, "uint16")), "b": Served(Register("holding", 0, "int32"))}
    blocks = [("holding", Span(0, 1)), ("holding", Span(0, 2))]
    made = Readout("urn:example:x", served, blocks)  # type: ignore[arg-type]
    found, problems = made.read(np.array([9, 0, 0], np.uint16), np.array([True, False, False]), 5)
    assert found.value.tolist() == [9.0]
    assert problems == ["b: refused at holding 0"]
