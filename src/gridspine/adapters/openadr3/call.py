"""One request: who asks, in which edition of OpenADR, for what; and what its answer may be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import parse_qs

import msgspec

from gridspine.adapters.openadr3.wire import Record
from gridspine.energy.control_port import ControlPort
from gridspine.kernel.errors import Forbidden, Invalid

Edition = Literal["3.1.0", "3.0.1"]
EDITIONS: tuple[Edition, ...] = get_args(Edition)
MOST_AT_ONCE = 50
_MAX_QUERY = 200


class Answer(NamedTuple):
    """What is answered: JSON, or nothing."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Call:
    """A request, after it was known who asks. ``path`` has the parts below the base path."""

    method: str
    edition: Edition
    path: tuple[str, ...]
    query: dict[str, list[str]]
    body: bytes
    port: ControlPort
    now_us: int
    host: str = ""
    """By what name of this host it was asked, "" where that does not matter."""
    bl: bool = field(init=False)
    """Whether the asker runs programmes (business logic), for its own organisation."""

    def __post_init__(self) -> None:
        self.bl = self.port.may("programme.manage")

    @property
    def organisation(self) -> str:
        """The asker's organisation."""
        return self.port.source.organisation

    @property
    def client(self) -> str:
        """The asker's clientID: its principal."""
        return self.port.source.principal

    def one(self, name: str, most: int = 128) -> str | None:
        """Return a parameter of the query, None where it is not given; raise `Invalid`."""
        given = self.query.get(name)
        if given is None:
            return None
        if len(given) != 1 or not 0 < len(given[0]) <= most:
            raise Invalid(f"{name}: one value of 1 to {most} characters is needed")
        return given[0]

    def page(self, found: Iterable[Any]) -> list[Any]:
        """Return the part of what was found that ``skip`` and ``limit`` ask for: 50 at most."""
        skip, limit = self.window()
        return list(islice(found, skip, skip + limit))

    def window(self) -> tuple[int, int]:
        """Return ``skip`` and ``limit``; raise `Invalid`."""
        return self._number("skip", 0, 2**31 - 1), self._number("limit", MOST_AT_ONCE, MOST_AT_ONCE)

    def targets(self) -> frozenset[str] | None:
        """Return the words of which one is asked for, None where any will do; raise `Invalid`."""
        name = "targets" if self.edition == "3.1.0" else "targetValues"
        given = self.query.get(name)
        if given is None:
            return None
        if any(not 0 < len(one) <= 128 for one in given):
            raise Invalid(f"{name}: words of 1 to 128 characters are needed")
        return frozenset(given)

    def flag(self, name: str) -> bool:
        """Return a parameter that is true or false; raise `Invalid`."""
        given = self.one(name)
        if given not in {None, "true", "false"}:
            raise Invalid(f"{name}: true or false")
        return given == "true"

    def check_bl(self) -> None:
        """Raise `Forbidden` unless the asker runs programmes."""
        self.port.check("programme.manage")

    def check_ven(self) -> None:
        """Raise `Forbidden` unless the asker may take part in programmes: report, register, subscribe."""
        if not self.bl:
            self.port.check("programme.report")

    def check_maker(self, found: Record, noun: str) -> None:
        """Raise `Forbidden` unless the client made the object that it wants to change or delete."""
        if found.client != self.client:
            raise Forbidden(f"a {noun} is changed and deleted by the client that made it")

    def runs(self, organisation: str) -> bool:
        """Whether the asker runs the programmes of ``organisation``."""
        return self.bl and organisation == self.organisation

    def sees(self, record: Record) -> bool:
        """Whether an object that is nobody's but a client's is to be seen: its own, or its organisation's to the BL."""
        return (record.client == self.client and record.organisation == self.organisation) or self.runs(
            record.organisation
        )

    def _number(self, name: str, otherwise: int, most: int) -> int:
        given = self.one(name)
        if given is None:
            return otherwise
        if not given.isascii() or not given.isdigit() or len(given) > 10 or int(given) > most:
            raise Invalid(f"{name}: a number from 0 to {most} is needed")
        return int(given)


def read_query(text: str) -> dict[str, list[str]]:
    """Return the parameters of a query; raise `Invalid` for too many."""
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_QUERY, errors="strict")
    except ValueError as error:
        raise Invalid(f"the query cannot be read: {str(error)[:100]}") from error


def said(value: object, status: int = 200) -> Answer:
    """Return an answer of JSON."""
    return Answer(status, msgspec.json.encode(value))


def must(permitted: bool, what: str) -> None:
    """Raise `Forbidden`, saying what is not permitted."""
    if not permitted:
        raise Forbidden(what)
