"""What is secret taken out of what was said on a wire, before anybody sees it.

Two nets, one behind the other: the secrets that are known, in the forms in which wires carry them (as they are, as
hexadecimal digits, in base 64, escaped for an address); and whatever stands where secrets stand (headers, fields of
JSON and of forms, parameters of addresses) by its name. What neither knows is shown: a password that a stranger sends
in a field of another name, a secret that was cut in two. A secret of fewer than
`SHORTEST` characters is not looked for.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

SHORTEST = 4
HIDDEN = "(hidden)"
_NAMES = (
    "authori[sz]ation|authenticat|cookie|passw|passphrase|secret|token|credential|signature|api[-_]?key"
    "|private[-_]?key|id[-_]?tag"
)
_HEADER = re.compile(rf"^([\w-]{{0,60}}(?:{_NAMES})[\w-]{{0,60}}[ \t]*:[ \t]*)[^\r\n]+", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(rf'("[^"\n]{{0,60}}(?:{_NAMES})[^"\n]{{0,60}}"\s*:\s*)"(?:[^"\\]|\\.)*"?', re.IGNORECASE)
_OF_A_SECRET = re.compile(rf':\s*"[^"\n]{{0,60}}(?:{_NAMES})[^"\n]{{0,60}}"', re.IGNORECASE)
_VALUE = re.compile(r'("(?:value|attributeValue)"\s*:\s*)"(?:[^"\\]|\\.)*"?', re.IGNORECASE)
"""``{"key": "AuthorizationKey", "value": "…"}``: a name that is itself a value says what the value beside it is."""
_PARAMETER = re.compile(rf"\b([\w.-]{{0,60}}(?:{_NAMES})[\w.-]{{0,60}}=)[^&\s\"]+", re.IGNORECASE)

_USER = re.compile(r"(://)[^/\s\"'@]{1,200}:[^/\s\"'@]{1,200}@")
"""User and password before the host of an address, where a device is to fetch or put a file."""


class Redaction:
    """Takes ``secrets`` out of texts; those made of several parts (``user:password``) part by part too."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.longest = 0
        """Characters of the longest form of a secret."""
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these from now on too."""
        known = self._known | frozenset(form for secret in secrets for form in forms(secret))
        if known != self._known:
            longest_first = sorted(known, key=len, reverse=True)
            self._known, self.longest = known, len(longest_first[0])
            self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return ``text`` without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        text = _HEADER.sub(rf"\1{HIDDEN}", text)
        if _OF_A_SECRET.search(text):
            text = _VALUE.sub(rf'\1"{HIDDEN}"', text)
        text = _FIELD.sub(rf'\1"{HIDDEN}"', text)
        text = _USER.sub(rf"\1{HIDDEN}@", text)
        return _PARAMETER.sub(rf"\1{HIDDEN}", text)


def forms(secret: str) -> frozenset[str]:
    """Return how a secret, and each part of it, may stand in a line."""
    return frozenset(_forms(secret))


def _forms(secret: str) -> Iterator[str]:
    for part in {secret, *secret.split(":")}:
        if len(part) < SHORTEST:
            continue
        data = part.encode()
        plain = base64.b64encode(data).decode()
        yield from (part, quote(part, safe=""), quote_plus(part), json.dumps(part)[1:-1], data.hex(), data.hex(" "))
        yield from (plain, plain.rstrip("="), base64.urlsafe_b64encode(data).decode().rstrip("="))
