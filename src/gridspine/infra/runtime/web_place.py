"""Addresses of the web that others name: read, and which secret may be taken there.

They are gone to by `gridspine.infra.runtime.guarded_http`.
"""

import re
from urllib.parse import SplitResult, urlsplit

import msgspec

from gridspine.kernel.errors import Invalid

_PORTS = {"http": 80, "https": 443}
_MAX_RETRY_S = 86_400
_NO_HOST = re.compile(r'[\x00-\x20\x7f-\xa0"#/<>?@\[\\\]^`{|}]')
"""What no host has: RFC 3986 §3.2.2 has all but letters beyond ASCII, which IDNA has."""


class SecretUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret's leave: to which ``origins`` (scheme://host:port), for Things of which ``organisations``."""

    origins: tuple[str, ...]
    organisations: tuple[str, ...]

    def permits(self, href: str, organisation: str) -> bool:
        """Whether it may be taken to ``href`` for a Thing of ``organisation``; raise `Invalid` for no address."""
        return organisation in self.organisations and origin_of(href) in {origin_of(one) for one in self.origins}


def split_address(href: str) -> SplitResult:
    """Return the parts of an http or https address; raise `Invalid` for any other."""
    try:
        parts = urlsplit(href)
        named = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise Invalid(f"not an address: {error}") from error
    if not named or parts.username is not None or parts.password is not None:
        raise Invalid("an address is http(s)://host[:port]/…, without a user")
    if _NO_HOST.search(parts.hostname or ""):  # who asks reads an address by other rules, and may end up elsewhere
        raise Invalid("an address has a host's name, or its number, between // and the path")
    return parts


def origin_of(href: str) -> str:
    """Return scheme, host and port of an address; raise `Invalid` where it is none."""
    parts = split_address(href)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{parts.port or _PORTS[parts.scheme]}"


def retry_after_s(text: str) -> int:
    """Return the seconds of a ``Retry-After`` (RFC 9110 §10.2.3), at most a day; 0 where it gives none.

    A date is not read: the clocks of two machines are two.
    """
    return min(int(text), _MAX_RETRY_S) if text.isdecimal() and len(text) <= 9 else 0
