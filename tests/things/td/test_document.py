"""Documents of strangers: what no other reader could take is refused at the door."""

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
