"""One request as the modules see it, and what they answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from gridspine.adapters.ocpi.book import Book, Partner, Place
from gridspine.adapters.ocpi.wire import Page, Party, Version, bad, nothing_here, plain, read, read_page

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a partner that is who it says: ``rest`` is the path below the module, ``sender`` who it is of."""

    method: str
    version: Version
    partner: Partner
    rest: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes
    url: str
    now_us: int
    sender: Party | None = None

    def read(self, kind: Any) -> Any:
        """Return the body as ``kind``; raise `OcpiError`."""
        return read(plain(self.body), kind)

    def page(self) -> Page:
        """Return which part of a list is asked for."""
        return read_page(dict(self.query))

    def listed(self, found: list[tuple[int, Any]], show: Callable[[Any], Any] = lambda one: one) -> "Reply":
        """Answer a page of what was found, each with when it was updated [µs since 1970]; ``show`` shows one."""
        page = self.page()
        shown, total = page.of(found)
        headers = [("x-total-count", str(total)), ("x-limit", str(page.limit))]
        link = page.next(self.url, total)
        return Reply([show(one) for one in shown], [*headers, ("link", link)] if link else headers)

    def theirs(self) -> Callable[[Party], bool]:
        """Return whether what is of a party is for who asks: on a platform of several each has its own.

        What is of a party that the partner speaks for no more is for the one that it is pushed to; all is for a
        request that does not say of whom it is.
        """
        sender, known = self.sender, {role.party.key for role in self.partner.roles}
        first = self.partner.party("EMSP")

        def is_theirs(party: Party) -> bool:
            told = party if party.key in known else first
            return sender is None or (told is not None and told.key == sender.key)

        return is_theirs

    def own_place(self, module: str, least: int = 3) -> tuple[Place, str]:
        """Return where an object of the partner's is kept, by ``/{country}/{party}/{id}``; raise `OcpiError`."""
        if len(self.rest) < least:
            raise nothing_here()
        country, party, id_ = self.rest[:3]
        if not self.partner.is_(Party(country, party)):
            raise nothing_here("that party is none of yours")
        if not 0 < len(id_) <= 39 or not id_.isascii() or not id_.isprintable():
            raise nothing_here()
        return (self.partner.thing, module, country, party), id_

    def check_same(self, given: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """Raise unless the object says of itself what the address does: 2001."""
        for name, said in names.items():
            if str(given.get(name, said)).casefold() != said.casefold():
                raise bad(f"{name} is not that of the address")


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: ``data`` (UNSET for none), further headers, and HTTP's status."""

    data: Any = msgspec.UNSET
    headers: list[tuple[str, str]] = field(default_factory=list)
    http: int = 200


Handler = Callable[[Call], Awaitable[Reply]]
Handlers = Mapping[str, Handler]
"""By method."""


def in_turn(book: Book, module: str, handler: Handler) -> Handler:
    """Return a handler that changes an object (`Call.own_place`) from what is kept then: one request at a time."""

    async def answer(call: Call) -> Reply:
        async with book.turn(*call.own_place(module)):
            return await handler(call)

    return answer
