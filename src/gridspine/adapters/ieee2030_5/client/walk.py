"""A server's tree of resources, read at the rates that it asks for.

::

    DeviceCapability ─► EndDeviceList ─► EndDevice (by its LFDI) ─► FunctionSetAssignmentsList ─► DERProgramList
          └─► Time                            └─► DER, ConnectionPoint, Registration      DERControlList ◄─┘

A list is asked for anew when its pollRate has passed; until then what it said is what it says. A server that moved
something answers 404: then all of it is read anew.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gridspine.adapters.ieee2030_5.client.connection import Connection
from gridspine.adapters.ieee2030_5.client.der_control import SeenProgram, read_program
from gridspine.adapters.ieee2030_5.der_document import TIME_MAX
from gridspine.adapters.ieee2030_5.wire import Element
from gridspine.infra.runtime.clock import Clock, Steps
from gridspine.kernel.errors import GridspineError, Invalid, NotFound, TooLarge
from gridspine.kernel.time import US

log = logging.getLogger(__name__)
PAGE, MAX_ITEMS, TRIES = 100, 2_000, 3
"""Items that are asked for at once; items of one list that are read at most; how often one is begun that changes."""
USUAL_S, LEAST_S, MOST_S = 900, 1, 86_400
"""Rate of a list that says none [s], and what rates are kept within."""

_MAX_SAID = 1_000
_NOTHING_S = 60.0
"""When a server that shows nothing is looked at again [s]."""


class Kept(NamedTuple):
    """What a list said, and until when that is good [µs, monotonic]."""

    items: Sequence[Element]
    until_us: int


class Watch(NamedTuple):
    """What was read of a resource that can be subscribed to: its name, and the list of its EndDevice's subscriptions.

    ``name`` is that of its items, for a list; ``subscriptions`` is "" where the EndDevice has no list of its own.
    """

    name: str
    subscriptions: str


class Programs(NamedTuple):
    """The programs of an EndDevice that could be read; ``whole`` is false where others are none that can be."""

    read: list[SeenProgram]
    whole: bool = True


class Walk:
    """The tree of one server, as one client sees it; nothing is kept for longer than ``most_s`` [s]."""

    def __init__(self, connection: Connection, clock: Clock, *, most_s: float = MOST_S) -> None:
        self.connection = connection
        self._clock, self._most_s, self._steps = clock, most_s, Steps(clock)
        self._kept: dict[str, Kept] = {}
        self._rates: dict[str, float] = {}
        self._said: set[str] = set()
        self._subscribable: dict[str, bool] = {}
        self._stale: set[str] = set()
        self._beneath = ""
        self.watched: dict[str, Watch] = {}
        """What was read since it was emptied, whether it was asked for or known, and may be subscribed to: by href."""
        self.offset_us = 0
        """How much the server's clock is before ours [µs]."""

    def forget(self) -> None:
        """Ask for everything anew."""
        self._kept.clear()

    def renew(self, href: str) -> None:
        """Ask for one document or list anew, also where it is being read just now."""
        self._stale.add(href)
        self._kept.pop(href, None)

    @property
    def due_s(self) -> float:
        """In what time something is to be asked for again [s]; what was not asked for in time is forgotten."""
        now_us = self._clock.monotonic_us()
        self._kept = {href: one for href, one in self._kept.items() if one.until_us > now_us}
        self._rates = {href: one for href, one in self._rates.items() if href in self._kept}
        self._subscribable = {href: one for href, one in self._subscribable.items() if href in self._kept}
        self._stale.clear()  # nothing is being read now
        return min(((one.until_us - now_us) / US for one in self._kept.values()), default=_NOTHING_S)

    async def capability(self) -> Element:
        """Return DeviceCapability."""
        return (await self._one(self.connection.path, "DeviceCapability"))[0]

    async def end_devices(self) -> Sequence[Element]:
        """Return the EndDevices that the server shows; its clock is asked for as often as they are."""
        if self._steps.take()[0]:  # the node's clock was set, the server's was not: its time is asked for anew
            self.forget()
        capability = await self.capability()
        href = _href(capability, "EndDeviceListLink")
        if not href:
            raise NotFound("the server has no EndDeviceList")
        if href not in self._kept or self._kept[href].until_us <= self._clock.monotonic_us():
            await self._time(_href(capability, "TimeLink"))
        self._beneath = ""
        return await self._list(href, "EndDevice", {})

    async def programs(self, device: Element, rated_w: float) -> Programs:
        """Return the programs that are assigned to an EndDevice, each once; ``rated_w`` [W] is its rating.

        One that is no program, or has a document that is none, is left out, and costs the others nothing.
        """
        href = _href(device, "FunctionSetAssignmentsListLink")
        if not href:
            return Programs([])
        self._beneath = _href(device, "SubscriptionListLink")
        found: dict[str, SeenProgram] = {}
        whole = True
        for assigned in await self._list(href, "FunctionSetAssignments", {}):
            if not (programs := _href(assigned, "DERProgramListLink")):
                continue
            below: dict[str, float] = {}
            try:
                listed = await self._list(programs, "DERProgram", below)
            except (Invalid, TooLarge) as error:
                whole = self._left_out(error)
                continue
            for one in listed:
                try:
                    seen = await self._program(one, rated_w, below["rate"])
                except (Invalid, TooLarge) as error:
                    whole = self._left_out(error)
                    continue
                found[seen.mrid] = seen
        return Programs(list(found.values()), whole)

    async def children(self, device: Element, link: str, name: str) -> Sequence[Element]:
        """Return the items of a list that an EndDevice links to."""
        href = _href(device, link)
        return await self._list(href, name, {}, watched=False) if href else ()

    async def _program(self, given: Element, rated_w: float, rate_s: float) -> SeenProgram:
        default: Element | None = None
        if href := _href(given, "DefaultDERControlLink"):
            try:
                default = (await self._one(href, "DefaultDERControl", rate_s))[0]
            except NotFound:
                default = None
        controls = _href(given, "DERControlListLink")
        listed = await self._list(controls, "DERControl", {}, rate_s) if controls else ()
        return read_program(given, default, list(listed), rated_w)

    def _left_out(self, error: GridspineError) -> bool:
        """Say once why something of the server's is left out; return False."""
        if error.detail not in self._said:
            if len(self._said) >= _MAX_SAID:
                self._said.clear()
            self._said.add(error.detail)
            log.warning(
                "a program of %s cannot be read, what stands of it goes on: %s", self.connection.host, error.detail
            )
        return False

    async def _one(self, href: str, name: str, rate_s: float = USUAL_S) -> Sequence[Element]:
        kept = self._fresh(href)
        if kept is not None:
            self._watch(href, name)
            return kept
        self._stale.discard(href)
        found = await self.connection.get(href)
        if found.name != name:
            raise Invalid(f"{href[:200]}: a {name} is needed, this is a {found.name[:60]}")
        self._keep(href, [found], _rate(found, rate_s))
        self._watch(href, name, found)
        return [found]

    async def _list(
        self, href: str, name: str, below: dict[str, float], rate_s: float = USUAL_S, *, watched: bool = True
    ) -> Sequence[Element]:
        """Return all items of a list; ``below`` is told its rate, which is that of what hangs on it, too."""
        kept = self._fresh(href)
        if kept is not None:
            below["rate"] = self._rates.get(href, rate_s)
            if watched:
                self._watch(href, name)
            return kept
        self._stale.discard(href)
        for _ in range(TRIES):
            page, items, whole = await self._pages(href, name)
            if whole:
                break
        else:
            raise Invalid(f"{href[:200]}: the list changes whenever it is read")
        rate_s = _rate(page, rate_s)
        self._rates[href] = below["rate"] = rate_s
        self._keep(href, items, rate_s)
        if watched:
            self._watch(href, name, page)
        return items

    async def _pages(self, href: str, name: str) -> tuple[Element, list[Element], bool]:
        """Return the last page of a list, its items, and whether they are all: it may change from page to page.

        ::

            0 ────────────── 99        each page begins with the last item of the one before it: where it is another,
                             99 ─────  items moved up or down in between, and one may have been passed over
        """
        items: list[Element] = []
        many, again = 0, 1
        while True:
            mark, start = "&" if "?" in href else "?", max(0, len(items) - again)
            page = await self.connection.get(f"{href}{mark}s={start}&l={PAGE}")
            if page.name != f"{name}List":
                raise Invalid(f"{href[:200]}: a {name}List is needed, this is a {page.name[:60]}")
            got, before, many = page.all(name), many, _number(page, "all")
            if items and (many != before or (start < len(items) and not (got and _same(got[0], items[-1])))):
                return page, items, False
            fresh = got[len(items) - start :]
            if got and not fresh and len(items) < many and again:
                again = 0  # it shows one at a time: there is no other way on
                continue
            items += fresh
            if not fresh or len(items) >= many:
                return page, items, True
            if len(items) > MAX_ITEMS:
                raise TooLarge(f"{href[:200]}: more than {MAX_ITEMS} items")

    async def _time(self, href: str) -> None:
        if not href:
            return
        asked_us = self._clock.now_us()
        found = await self.connection.get(href)
        said_s = found.whole("currentTime", 0, TIME_MAX)
        if said_s is None:
            raise Invalid("Time: currentTime is needed")
        between_us = (asked_us + self._clock.now_us()) // 2
        offset_us = said_s * US + US // 2 - between_us
        # It says whole seconds: less than that is no difference.
        self.offset_us = offset_us if abs(offset_us) >= 2 * US else 0

    def _fresh(self, href: str) -> Sequence[Element] | None:
        kept = self._kept.get(href)
        return kept.items if kept is not None and kept.until_us > self._clock.monotonic_us() else None

    def _keep(self, href: str, items: Sequence[Element], rate_s: float) -> None:
        if href in self._stale:  # what was read just now may be what it was before
            return
        wait_s = min(max(LEAST_S, rate_s), self._most_s)
        self._kept[href] = Kept(items, self._clock.monotonic_us() + round(wait_s * US))

    def _watch(self, href: str, name: str, found: Element | None = None) -> None:
        """Note what was read; ``found`` says whether it may be subscribed to, None: as it said last."""
        if found is not None:
            self._subscribable[href] = found.attributes.get("subscribable", "0") in {"1", "3"}
        if self._subscribable.get(href):
            self.watched[href] = Watch(name, self._beneath)


def own(devices: Sequence[Element], lfdi: str) -> Element | None:
    """Return the EndDevice with that LFDI."""
    return next((one for one in devices if (one.said("lFDI") or "").upper() == lfdi), None)


def link_of(given: Element, name: str) -> str:
    """Return where a link leads, "" where there is none."""
    return _href(given, name)


def hrefs(items: Sequence[Element]) -> Iterator[str]:
    """Yield where items are."""
    for one in items:
        yield one.attributes.get("href", "")


def _same(one: Element, other: Element) -> bool:
    """Whether two readings of an item of a list are of the same: by its address, else by all that it says."""
    there = one.attributes.get("href", "")
    if there or "href" in other.attributes:
        return there == other.attributes.get("href", "")
    return one.name == other.name and one.text.strip() == other.text.strip() and (
        len(one.children) == len(other.children) and all(map(_same, one.children, other.children))
    )  # fmt: skip


def _href(given: Element, name: str) -> str:
    found = given.find(name)
    return "" if found is None else found.attributes.get("href", "")


def _rate(given: Element, usual_s: float) -> float:
    text = given.attributes.get("pollRate", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else usual_s


def _number(given: Element, name: str) -> int:
    text = given.attributes.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
