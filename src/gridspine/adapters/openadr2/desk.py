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
from gridspine.adapters.openadr2.problem import (
    COMPLIANCE,
    INVALID_DATA,
    INVALID_ID,
    NOT_REGISTERED,
    BadSignature,
    Refused,
)
from gridspine.adapters.openadr2.settings import Settings
from gridspine.adapters.openadr2.signing import Opened, Signing
from gridspine.adapters.openadr2.ven import Ven, Vens
from gridspine.adapters.openadr2.view import View, view_of
from gridspine.adapters.openadr2.wire import read
from gridspine.energy.control_port import Controls
from gridspine.infra.runtime.web_place import split_address
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding, Source

MAX_CLIENTS = 20_000
"""Certificates that are remembered with what they speak for."""
_MAX_ADDRESS = 500


class Asker:
    """Who asks: the certificate (DER) it showed, its source, and the VENs it speaks for."""

    __slots__ = ("_book", "certificate", "source", "standing", "vens")

    def __init__(self, book: Book, certificate: bytes, source: Source, vens: Sequence[Ven], standing: int) -> None:
        self._book, self.certificate = book, certificate
        self.source, self.vens, self.standing = source, vens, standing

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

    def __init__(
        self,
        context: AdapterContext,
        settings: Settings,
        book: Book,
        controls: Controls,
        signing: Signing | None = None,
    ) -> None:
        self.context, self.settings, self.book, self.controls = context, settings, book, controls
        self.signing = signing
        self.clock = context.clock
        self._bindings = context.bindings()
        self.vens = self._bound(self._bindings)
        self.changed = asyncio.Event()
        """Set when something may have changed that VENs are told of."""
        self._generation, self._standing = 0, 0
        self._askers: OrderedDict[bytes, Asker] = OrderedDict()
        self._views: dict[str, View] = {}
        self._sent_us: dict[str, int] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def rebind(self) -> None:
        """Read anew which Things are VENs; of those that are gone nothing is kept."""
        bindings = self.context.bindings()
        if bindings != self._bindings:
            self.vens, self._bindings = self._bound(bindings), bindings
            self.changed.set()
        self.doubt()
        for id_ in self.book.vens():
            if self.vens.get(id_) is None:
                async with self.turn(id_):
                    await self.book.forget(id_, self.clock.now_us())
                    self.changed.set()

    def _bound(self, bindings: Sequence[Binding]) -> Vens:
        found = Vens(bindings)
        if self.signing is None:
            found.problems += [
                f"{one.thing}: connection: signature: nothing is signed here: see adapters.settings.openadr2.signature"
                for one in found.all()
                if one.signature
            ]
        return found

    def doubt(self) -> None:
        """Take nothing for granted that was known before: neither who asks nor what they are told."""
        self._standing += 1
        self._generation += 1
        self._views.clear()

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
        own = [] if known is None else self._own(known.source)
        source = known.source if known is not None and own else None  # what it proved itself by holds: else anew
        if source is None:
            source = await self.context.authorise("", "", certificate_der)
            if source is None:
                self._askers.pop(certificate_der, None)
                raise Refused(NOT_REGISTERED, "this client certificate is not known here")
            own = self._own(source)
        made = self._askers[certificate_der] = Asker(self.book, certificate_der, source, own, self._standing)
        self._askers.move_to_end(certificate_der)
        while len(self._askers) > MAX_CLIENTS:
            self._askers.popitem(last=False)
        return made

    async def open(self, asker: Asker, certificate_der: bytes, body: bytes) -> Opened:
        """Return the message that somebody sent; raise `Refused`, `Invalid`."""
        if self.signing is None:
            return Opened(read(body), signed=False)

        async def known(named_der: bytes) -> bool:
            try:
                return (await self.asker(named_der)).source.principal == asker.source.principal
            except Refused:
                return False

        try:
            opened = await self.signing.open(body, certificate_der, asker.source.principal, known)
        except BadSignature as error:
            raise Refused(NOT_REGISTERED, str(error)) from error
        if not opened.signed and self.signs(asker, getattr(opened.message, "ven_id", "")):
            raise Refused(NOT_REGISTERED, "oadrPayload: messages of this VEN are signed; this one is not")
        return opened

    def signs(self, asker: Asker, ven_id: str) -> bool:
        """Whether messages of a VEN, and to it, have to be signed; where it does not say who it is, if any has to."""
        own = [one for one in asker.vens if one.id == ven_id] or asker.vens
        return any(self.signs_as(one, asker.record(one)) for one in own)

    def signs_as(self, ven: Ven, record: VenRecord) -> bool:
        """Whether messages of one VEN, and to it, have to be signed: it is set so, or it asked for it."""
        level = self.signature_of(ven)
        return level == "required" or (level == "verified" and bool(record.registration and record.registration.signed))

    def signature_of(self, ven: Ven) -> str:
        """Return whether messages of a VEN are signed: *none*, *verified* where they are, *required*."""
        return (ven.signature or self.settings.signature) if self.signing is not None else "none"

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

    def address_of(self, ven: Ven, given: CreatePartyRegistration) -> str:
        """Return where a VEN is pushed to, "" for one that polls; raise `Refused` for what this VTN does not do."""
        if given.xml_signature and self.signature_of(ven) == "none":
            raise Refused(COMPLIANCE, "oadrXmlSignature: messages are not signed here")
        if given.http_pull is not False:
            return ""
        if self.settings.push is None:
            raise Refused(COMPLIANCE, "oadrHttpPullModel: VENs poll here")
        return _push_address(given.transport_address)

    def _own(self, source: Source) -> list[Ven]:
        """Return the VENs that a source speaks for."""
        return [one for thing in self.context.things_of(source) if (one := self.vens.of_thing(thing)) is not None]

    def _holds(self, asker: Asker) -> bool:
        """Whether who was known still is: one who speaks for nothing is asked anew each time."""
        return bool(asker.vens) and self.context.may_publish(asker.source, asker.vens[0].thing)


def _push_address(said: str) -> str:
    """Return what the services' names follow in a VEN's address, by a slash; raise `Refused`.

    An address without a path has that of the standard: https://host[:port]/OpenADR2/Simple/2.0b.
    """
    try:
        parts = split_address(said)
    except Invalid as error:
        raise Refused(INVALID_DATA, f"oadrTransportAddress: {error.detail}") from error
    if parts.scheme != "https" or parts.query or parts.fragment or not said.isascii() or len(said) > _MAX_ADDRESS:
        raise Refused(INVALID_DATA, "oadrTransportAddress: https://host[:port]/…, without a query, is needed")
    path = parts.path.rstrip("/")
    return f"https://{parts.netloc}{path or '/OpenADR2/Simple/2.0b'}"
