"""Addresses that others name: what is read of them, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.runtime.web_place import origin_of, split_address
from gridspine.kernel.errors import Invalid


@pytest.mark.parametrize(
    ("href", "origin"),
    [
        ("https://VTN.example.org/a?b#c", "https://vtn.example.org:443"), ("http://[::1]:8080/", "http://::1:8080"),
        ("http://b\u00fccher.example/", "http://b\u00fccher.example:80"), ("https://10.0.0.1", "https://10.0.0.1:443"),
    ],
)  # fmt: skip
def test_an_origin_is_scheme_host_and_port(href, origin):
    assert origin_of(href) == origin


@pytest.mark.parametrize(
    "href",
    [
        "ftp://a/b", "https:///b", "https://u:p@a/", "https://a:0/", "https://a:99999/", "https://[::1/",
        "https://a b/",
        "https://evil.example\\.vtn.example.org/", "https://a\x00b/", "https://a\x7fb/", "https://a|b/", "https://<a>/",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(href):
    with pytest.raises(Invalid):
        split_address(href)


@given(st.text(max_size=30))
def test_a_host_is_nothing_that_another_reader_would_read_otherwise(host):
    try:
        found = split_address(f"https://{host}/").hostname or ""
    except Invalid:
        return
    assert found
    assert not set(found) & set(" /\\@?#\x00\t\n\r")
