"""One answer for many Things: an account's devices are asked for once, page by page, and each Thing takes its own.

::

    Thing A ─┐                       ┌─► page 1 ─ next ─► page 2 ─ … (one origin, so many pages at most)
    Thing B ─┼─► the same address ───┤
    Thing C ─┘      asked once       └─► items of all pages, end to end ─► A, B, C: the item with its own key

A round that must pause (a budget is spent, 429) goes on where it stopped: begun again, it would never come to its end.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urljoin

import msgspec

from gridspine.adapters.wot_http.proof import Security
from gridspine.adapters.wot_http.session import Session
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.web_place import origin_of
from gridspine.kernel.codecs.pick import at_pointer, parts_of, read_answer
from gridspine.kernel.errors import GridspineError, Invalid, Overloaded
from gridspine.kernel.time import US

MAX_PAGES, MAX_ITEMS = 50, 10_000
_MAX_KEPT = 1_000


class Listing(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """An answer that lists many devices: the array is at ``items``; ``next``, where there are pages, leads to the next.

    All three are JSON pointers: ``key`` within an item. What is at ``next`` is an address of the same origin, or null.
    """

    items: str
    key: str
    next: str = ""

    def check(self) -> None:
        """Raise `Invalid` for pointers that are none."""
        for pointer in (self.items, self.key, self.next):
            parts_of(pointer)


class Item(NamedTuple):
    """An item of a listing, and when its page came [µs since 1970]."""

    value: Any
    at_us: int


Items = dict[str, Item]
"""The items of all pages by their keys, as text."""
_Key = tuple[str, str, str, Listing]


@dataclass(slots=True)
class _Round:
    """What was read of a listing's pages, and the address of the page that is next."""

    following: str
    seen: set[str] = field(default_factory=set)
    items: Items = field(default_factory=dict)


class Shared:
    """What listings answered lately; one request at a time for each."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self._kept: dict[_Key, tuple[Items | GridspineError, int]] = {}
        self._paused: dict[_Key, _Round] = {}
        self._asking: dict[_Key, asyncio.Lock] = {}

    async def get(
        self, href: str, security: Security, organisation: str, listing: Listing, max_age_s: float
    ) -> Items:  # fmt: skip
        """Return what a listing answers, or answered at most ``max_age_s`` [s] ago; raises as `Session.get` does."""
        key = (href, security.secret, organisation, listing)
        async with self._asking.setdefault(key, asyncio.Lock()):
            kept = self._kept.get(key)
            if kept is not None and kept[1] + _age_s(kept[0], max_age_s) * US > self._clock.monotonic_us():
                return _items_of(kept[0])
            found: Items | GridspineError
            try:
                found = await self._pages(key, security)
            except GridspineError as problem:
                found = problem
            while len(self._kept) >= _MAX_KEPT:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._paused.pop(oldest, None)
                self._asking.pop(oldest, None)
            self._kept.pop(key, None)
            self._kept[key] = found, self._clock.monotonic_us()
            return _items_of(found)

    async def _pages(self, key: _Key, security: Security) -> Items:
        href, _, organisation, listing = key
        reading = self._paused.pop(key, None) or _Round(href)
        try:
            while reading.following:
                await self._page(reading, security, organisation, listing)
                if reading.following and origin_of(reading.following) != origin_of(href):
                    raise Invalid("its next page is at another origin, where its secret may not go")
        except Overloaded:
            if reading.seen:
                self._paused[key] = reading
            raise
        return reading.items

    async def _page(self, reading: _Round, security: Security, organisation: str, listing: Listing) -> None:
        href = reading.following
        if len(reading.seen) >= MAX_PAGES or href in reading.seen:
            raise Invalid(f"more than {MAX_PAGES} pages, or one that leads back")
        answer = await self._session.get(href, security, organisation)
        reading.seen.add(href)
        at_us = self._clock.now_us()
        document = read_answer(answer.body)
        reading.items |= {name: Item(value, at_us) for name, value in by_key(document, listing).items()}
        if len(reading.items) > MAX_ITEMS:
            raise Invalid(f"more than {MAX_ITEMS} items")
        reading.following = following(document, listing, href)


def _age_s(found: Items | GridspineError, max_age_s: float) -> float:
    """Return for how long [s] what was found is told to others: a pause only until it is over."""
    return min(max_age_s, float(found.retry_after_s)) if isinstance(found, Overloaded) else max_age_s


def _items_of(found: Items | GridspineError) -> Items:
    if isinstance(found, GridspineError):
        raise found
    return found


def by_key(document: Any, listing: Listing) -> dict[str, Any]:
    """Return the items of a page by their keys; raise `Invalid` where there is no list."""
    listed = at_pointer(document, listing.items)
    if not isinstance(listed, list):
        raise Invalid(f"no list is at {listing.items[:60]!r} in the answer")
    found: dict[str, Any] = {}
    for item in listed:
        try:
            key = at_pointer(item, listing.key)
        except Invalid:
            continue  # an item without a key is nobody's
        if isinstance(key, str | int) and not isinstance(key, bool):
            found[str(key)] = item
    return found


def following(document: Any, listing: Listing, href: str) -> str:
    """Return the address of the page after the one at ``href``, "" for none; raise `Invalid` for what is no address."""
    if not listing.next:
        return ""
    try:
        said = at_pointer(document, listing.next)
    except Invalid:
        return ""
    if not isinstance(said, str) or not said:
        return ""
    try:
        return urljoin(href, said)
    except ValueError as error:
        raise Invalid("its next page is at no address") from error
