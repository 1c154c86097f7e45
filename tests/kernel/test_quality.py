"""Quality: the bits of IEC 61850-7-3 stand where the table says, and two of ours after them."""

from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.quality import ALL_BITS, VALIDITY_MASK, Quality, describe


def test_every_bit_has_one_meaning() -> None:
    details = [bit for bit in Quality if bit not in {Quality.GOOD, Quality.INVALID, Quality.QUESTIONABLE}]
    assert [int(bit) for bit in details] == [1 << at for at in range(2, 15)]
    assert sum(details) + VALIDITY_MASK == ALL_BITS


def test_words() -> None:
    assert describe(0) == ["good"]
    assert describe(Quality.QUESTIONABLE | Quality.OUT_OF_RANGE) == ["questionable", "out-of-range"]
    assert describe(Quality.INVALID | Quality.CLOCK_UNSYNCHRONISED | Quality.ESTIMATED) == [
        "invalid", "clock-unsynchronised", "estimated",
    ]  # fmt: skip


@given(st.integers(0, ALL_BITS), st.integers(0, ALL_BITS))
def test_two_qualities_never_read_alike(a: int, b: int) -> None:
    assert (describe(a) == describe(b)) == (a == b)
