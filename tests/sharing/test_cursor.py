"""Cursors as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.errors import Invalid
from gridspine.sharing.cursor import format_cursor, parse_cursor


@given(st.dictionaries(st.integers(0, 40), st.integers(0, (1 << 62) - 1), min_size=1, max_size=20))
def test_there_and_back(offsets):
    assert parse_cursor(format_cursor(offsets)) == offsets


@given(st.text(max_size=80))
def test_any_text_is_a_cursor_or_invalid(text):
    try:
        offsets = parse_cursor(text)
    except Invalid as error:
        assert len(error.detail) < 200
    else:
        assert all(partition >= 0 and 0 <= offset < 1 << 62 for partition, offset in offsets.items())


@pytest.mark.parametrize(
    "text", ["", ":", "0:", ":0", "0:1,", "a:b", "0:1;1:2", "-1:0", "0:-1", f"0:{1 << 62}", "0:0," * 400 + "0:0"]
)
def test_what_is_none(text):
    with pytest.raises(Invalid):
        parse_cursor(text)
