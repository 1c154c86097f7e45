"""What all services of the VTN share: who asks, what is kept of them, what they are told.

::

    certificate ─► source ─► the VENs whose Things it speaks for ─► `Asker`
                                 └► a venID on the wire must be one of theirs: of others nobody learns whether they are
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakValueDictionary

from gridspine.adapters.openadr2.book import Book, VenRecord
from gridspine.adapters.openadr2.message import CreatePartyRegistration
from gridspine.adapters.openadr2.problem import COMPLIANCE, INVALID_ID, NOT_REGISTERED, Refused
from gridspine.adapters.openadr2.settings import Settings
from gridspine.adapters.openadr2.ven import Ven, Vens
from gridspine.adapters.openadr2.view import View, view_of
from gridspine.energy.control_port import Controls
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Source

MAX_CLIENTS = 20_000
"""Certificates that are remembered with what they speak for."""


class Asker:
    """Who asks: its source, and the VENs it speaks for."""

    __slots__ = ("_book", "source", "standing", "vens")

    def __init__(self, book: Book, source: Source, vens: Sequence[Ven], standing: int) -> None:
        self._book, self.source, self.vens, self.standing = book, source, vens, standing

    def ven(self, id: str, name: str = "") -> Ven:
        """Return the VEN of that venID, or (where none is said) the only one, or that of the name; raise `Refused`."""
        found = [one for one in self.vens if one.id == id] if id else list(self.vens)
        if not id and len(found) > 1:
            found = [one for one in found if name and one.name == name]
        if len(found) != 1:
            words = f"venID: {id[:80]!r} is not yours" if id else "venID: say which of yours it is"
            raise Refused(INVALID_ID if self.vens else NOT_REGISTERED, words)
        return found[0]

    def registered(self, id: str) -> tuple[Ven, VenRecord]:
        """Return a VEN that is registered, and what is kept of it; raise `Refused`."""
        ven = self.ven(id)
        record = self.record(ven)
        if record.registration is None:
            raise Refused(NOT_REGISTERED, "you are not registered: send oadrCreatePartyRegistration")
        return ven, record

    def record(self, ven: Ven) -> VenRecord:
        """Return what is kept of a VEN."""
        return self._book.ven(ven.id, ven.thing)


class Desk:
    """The VTN. Lives on the event loop."""

    def __init__(self, context: AdapterContext, settings: Settings, book: Book, controls: Controls) -> None:
        self.context, self.settings, self.book, self.controls = context, settings, book, controls
        self.clock = context.clock
        self.vens = Vens(context.bindings())
        self.changed = asyncio.Event()
        """Set when something may have changed that VENs are told of."""
        self._generation, self._standing = 0, 0
        self._askers: OrderedDict[bytes, Asker] = OrderedDict()
        self._views: dict[str, View] = {}
        self._sent_us: dict[str, int] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def rebind(self) -> None:
        """Read anew which Things are VENs; of those that are gone nothing is kept."""
        self.vens = Vens(self.context.bindings())
        self.doubt()
        for id_ in self.book.vens():
            if self.vens.get(id_) is None:
                async with self.turn(id_):
                    await self.book.forget(id_)

    def doubt(self) -> None:
        """Take nothing for granted that was known before: neither who asks nor what they are told."""
        self._standing += 1
        self.renew()

    def renew(self) -> None:
        """Take nothing for granted of what VENs are told; who they are stays known."""
        self._generation += 1
        self._views.clear()
        self.changed.set()

    def turn(self, ven: str) -> asyncio.Lock:
        """Return what is held by whoever changes what is kept of a VEN."""
        found = self._turns.get(ven)
        if found is None:
            found = self._turns[ven] = asyncio.Lock()
        return found

    async def asker(self, certificate_der: bytes | None) -> Asker:
        """Return who shows a certificate; raise `Refused` for one that nobody knows."""
        if certificate_der is None:
            raise Refused(NOT_REGISTERED, "a client certificate is needed")
        known = self._askers.get(certificate_der)
        if known is not None and known.standing == self._standing and self._holds(known):
            return known
        source = await self.context.authorise("", "", certificate_der)
        if source is None:
            self._askers.pop(certificate_der, None)
            raise Refused(NOT_REGISTERED, "this client certificate is not known here")
        own = [one for one in self.vens.all() if self.context.may_publish(source, one.thing)]
        made = self._askers[certificate_der] = Asker(self.book, source, own, self._standing)
        self._askers.move_to_end(certificate_der)
        while len(self._askers) > MAX_CLIENTS:
            self._askers.popitem(last=False)
        return made

    async def view(self, ven: Ven, source: Source) -> View:
        """Return what a VEN is told now."""
        now_us, known = self.clock.now_us(), self._views.get(ven.id)
        if known is not None and known.generation == self._generation and now_us < known.next_us:
            return known
        generation = self._generation
        followed = self.controls.following.followed(source, ven.thing)
        record, ramp_us = self.book.ven(ven.id, ven.thing), self.settings.ramp_up_s * US
        made = await view_of(self.book, ven, record, followed, generation, ramp_us, now_us)
        self._views[ven.id] = made
        return made

    async def put(self, ven: Ven, record: VenRecord) -> VenRecord:
        """Keep what is known of a VEN; what it is told may be something else now."""
        kept = await self.book.put_ven(ven.id, record)
        self._views.pop(ven.id, None)
        self.changed.set()
        return kept

    def sent(self, ven: Ven) -> None:
        """Note that a VEN was told all of its events."""
        self._sent_us[ven.id] = self.clock.monotonic_us()

    def waits(self, ven: Ven) -> bool:
        """Whether it was told of its events so short a time ago that its answer may yet come."""
        sent_us = self._sent_us.get(ven.id)
        return sent_us is not None and self.clock.monotonic_us() - sent_us < self.settings.repeat_s * US

    def check_push(self, given: CreatePartyRegistration) -> None:
        """Raise `Refused` for a VEN that wants what this VTN does not do."""
        if given.http_pull is False:
            raise Refused(COMPLIANCE, "oadrHttpPullModel: VENs poll here")
        if given.xml_signature:
            raise Refused(COMPLIANCE, "oadrXmlSignature: messages are not signed here")

    def _holds(self, asker: Asker) -> bool:
        """Whether who was known still is: one who speaks for nothing is asked anew each time."""
        return bool(asker.vens) and self.context.may_publish(asker.source, asker.vens[0].thing)
