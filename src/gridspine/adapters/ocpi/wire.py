"""The envelope, the errors and the headers of OCPI: what each message of both versions has in common. Pure.

::

    {"data": …, "status_code": 1000, "status_message": …, "timestamp": "…Z"}
    Authorization: Token <base64 of the credentials token>

Where a request is JSON and its address exists, the answer is 200 and the status code says what is wrong with it.
Sources: OCPI 2.2.1-d2 and 2.3.0, chapters "Transport and format" (authorization header, pagination, response format,
message routing), "Status codes" and "Types" (CiString, DateTime).
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, quote, urlencode

import msgspec

from gridspine.kernel.errors import GridspineError, Invalid
from gridspine.kernel.time import from_datetime, to_datetime

Version = Literal["2.2.1", "2.3.0"]
VERSIONS: tuple[Version, ...] = ("2.3.0", "2.2.1")
"""The newest first."""
MAX_PAGE = 100
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?", re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)
_LINK = re.compile(r'<([^<>"\s]{1,2000})>\s*;[^,<]*\brel="?next"?', re.ASCII)
_PARTY = re.compile(r"([A-Za-z]{2})[ *-]?([A-Za-z0-9]{3})", re.ASCII)
_MAX_QUERY, MAX_PARTIES = 20, 20
T = TypeVar("T")


class OcpiError(GridspineError):
    """A request is not carried out: ``http`` is its HTTP status, ``code`` OCPI's own."""

    def __init__(self, status_code: int, detail: str, http: int = 200) -> None:
        super().__init__(detail)
        self.status_code, self.http = status_code, http


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """What each answer is wrapped in; ``data`` is left unset where nothing is said."""

    status_code: int
    timestamp: str
    data: Any = msgspec.UNSET
    status_message: str = ""


class Party(msgspec.Struct, frozen=True):
    """A party: two letters of its country, three of its own; both compared without regard to case."""

    country_code: str
    party_id: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is compared by."""
        return self.country_code.upper(), self.party_id.upper()

    def __str__(self) -> str:
        return " ".join(self.key)


def read_parties(text: str) -> tuple[Party, ...]:
    """Return the parties that a person wrote, such as ``DE BRF`` or ``DE*BRF, NL-NSN``; raise `Invalid`."""
    found = [_PARTY.fullmatch(one.strip()) for one in text.split(",")]
    parties = tuple(Party(one[1].upper(), one[2].upper()) for one in found if one is not None)
    if len(parties) < len(found) or len(parties) > MAX_PARTIES:
        raise Invalid("party: two letters of its country and three of its own are needed, such as DE BRF")
    return parties


def bad(detail: str) -> OcpiError:
    """Return the error for parameters that are invalid or missing (2001)."""
    return OcpiError(2001, detail)


def nothing_here(detail: str = "there is nothing at this path") -> OcpiError:
    """Return the error for an address that does not exist (HTTP 404)."""
    return OcpiError(2000, detail, 404)


def read_time(text: str) -> int:
    """Return the µs since 1970 of a DateTime, which is UTC with or without its Z; raise `Invalid`."""
    try:
        if _TIME.fullmatch(text):
            time_us = from_datetime(datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC))
            if time_us >= 0:
                return time_us
    except (ValueError, OverflowError):
        pass  # a 13th month
    raise Invalid(f"{text[:40]!r} is no time of OCPI such as 2026-01-31T12:00:00Z")


def path_of(*parts: str) -> str:
    """Return what stands behind the address of a module's interface: each part is one, whatever is in it."""
    return "".join(f"/{quote(one, safe='')}" for one in parts)


def write_time(time_us: int) -> str:
    """Return ``time_us`` [µs since 1970] as a DateTime in UTC, in whole milliseconds."""
    moment = to_datetime(time_us // 1000 * 1000)
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.removesuffix("+00:00") + "Z"


def plain(body: bytes) -> Any:
    """Return a body of JSON without the members that are null, which are as good as absent; raise `OcpiError`."""
    try:
        return _without_null(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OcpiError(2001, f"the body is no JSON: {str(error)[:150]}", 400) from error


def read(value: Any, kind: type[T]) -> T:
    """Return a value of JSON as ``kind``; raise `OcpiError` 2001 that names what is wrong."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise bad(str(error)[:300]) from error


def read_envelope(body: bytes) -> Envelope:
    """Return an answer as it came; raise `Invalid`."""
    try:
        return msgspec.json.decode(body, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the answer is none of OCPI: {str(error)[:150]}") from error


def write_envelope(data: Any, now_us: int, status_code: int = 1000, message: str = "") -> bytes:
    """Return an answer; ``data`` UNSET for none."""
    return msgspec.json.encode(Envelope(status_code, write_time(now_us), data, message[:255]))


def write_token(token: str) -> str:
    """Return the value of an Authorization header."""
    return f"Token {base64.b64encode(token.encode()).decode()}"


def read_tokens(values: Sequence[str]) -> tuple[str, ...]:
    """Return the credentials tokens that an Authorization header may mean: what its Base64 says, and as it stands.

    Many send it as it is, though Base64 is asked for; which of both, whoever knows the tokens finds out.
    """
    scheme, _, given = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    given = given.strip()
    if scheme.lower() != "token" or not given or len(given) > 256:
        return ()
    found = []
    with contextlib.suppress(binascii.Error, ValueError):  # it is not encoded
        found.append(base64.b64decode(given, validate=True).decode("ascii").rstrip("\n"))
    found.append(given)
    return tuple(one for one in dict.fromkeys(found) if _TOKEN.fullmatch(one))


def is_token(text: str) -> bool:
    """Whether ``text`` can be a credentials token: 1 to 64 printable characters of ASCII."""
    return _TOKEN.fullmatch(text) is not None


class Page(msgspec.Struct, frozen=True):
    """Which part of a list is asked for: updated in ``[from_us, until_us)`` [µs since 1970], from ``offset`` on."""

    from_us: int = 0
    until_us: int = 1 << 62
    offset: int = 0
    limit: int = MAX_PAGE

    def of(self, found: Iterable[tuple[int, T]]) -> tuple[list[T], int]:
        """Return the part of ``found`` (each with when it was updated, in a lasting order), and how many match."""
        matching = [one for at_us, one in found if self.from_us <= at_us < self.until_us]
        return matching[self.offset : self.offset + self.limit], len(matching)

    def next(self, url: str, total: int) -> str:
        """Return the Link header's value for the page after this one of ``url``, "" for the last."""
        following = self.offset + self.limit
        if following >= total:
            return ""
        given: dict[str, Any] = {"offset": following, "limit": self.limit}
        if self.from_us:
            given["date_from"] = write_time(self.from_us)
        if self.until_us < 1 << 62:
            given["date_to"] = write_time(self.until_us)
        return f'<{url}?{urlencode(given, safe=":")}>; rel="next"'


def read_query(text: str) -> dict[str, str]:
    """Return the parameters of a query, each once; raise `OcpiError`."""
    try:
        given = parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_QUERY, errors="strict")
    except ValueError as error:
        raise bad(f"the query cannot be read: {str(error)[:100]}") from error
    if any(len(values) != 1 for values in given.values()):
        raise bad("a parameter of the query is given twice")
    return {name: values[0] for name, values in given.items()}


def read_page(query: dict[str, str]) -> Page:
    """Return the page that a query asks for; raise `OcpiError`."""
    try:
        from_us = read_time(query["date_from"]) if "date_from" in query else 0
        until_us = read_time(query["date_to"]) if "date_to" in query else 1 << 62
    except Invalid as error:
        raise bad(error.detail) from error
    offset, limit = number(query, "offset", 0), number(query, "limit", MAX_PAGE)
    return Page(from_us, until_us, offset, min(max(limit, 1), MAX_PAGE))


def number(query: dict[str, str], name: str, otherwise: int) -> int:
    """Return a whole number of the query, 0 or more; raise `OcpiError`."""
    given = query.get(name)
    if given is None:
        return otherwise
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise bad(f"{name}: a whole number is needed")
    return int(given)


def next_link(values: Iterable[str]) -> str:
    """Return the address of the next page that Link headers name, "" for none."""
    for value in values:
        found = _LINK.search(value)
        if found:
            return found[1]
    return ""


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_null(one) for one in value if one is not None]
    return value
