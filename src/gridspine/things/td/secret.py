"""Secrets in a Thing Description: found, and said where, so that they can be put where they belong.

Source: W3C WoT Thing Description 1.1, §5.3.3 and the security considerations: security metadata says *how* a client
proves itself, never by what (the clause that forbids secrets was not looked up).
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from gridspine.things.td.document import Finding, Path, finding, walk

_NAME = re.compile(
    r"(^|[:_.\-])(pass(word|wd|phrase)?|pwd|secret|clientsecret|client_secret|token|accesstoken|access_token|"
    r"refreshtoken|refresh_token|apikey|api_key|privatekey|private_key|psk|presharedkey|pre_shared_key|credentials?)$",
    re.IGNORECASE,
)
_QUERY = re.compile(r"[?&;](pass(word|wd)?|pwd|secret|client_secret|(access_|refresh_)?token|api_?key)=[^&{;]", re.I)
_SPELLED = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ADDRESSES = {"token", "authorization", "refresh", "proxy"}
"""Members of a security definition that are addresses, or names."""
_DESCRIBED = {"properties", "actions", "events", "uriVariables", "schemaDefinitions", "securityDefinitions"}
"""Objects whose names are the author's, not terms."""


_WORDS = (b"pass", b"pwd", b"secret", b"token", b"key", b"psk", b"shared", b"credential")
_USER = re.compile(rb'/(?:\\[tnr])*/(?:[^/"\\]|\\.)*@')
"""A user before a host within one text, however JSON spells it; who reads addresses passes over tabs and line ends."""


def may_hold_secrets(text: bytes) -> bool:
    """Whether a document, as JSON, has anything that `secrets_in` could take for a secret."""
    small = text.lower()
    return any(word in small for word in _WORDS) or _USER.search(text) is not None


def secrets_in(document: Any) -> Iterator[Finding]:
    """Yield each place where a document seems to hold a secret."""
    for path, value in walk(document):
        if not isinstance(value, str) or not path or not value:
            continue
        if "://" in value and (words := _in_address(value)):
            yield finding(path, words)
        elif _named(path) and not _is_address(path, value):
            where = "give the adapter its secret (see its how-to), and leave it out here"
            yield finding(path, f"this looks like a secret, and a description is read by many: {where}")


def _named(path: Path) -> bool:
    """Whether the last name of a path is one that secrets have; a name that is an affordance's own is none."""
    name = path[-1]
    if not isinstance(name, str) or (len(path) > 1 and path[-2] in _DESCRIBED):
        return False
    spelled = _SPELLED.sub("_", name)
    return bool(_NAME.search(name) or _NAME.search(spelled))


def _is_address(path: Path, value: str) -> bool:
    definition = len(path) == 3 and path[0] == "securityDefinitions"
    return definition and path[-1] in _ADDRESSES and ("://" in value or value.startswith(("/", "{{")))


def _in_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        if parts.password or (parts.username and "{" not in parts.username):
            return "an address must not hold a user or password: a security definition says how a client proves itself"
    except ValueError:
        return ""
    if _QUERY.search(value):
        return "an address must not hold a secret: use a security definition, and a uriVariable where it must be"
    return ""
