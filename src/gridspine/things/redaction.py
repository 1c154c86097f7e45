"""What is secret taken out of what was said on a wire, before anybody sees it.

Two nets, one behind the other: the secrets that are known, in the forms in which wires carry them (as they are, as
hexadecimal digits, in base 64, escaped for an address); and whatever stands where secrets stand (headers, fields of
JSON and of forms, parameters of addresses) by its name. What neither knows is shown: a password that a stranger sends
in a field of another name, a secret that was cut in two. A secret of fewer than
`SHORTEST` characters is not looked for.

A third net is for what names a driver or lets a device in and is no secret by itself: the number of a card, the
contract behind it, a registration PIN. Its last characters stay, so that lines about the same one can be told.
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
_FIELD = re.compile(rf'((?:{_NAMES})[^"\n]{{0,60}}"\s*:\s*)"(?:[^"\\]|\\.)*"?', re.IGNORECASE)
"""Of this and of `_PARAMETER` what stands before the name is not looked for: that takes long in a line of dots."""
_OF_A_SECRET = re.compile(rf':\s*"[^"\n]{{0,60}}(?:{_NAMES})[^"\n]{{0,60}}"', re.IGNORECASE)
_VALUE = re.compile(r'("(?:value|attributeValue)"\s*:\s*)"(?:[^"\\]|\\.)*"?', re.IGNORECASE)
"""``{"key": "AuthorizationKey", "value": "…"}``: a name that is itself a value says what the value beside it is."""
_PARAMETER = re.compile(rf"((?:{_NAMES})[\w.-]{{0,60}}=)[^&\s\"]+", re.IGNORECASE)

_USER = re.compile(r"(://)[^/\s\"'@]{1,200}:[^/\s\"'@]{1,200}@")
"""User and password before the host of an address, where a device is to fetch or put a file."""

_PERSONAL = re.compile(r'("(?:contract_id|visual_number|group_id)"\s*:\s*)"((?:[^"\\]|\\.)*)"?', re.IGNORECASE)
_UID = re.compile(r'("uid"\s*:\s*)"((?:[^"\\]|\\.)*)"?', re.IGNORECASE)
"""Of OCPI: of a card, unless what is said is of charging points (`_PLACE`), whose *uid* is nobody's."""
_PLACE, _CONTRACT = re.compile(r'"connectors"\s*:'), re.compile(r'"contract_id"\s*:')
_OF_A_CARD = re.compile(r"(/tokens/(?:[A-Za-z]{2}/[A-Za-z0-9]{3}/)?)([^/?\s\"<>]+)")
_PIN = re.compile(r"(<(?:\w{1,20}:)?pIN>\s*)(\d+)")
_SHOWN = 4
"""Of what names somebody at most so many characters stay, and no more than a third."""


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
        return _named(_PARAMETER.sub(rf"\1{HIDDEN}", text))


def _named(text: str) -> str:
    """Return ``text`` with no more than the ends of what names somebody."""
    text = _OF_A_CARD.sub(lambda found: found[1] + _end(found[2]), text)
    text = _PIN.sub(lambda found: found[1] + _end(found[2]), text)
    text = _PERSONAL.sub(lambda found: f'{found[1]}"{_end(found[2])}"', text)
    if _PLACE.search(text) and not _CONTRACT.search(text):
        return text
    return _UID.sub(lambda found: f'{found[1]}"{_end(found[2])}"', text)


def _end(said: str) -> str:
    return f"…{said[-min(_SHOWN, len(said) // 3) :] if len(said) > 2 else ''}"


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
