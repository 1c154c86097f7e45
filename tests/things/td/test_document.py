"""Documents of strangers: what no other reader could take is refused at the door."""

import json

import pytest

from gridspine.kernel.errors import Invalid
from gridspine.things.td.document import read_document


@pytest.mark.parametrize("body", [b'{"a":"\\ud800"}', b'{"\\uDC00":1}', b'{"a":["\\ud83d"]}'])
def test_half_a_surrogate_pair_is_no_text(body: bytes) -> None:
    """JSON can spell it, but it is no character: nothing could write it down again. RFC 8259, §8.2."""
    with pytest.raises(Invalid, match="not JSON"):
        read_document(body)


def test_a_whole_pair_is_a_character() -> None:
    assert read_document(b'{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("number", [str(1 << 64), str(-(1 << 63) - 1), "1" * 400, "-" + "1" * 400, "1" * 5000, "1e999"])
@pytest.mark.parametrize("body", ['{{"a":{}}}', '{{"a":[0,{}]}}', '{{"a" : {{"b": {} }} }}'])
def test_a_number_that_nobody_could_keep_as_it_is_is_refused(body: str, number: str) -> None:
    with pytest.raises(Invalid, match="not JSON"):
        read_document(body.format(number).encode())


@pytest.mark.parametrize("number", [(1 << 64) - 1, -(1 << 63), 10**18, 0, 1.5e300, float(1 << 70)])
def test_others_come_back_as_they_were(number: float) -> None:
    for body in (b'{"a":%b}', b'{"a":[%b]}'):
        found = read_document(body % json.dumps(number).encode())["a"]
        kept = found[0] if isinstance(found, list) else found
        assert (type(kept), kept) == (type(number), number)
    long = "9" * 30
    assert read_document(json.dumps({"a": f"urn:x:{long}"}).encode()) == {"a": f"urn:x:{long}"}
