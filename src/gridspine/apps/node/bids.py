"""Bids, register records and settlement lines: documents, kept; who may offer what, and where receipts are found."""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gridspine.apps.node.book import Book
from gridspine.apps.node.programme_enrolments import ProgrammeEnrolments
from gridspine.apps.node.programmes import Programmes
from gridspine.apps.node.sites import Sites
from gridspine.energy.bid import Bid, Verb, registers_of
from gridspine.energy.plant import ADAPTER
from gridspine.energy.programme import Programme
from gridspine.energy.register_record import RegisterRecord, Which
from gridspine.energy.settlement_line import SettlementLine
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.kernel.time import US
from gridspine.things.directory import Directory
from gridspine.things.thing import Thing

MAX_OPEN, KEPT_OVER, MAX_CORRECTIONS = 5_000, 5_000, 20
"""Bids of an organisation that wait or are to be settled; those that are over and kept; corrections of a line."""
CORRECTED_US = 7 * 86_400 * US
"""How long after its end a bid is settled anew when late readings, or a meter's exchange, say something else."""
Document = Bid | RegisterRecord | SettlementLine


def event_id(type_: str, document: Document) -> str:
    """Return the id of the ledger's event by which a document was kept: its receipt is asked for by that."""
    return f"{document.id.removeprefix('urn:uuid:')}:{type_.partition('.')[2]}"


def part_of(bid: str, what: str, number: int) -> str:
    """Return the id of a record or line of a bid: the same at each attempt, so that it is kept once."""
    return uuid.uuid5(uuid.UUID(bid.removeprefix("urn:uuid:")), f"{what} {number}").urn


class Bids:
    """Keeps them. Lives on the event loop."""

    def __init__(
        self, registry: Registry, programmes: Programmes, enrolments: ProgrammeEnrolments, sites: Sites,
        things: Directory, clock: Clock,
    ) -> None:  # fmt: skip
        self._programmes, self._enrolments, self._sites = programmes, enrolments, sites
        self._things, self._clock = things, clock
        self.book = Book(Bid, "bid", registry, clock, event_id)
        self.record_book = Book(RegisterRecord, "register record", registry, clock, event_id)
        self.line_book = Book(SettlementLine, "settlement line", registry, clock, event_id)
        self._of_bid: dict[str, list[str]] = {}
        self._turn = asyncio.Lock()
        """Held while it is looked whether a meter's energy is sold, and sold."""

    def load(self) -> None:
        """Read them when the node starts; blocks."""
        for book in (self.book, self.record_book, self.line_book):
            book.load()
        parts: Iterable[RegisterRecord | SettlementLine] = [
            *self.record_book.kept.values(), *self.line_book.kept.values()
        ]  # fmt: skip
        for one in sorted(parts, key=lambda one: one.number):
            self._of_bid.setdefault(one.bid, []).append(one.id)

    def seen_by(self, organisation: str) -> list[Bid]:
        """Return the bids that an organisation made, or was made, the newest first."""
        own = (one for one in self.book.kept.values() if organisation in {one.organisation, one.buyer})
        return sorted(own, key=lambda one: one.id, reverse=True)

    def get(self, id: str, organisation: str) -> Bid:
        """Return one that an organisation made, or was made; raise `NotFound`."""
        found = self.book.get(id)
        if organisation not in {found.organisation, found.buyer}:
            raise NotFound("there is no such bid")
        return found

    def records(self, bid: str, which: Which) -> list[RegisterRecord]:
        """Return the register records of a bid at its start or end, the latest last."""
        kept = self.record_book.kept
        return [kept[id_] for id_ in self._of_bid.get(bid, ()) if id_ in kept and kept[id_].which == which]

    def lines(self, bid: str) -> list[SettlementLine]:
        """Return the settlement lines of a bid, the latest last: it stands, and supersedes the others."""
        kept = self.line_book.kept
        return [kept[id_] for id_ in self._of_bid.get(bid, ()) if id_ in kept]

    def concern(self, subject: str, organisation: str) -> bool:
        """Whether a bid, record or line is one that an organisation made, or was made."""
        for book in (self.book, self.record_book, self.line_book):
            if (one := book.kept.get(subject)) is not None:
                return organisation in {one.organisation, one.buyer}
        return False

    async def offer(self, bid: Bid, actor: str) -> Bid:
        """Keep a new bid; its id, buyer and registers are found here.

        Raises `Invalid`, `NotFound`, `Overloaded`, and `Conflict` where the meter does not take part, or its energy is
        sold for some of that time. Several may be offered for one time: one of them can be accepted.
        """
        programme, now_us = self._programmes.get(bid.programme, bid.organisation), self._clock.now_us()
        if programme.retired_us:
            raise Conflict("the programme is retired")
        thing = self._meter(bid)
        names = registers_of(self._things.model(thing))
        made = msgspec.structs.replace(
            bid, id=new_urn(self._clock), buyer=programme.organisation, import_register=names[0],
            export_register=names[1], created_us=now_us, by=actor,
        )  # fmt: skip
        made.check(now_us)
        self._check_taking_part(made)
        self._check_event(made, programme)
        async with self._turn:
            if sold := self._sold(made):
                raise Conflict(f"from, until: the meter's energy of some of that time is sold by {sold.id} already")
            await self._make_room(made.organisation, now_us)
            return await self.book.keep("bid.offered", made, actor)

    async def decide(self, bid: Bid, verb: Verb, actor: str, reason: str) -> Bid:
        """Accept, refuse or withdraw a bid; raise `Conflict` where it is decided already, or has begun.

        Who accepts is told where that is not possible any more: the meter is gone, takes part no longer, or its energy
        is sold for some of that time.
        """
        async with self._turn:
            after = bid.decided(verb, actor, self._clock.now_us(), reason)
            if verb == "accept":
                self._check_acceptable(bid)
            return await self.book.keep(f"bid.{after.state}", after, actor)

    async def keep(self, type_: str, part: RegisterRecord | SettlementLine) -> None:
        """Keep a record or line of a bid, once."""
        book: Book[Any] = self.record_book if isinstance(part, RegisterRecord) else self.line_book
        try:
            await book.keep(type_, part, "node")
        finally:  # it may be kept although the log did not take it at once
            ids = self._of_bid.setdefault(part.bid, [])
            if part.id in book.kept and part.id not in ids:
                ids.append(part.id)

    def over(self, bid: Bid, now_us: int) -> bool:
        """Whether nothing more comes of a bid."""
        if bid.state == "accepted":
            return bool(self.lines(bid.id)) and now_us >= bid.until_us + CORRECTED_US
        return bid.status(now_us) != "offered"

    def _check_acceptable(self, bid: Bid) -> None:
        """Raise `Conflict` where what was so when the bid was made is so no more."""
        programme = self._programmes.find(bid.programme)
        if programme is None or programme.retired_us:
            raise Conflict("the bid cannot be accepted any more: its programme is retired")
        try:
            self._meter(bid)
            self._check_taking_part(bid)
        except (Invalid, Conflict) as error:
            raise Conflict(f"the bid cannot be accepted any more: {error.detail}") from error
        if self._sold(bid):
            raise Conflict("the bid cannot be accepted: another on the same meter was, for some of the same time")

    def _sold(self, bid: Bid) -> Bid | None:
        """Return the accepted bid that sells some of the same energy: what a meter counts settles one bid at a time."""
        others = (one for one in self.book.kept.values() if one.state == "accepted" and one.meter == bid.meter)
        return next((one for one in others if one.from_us < bid.until_us and bid.from_us < one.until_us), None)

    def _check_event(self, bid: Bid, programme: Programme) -> None:
        """Raise `NotFound` for an event that the bidder may not see, whether or not there is one, and `Invalid`."""
        if not bid.event:
            return
        event = self._programmes.event_book.kept.get(bid.event)
        own = self._enrolments.seen(programme, bid.organisation)
        seen = event is not None and (
            programme.organisation == bid.organisation
            or any(one.state == "active" and event.aimed_at(one.words) for one in own)
        )
        if event is None or event.programme != programme.id or not seen:
            raise NotFound("there is no such event")
        if bid.from_us < event.from_us or bid.until_us > event.until_us:
            raise Invalid("event: the bid must lie within its event")

    def _meter(self, bid: Bid) -> Thing:
        thing = self._things.roll.get(bid.meter)
        if thing is None or thing.retired or thing.organisation != bid.organisation:
            raise Invalid(f"meter: {bid.meter[:200]!r} is not a Thing of your organisation")
        if thing.adapter == ADAPTER:
            raise Invalid("meter: an ensemble has no registers of its own")
        return thing

    def _check_taking_part(self, bid: Bid) -> None:
        subjects = {bid.meter, self._sites.of_thing(bid.meter)}
        standing = (
            one for one in self._enrolments.of_programme(bid.programme)
            if one.organisation == bid.organisation and one.subject in subjects and one.state == "active"
        )  # fmt: skip
        if not any(one.from_us <= bid.from_us and bid.until_us <= one.until_us for one in standing):
            raise Conflict("neither the meter nor its site is enrolled in the programme for all of that time")

    async def _make_room(self, organisation: str, now_us: int) -> None:
        own = sorted(
            (one for one in self.book.kept.values() if one.organisation == organisation), key=lambda one: one.id
        )  # fmt: skip
        over = [one for one in own if self.over(one, now_us)]
        if len(own) - len(over) >= MAX_OPEN:
            raise Overloaded(f"{MAX_OPEN} bids of your organisation wait or are to be settled, and no more")
        gone: Sequence[Bid] = over[: max(0, len(over) - KEPT_OVER)]
        for one in gone:
            ids = self._of_bid.pop(one.id, [])
            await self.record_book.forget([id_ for id_ in ids if id_ in self.record_book.kept])
            await self.line_book.forget([id_ for id_ in ids if id_ in self.line_book.kept])
        if gone:
            await self.book.forget([one.id for one in gone])
