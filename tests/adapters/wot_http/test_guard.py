"""Which addresses may be asked, and where a secret may be taken."""

import asyncio
from typing import Any

import pytest

from gridspine.adapters.wot_http.guard import Guard, Settings
from gridspine.infra.runtime.web_place import SecretUse, split_address
from gridspine.kernel.errors import Invalid, Unavailable


def place(href: str, **settings: Any) -> str:
    parts = split_address(href)
    return str(asyncio.run(Guard(Settings(**settings), {}).addresses.find(parts.hostname or "", 80)))


@pytest.mark.parametrize(
    "href",
    ["http://127.0.0.1/", "http://localhost:8080/", "http://[::1]/", "http://169.254.169.254/latest", "http://0.0.0.0/",
     "http://[::ffff:127.0.0.1]/", "http://[fe80::1]/", "http://224.0.0.1/", "http://2130706433/", "http://240.0.0.1/",
     "http://0x7f.1/"],
)  # fmt: skip
def test_addresses_of_the_machine_and_the_link_are_refused(href: str) -> None:
    with pytest.raises((Invalid, Unavailable)):
        place(href)


def test_others_may_be_asked_and_the_settings_say_more_or_less() -> None:
    assert place("https://192.168.1.9/a?b=c#d") == "192.168.1.9"
    assert place("http://[2001:db8::7]:81/") == "2001:db8::7"
    assert place("http://127.0.0.1:80", allow=("127.0.0.0/8",)) == "127.0.0.1"
    assert place("http://10.1.2.3/", only=("10.0.0.0/8",)) == "10.1.2.3"
    for href in ("http://192.168.1.9/", "http://[2001:db8::7]/"):
        with pytest.raises(Invalid):
            place(href, only=("10.0.0.0/8",))
    with pytest.raises(Invalid):
        Guard(Settings(allow=("nonsense",)), {})


@pytest.mark.parametrize(
    "href", ["ftp://h/", "http:///x", "http://u:p@h/", "http://h:0/", "http://h:99999/", "h", "http://[::1"]
)
def test_what_is_no_address_is_refused(href: str) -> None:
    with pytest.raises(Invalid):
        split_address(href)


def test_a_secret_is_taken_only_where_it_has_leave_to() -> None:
    use = SecretUse(("https://h.example", "http://10.0.0.1:81"), ("acme",))
    guard = Guard(Settings(secrets={"a": use, "unset": use}), {"a": "s3cret", "b": "other"})
    assert guard.secret("a", "https://H.example:443/deep/path", "acme") == "s3cret"
    assert guard.secret("a", "http://10.0.0.1:81/", "acme") == "s3cret"
    for name, href, organisation in (
        ("a", "https://evil.example/", "acme"), ("a", "http://h.example/", "acme"),
        ("a", "https://h.example/", "other"),
        ("b", "https://h.example/", "acme"), ("unset", "https://h.example/", "acme"),
        ("a", "https://h.example.evil.example/", "acme"), ("a", "https://h.example@evil.example/", "acme"),
    ):  # fmt: skip
        with pytest.raises(Invalid) as refusal:
            guard.secret(name, href, organisation)
        assert "s3cret" not in refusal.value.detail
