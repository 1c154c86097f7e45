"""Reads are few, short enough, and never part a value from its scale factor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.modbus.plan import MAX_REGISTERS, Span, plan_reads

SPANS = st.lists(
    st.tuples(st.integers(0, 600), st.integers(1, MAX_REGISTERS)).map(lambda pair: Span(pair[0], sum(pair))),
    max_size=30,
)


@given(SPANS, st.integers(0, 40))
def test_every_span_lies_whole_in_a_block_and_no_block_is_too_long(spans: list[Span], max_gap: int):
    blocks = plan_reads(spans, max_gap=max_gap)
    for span in spans:
        assert any(block.start <= span.start and span.end <= block.end for block in blocks)
    assert all(block.end - block.start <= MAX_REGISTERS for block in blocks)
    assert len(blocks) <= len(set(spans))
    assert blocks == sorted(blocks)
    wanted = {register for span in spans for register in range(span.start, span.end)}
    for block in blocks:
        assert block.start in wanted
        assert block.end - 1 in wanted


def test_neighbours_are_read_together_and_far_ones_are_not():
    assert plan_reads([Span(0, 2), Span(10, 12), Span(200, 201)]) == [Span(0, 12), Span(200, 201)]


@pytest.mark.parametrize(("start", "end"), [(5, 5), (0, 126)])
def test_a_span_that_one_request_cannot_read_is_refused(start: int, end: int):
    with pytest.raises(ValueError, match="registers"):
        Span(start, end)
