"""Answers as numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.wot_http import wire
from gridspine.adapters.wot_http.wire import decode_value
from gridspine.kernel.codecs.pick import Pick
from gridspine.kernel.errors import Invalid

CODES = {"false": 0.0, "true": 1.0, "off": 2.0}


@pytest.mark.parametrize(
    ("body", "media", "codes", "value"),
    [
        (b"12.5", "application/json", {}, 12.5), (b" -3 ", "text/plain; charset=utf-8", {}, -3.0),
        (b"true", "application/json", CODES, 1.0), (b"false", "text/plain", CODES, 0.0),
        (b'"off"', "application/td+json", CODES, 2.0), (b'"7"', "application/json", {}, 7.0),
    ],
)  # fmt: skip
def test_values_are_read(body: bytes, media: str, codes: dict[str, float], value: float) -> None:
    assert decode_value(body, media, codes) == value


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{}", b"[1]", b'"x"', b"true", b"1e999", b"NaN", b"{" * 9000, b"9" * 500]
)
def test_what_is_no_number_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        decode_value(body, "application/json", {})
    with pytest.raises(Invalid):
        decode_value(b"nan", "text/plain", {})


@given(st.binary(max_size=60), st.sampled_from(["application/json", "text/plain", "x"]), st.sampled_from([{}, CODES]))
def test_whatever_is_answered_is_a_number_or_said_to_be_none(body: bytes, media: str, codes: dict[str, float]) -> None:
    try:
        assert math.isfinite(decode_value(body, media, codes))
    except Invalid:
        return


def test_an_answer_that_is_no_good_is_read_once_for_all_its_points(monkeypatch):
    read = []

    def refuses(body, form):
        read.append(form)
        raise Invalid("the telegram's checksum is wrong")

    monkeypatch.setattr(wire, "read_answer", refuses)
    forms = {f"p{k}": wire.Form("http://x", pick=Pick(("/1-0:1.7.0",)), form="telegram") for k in range(50)}
    assert set(wire.decode_values(b"/x", "text/plain", forms).values()) == {"the telegram's checksum is wrong"}
    assert read == ["telegram"]
