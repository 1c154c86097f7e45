"""One answer for many Things: an account's devices are asked for once, page by page, and each Thing takes its own.

::

    Thing A ─┐                       ┌─► page 1 ─ next ─► page 2 ─ … (one origin, so many pages at most)
    Thing B ─┼─► the same address ───┤
    Thing C ─┘      asked once       └─► items of all pages, end to end ─► A, B, C: the item with its own key
"""

import asyncio
from typing import Any, NamedTuple
from urllib.parse import urljoin

import msgspec

from gridspine.adapters.wot_http.proof import Security
from gridspine.adapters.wot_http.session import Session
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.web_place import origin_of
from gridspine.kernel.codecs.pick import at_pointer, parts_of, read_answer
from gridspine.kernel.errors import GridspineError, Invalid
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


class Listed(NamedTuple):
    """The items of all pages by their keys, as text, and when they came [µs since 1970]."""

    items: dict[str, Any]
    at_us: int


_Key = tuple[str, str, str, Listing]


class Shared:
    """What listings answered lately; one request at a time for each."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self._kept: dict[_Key, tuple[Listed | GridspineError, int]] = {}
        self._asking: dict[_Key, asyncio.Lock] = {}

    async def get(
        self, href: str, security: Security, organisation: str, listing: Listing, max_age_s: float
    ) -> Listed:  # fmt: skip
        """Return what a listing answers, or answered at most ``max_age_s`` [s] ago; raises as `Session.get` does."""
        key = (href, security.secret, organisation, listing)
        async with self._asking.setdefault(key, asyncio.Lock()):
            kept = self._kept.get(key)
            if kept is not None and kept[1] + max_age_s * US > self._clock.monotonic_us():
                if isinstance(kept[0], GridspineError):
                    raise kept[0]
                return kept[0]
            found: Listed | GridspineError
            try:
                found = await self._pages(href, security, organisation, listing)
            except GridspineError as problem:
                found = problem
            while len(self._kept) >= _MAX_KEPT:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._asking.pop(oldest, None)
            self._kept.pop(key, None)
            self._kept[key] = found, self._clock.monotonic_us()
            if isinstance(found, GridspineError):
                raise found
            return found

    async def _pages(self, href: str, security: Security, organisation: str, listing: Listing) -> Listed:
        items: dict[str, Any] = {}
        at_us, origin = 0, origin_of(href)
        seen: set[str] = set()
        while href:
            if len(seen) >= MAX_PAGES or href in seen:
                raise Invalid(f"more than {MAX_PAGES} pages, or one that leads back")
            seen.add(href)
            answer = await self._session.get(href, security, organisation)
            at_us = at_us or self._clock.now_us()
            document = read_answer(answer.body)
            items |= by_key(document, listing)
            if len(items) > MAX_ITEMS:
                raise Invalid(f"more than {MAX_ITEMS} items")
            href = following(document, listing, href)
            if href and origin_of(href) != origin:
                raise Invalid("its next page is at another origin, where its secret may not go")
        return Listed(items, at_us)


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
