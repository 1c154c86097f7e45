"""Point bindings: back as they were, or `Corrupt`."""

import pytest
from codec_strategies import mutated
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.codecs.binding import MAX_POINT, PointBinding, decode_binding, encode_binding
from gridspine.kernel.errors import Corrupt

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def bindings(draw: st.DrawFn) -> PointBinding:
    names = draw(st.lists(TEXT, max_size=8))
    return PointBinding(
        draw(st.integers(0, MAX_POINT - 8)), draw(TEXT), draw(TEXT), draw(TEXT), tuple(names),
        tuple("W" for _ in names), draw(st.integers(0, 2**60)),
    )  # fmt: skip


@given(bindings())
def test_a_binding_comes_back(binding: PointBinding) -> None:
    assert decode_binding(encode_binding(binding)) == binding
    assert binding.point_ids() == [f"{binding.thing}/{name}" for name in binding.names]


@given(mutated(bindings().map(encode_binding)) | st.binary(max_size=60))
def test_damage_is_corrupt_and_nothing_else(body: bytes) -> None:
    try:
        binding = decode_binding(body)
    except Corrupt:
        return
    assert 0 <= binding.first <= MAX_POINT
    assert len(binding.units) == len(binding.names)


@pytest.mark.parametrize(
    "wrong",
    [PointBinding(-1, "t", "o", "m", ("a",), ("W",), 0), PointBinding(2**40, "t", "o", "m", ("a",), ("W",), 0),
     PointBinding(0, "t", "o", "m", ("a", "b"), ("W",), 0)],
)  # fmt: skip
def test_a_binding_that_does_not_fit_together_is_corrupt(wrong: PointBinding) -> None:
    with pytest.raises(Corrupt):
        decode_binding(encode_binding(wrong))


def test_deep_nesting_is_corrupt() -> None:
    with pytest.raises(Corrupt):
        decode_binding(b'{"x":' + b"[" * 100_000)
