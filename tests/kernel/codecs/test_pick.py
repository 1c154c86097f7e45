"""Numbers picked out of answers: by JSON Pointer, added up, taken away, turned, and words by their codes."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.codecs.pick import Pick, at_pointer, parts_of, picked, read_answer, scaled
from gridspine.kernel.errors import Invalid

FROM_THE_RFC = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", FROM_THE_RFC), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/c%d", 2),
        ("/e^f", 3), ("/g|h", 4), ("/i\\j", 5), ('/k"l', 6), ("/ ", 7), ("/m~0n", 8),
    ],
)  # fmt: skip
def test_pointers_of_rfc_6901_section_5(pointer, value) -> None:
    assert at_pointer(FROM_THE_RFC, pointer) == value


@pytest.mark.parametrize("pointer", ["foo", "/" * 17, "/" + "a" * 256])
def test_what_is_no_pointer_is_refused(pointer) -> None:
    with pytest.raises(Invalid, match="no JSON Pointer"):
        parts_of(pointer)


@pytest.mark.parametrize("pointer", ["/foo/2", "/foo/-", "/foo/bar", "/nothing", "/a~1b/deeper"])
def test_where_nothing_is_that_is_said(pointer) -> None:
    with pytest.raises(Invalid, match="nothing is at"):
        at_pointer(FROM_THE_RFC, pointer)


@pytest.mark.parametrize(
    ("pick", "value"),
    [
        (Pick(("/w",)), -678.2), (Pick(("/w",), scale=-1.0), 678.2), (Pick(("/n",), scale=0.1), 12.3),
        (Pick(("/a", "/b")), 5.0), (Pick(("/a",), ("/b",)), -1.0), (Pick((), ("/b",)), -3.0),
        (Pick(("/on",), codes={"true": 1.0, "false": 0.0}), 1.0), (Pick(("/car",), codes={"2": 3.0}), 3.0),
        (Pick(("/text",)), 1.5), (Pick(("/list/1",)), 4.0),
    ],
)  # fmt: skip
def test_values_are_added_taken_away_turned_and_named(pick, value) -> None:
    document = {"w": -678.2, "n": 123, "a": 2, "b": 3, "on": True, "car": 2, "text": "1.5", "list": [None, 4]}
    pick.check()
    assert picked(document, pick) == value


@pytest.mark.parametrize(
    "pick",
    [Pick(("/x",)), Pick(("/o",)), Pick(("/t",)), Pick(("/z",)), Pick(("/w",), codes={"a": 1.0}), Pick(("/huge",))],
)
def test_what_is_no_number_is_said_to_be_none(pick) -> None:
    with pytest.raises(Invalid):
        picked({"o": {}, "t": True, "z": None, "w": "b", "huge": 10**400}, pick)


@pytest.mark.parametrize(
    "pick",
    [Pick((), ()), Pick(("/a",) * 13), Pick(scale=0.0), Pick(scale=math.inf), Pick(("a",)),
     Pick(codes={"a": 1.0}, scale=2.0)],
)  # fmt: skip
def test_a_pick_that_cannot_be_is_refused(pick) -> None:
    with pytest.raises(Invalid):
        pick.check()


@given(st.binary(max_size=200), st.sampled_from(["", "/a", "/0", "/a/b"]))
def test_whatever_is_answered_gives_a_finite_number_or_is_refused(body, pointer) -> None:
    for form in ("json", "telegram"):
        try:
            value = picked(read_answer(body, form), Pick((pointer,)))
        except Invalid:
            continue
        assert math.isfinite(value)


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(DOCUMENTS, st.lists(st.text(max_size=5), max_size=5))
def test_no_document_breaks_it(document, parts) -> None:
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
    with contextlib.suppress(Invalid):
        assert math.isfinite(picked(json.loads(json.dumps(document)), Pick((pointer,))))


@given(st.integers(-10_000, 10_000), st.sampled_from([0.1, 0.01, 0.001]))
def test_a_decimal_scale_gives_the_number_as_it_is_written(number, scale) -> None:
    assert scaled(number, scale) == float(f"{number}e{round(math.log10(scale))}")


@pytest.mark.parametrize("body", [b'{"a": 1e308, "b": 1e308}', b'{"a": "inf", "b": "-inf"}', b'{"a": "nan", "b": 1}'])
@pytest.mark.parametrize("pick", [Pick(plus=("/a", "/b")), Pick(plus=("/a", "/a"), minus=("/b", "/b"))])
def test_what_no_float_can_be_is_no_number(body, pick):
    with pytest.raises(Invalid, match="not finite"):
        picked(read_answer(body), pick)
