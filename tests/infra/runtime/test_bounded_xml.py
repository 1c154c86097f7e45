"""What a stranger's document may be, before any protocol looks at it."""

import pytest

from gridspine.infra.runtime.bounded_xml import read_xml
from gridspine.kernel.errors import Invalid


class Told:
    """What was told of a document."""

    def __init__(self):
        self.said = []

    def start(self, name, attributes):
        self.said.append((name, attributes))

    def end(self, name):
        self.said.append(name)

    def characters(self, text):
        self.said.append(f"says {text}")


def told(body, max_elements=10, max_depth=3):
    found = Told()
    read_xml(body, found, max_elements=max_elements, max_depth=max_depth)
    return found.said


def test_a_document_is_told_in_its_order():
    assert told(b'<a xmlns="urn:x"><b c="1">2 &lt; 3</b></a>') == [
        ("urn:x a", {}), ("urn:x b", {"c": "1"}), "says 2 < 3", "urn:x b", "urn:x a",
    ]  # fmt: skip


def test_one_at_its_bounds_is_read():
    assert len(told(b"<a>" + b"<b/>" * 9 + b"</a>")) == 20
    assert len(told(b"<a><b><c/></b><b><c/></b></a>")) == 10


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<a>" + b"<b/>" * 10 + b"</a>", "too many"),
        (b"<a><b><c><d/></c></b></a>", "too deep"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "DTD"),
        (b'<!DOCTYPE a SYSTEM "http://elsewhere.example/a.dtd"><a/>', "DTD"),
        (b"<a>&b;</a>", "no XML"),
        (b"<a>", "no XML"),
        (b"", "no XML"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "no XML"),
        (b"<a/>\xff", "no XML"),
    ],
)
def test_what_is_none_or_too_large_is_refused(body, words):
    with pytest.raises(Invalid, match=words):
        told(body)
