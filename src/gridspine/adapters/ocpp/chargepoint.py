"""A connected charge point, as its answers see it: its Things, its record, its readings, in order."""

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gridspine.adapters.ocpp.book import Book
from gridspine.adapters.ocpp.counters import Counters
from gridspine.adapters.ocpp.hearing import Hearing
from gridspine.adapters.ocpp.meter import Row, Taken, encode_signed, take
from gridspine.adapters.ocpp.report import Report
from gridspine.adapters.ocpp.settings import Settings
from gridspine.adapters.ocpp.shared import Shared
from gridspine.adapters.ocpp.station import Place, Station
from gridspine.adapters.ocpp.token import Tokens, Verdict
from gridspine.adapters.ocpp.transaction import Record, Transaction, doubted
from gridspine.adapters.ocpp.wire import Version
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import ItemProblem, NamedReadings, named_readings
from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import AdapterContext, Source

log = logging.getLogger(__name__)
MAX_EXPECTED, EXPECTED_S = 16, 600
"""Tokens that the node itself started with lately, at most, and for how long they may charge [s]."""
NUMBERS_FROM_S = 1_577_836_800
"""Numbers of requests count seconds from here (2020-01-01), and at least one up: they fit 31 bits until 2088."""


class Common:
    """What all charge points share."""

    def __init__(self, context: AdapterContext, settings: Settings, counters: Counters) -> None:
        self.context = context
        self.settings = settings
        self.counters = counters
        self.book = Book(context.store, settings)
        self.tokens = Tokens(settings)
        self.shared = Shared(context)


class ChargePoint:
    """A charge point from its handshake to the end of the connection; its calls are answered one after the other."""

    def __init__(self, common: Common, station: Station, source: Source, version: Version, record: Record) -> None:
        self.common = common
        self.station = station
        self.source = source
        self.version = version
        self.record = record
        self.boots = 0
        """How often it booted since it connected."""
        self._expected: dict[tuple[str, int], int] = {}
        self._hearing = Hearing(record.heard_us, record.begun, self.now_us)
        self._number = 0
        self.metered: dict[int, int] = {}
        """How often meter values of an EVSE were taken in."""
        self.reports: dict[int, Report] = {}
        """Reports that are waited for, by the number of their request."""

    @property
    def identity(self) -> str:
        """Its name."""
        return self.station.identity

    @property
    def now_us(self) -> int:
        """The node's time [µs since 1970]."""
        return self.common.context.clock.now_us()

    def now(self) -> str:
        """Return the node's time as OCPP writes it, in whole seconds."""
        return format_rfc3339(self.now_us // US * US)

    def place(self, evse: int) -> Place | None:
        """Return the Thing of an EVSE, if it is the charge point's to speak for."""
        place = self.station.place(evse)
        if place is None or not self.common.context.may_publish(self.source, place.thing):
            self.common.counters.add("unbound")
            return None
        return place

    def evse_of(self, transaction: Transaction | None) -> int:
        """Return the EVSE of a transaction; the only one there is where nobody said, else -1."""
        if transaction is not None and transaction.evse >= 0:
            return transaction.evse
        only = self.station.only()
        return -1 if only is None else only.evse

    async def authorise(self, id_: str, type_: str = "", evse: int = 0) -> Verdict:
        """Return what is answered for a token; of one that is not on the own list at all, others may know.

        One that the node itself started with charges where it was to start, unasked; elsewhere it is like any other.
        """
        if self._expects(id_, evse):
            return Verdict("Accepted")
        station, shared = self.station, self.common.shared
        verdict = self.common.tokens.judge(id_, station.organisation, self.now_us, type_)
        if verdict.status != "Invalid" or self.common.tokens.lists(id_, station.organisation):
            return verdict
        place = station.place(evse) or station.only()
        for one in [place] if place is not None else station.places.values():
            found = await shared.ask(one.thing, id_, type_, station.beside(one.thing), anywhere=place is None)
            if found is not None:
                return found
        return verdict

    def expect(self, token: str, evse: int) -> None:
        """Let ``token`` charge for a while at an EVSE (0: any): the node itself asked the charge point to start so."""
        now_us = self.now_us
        known = {one: until_us for one, until_us in self._expected.items() if until_us > now_us}
        self._expected = dict(list(known.items())[-MAX_EXPECTED + 1 :])
        self._expected[token.casefold(), evse] = now_us + EXPECTED_S * US

    def _expects(self, id_: str, evse: int) -> bool:
        """Whether the node itself started with a token at an EVSE; where none is said (0, -1), at any."""
        now_us, token = self.now_us, id_.casefold()
        return any(
            known == token and until_us > now_us and (evse <= 0 or at in {0, evse})
            for (known, at), until_us in self._expected.items()
        )

    def next_number(self) -> int:
        """Return a number for what the charge point is asked, greater than all before, also those before a restart."""
        self._number = max(self._number + 1, self.now_us // US - NUMBERS_FROM_S)
        return self._number

    def here(self, transaction: Transaction, place: Place) -> bool:
        """Whether a transaction is that of a Thing, as far as anybody said at which EVSE it is."""
        return place.evse == 0 or transaction.evse in {place.evse, -1}

    # -- readings ----------------------------------------------------------------------------------------------

    async def meter(
        self, evse: int, values: Iterable[Mapping[str, Any]], *, transaction: str = "", offline: bool = False,
        more: Sequence[Row] = (),
    ) -> Taken:  # fmt: skip
        """Take in meter values of an EVSE, and ``more`` with them; what they come to is durable when this returns."""
        place = self.place(evse)
        taken = take(values, self.version, evse, place.points if place else frozenset())
        for measurand in taken.left_out:
            self.common.counters.add(f"left_out:{measurand}")
        await self.readings(place, [*taken.rows, *more], taken.problems, offline=offline)
        if taken.signed:
            number = self.record.signed
            await self.common.book.keep_signed(self.station.key, number, encode_signed(taken.signed, transaction))
            await self.keep(msgspec.structs.replace(self.record, signed=number + 1))
            taken = taken._replace(number=number)
        if place is not None:  # of an EVSE that nobody has a Thing for, nobody waits for values
            self.metered[evse] = self.metered.get(evse, 0) + 1
        return taken

    async def readings(
        self, place: Place | None, rows: Sequence[Row], problems: Sequence[ItemProblem] = (), *, offline: bool = False
    ) -> None:
        """Take in readings of a Thing, those it has points for; they are durable when this returns."""
        if place is None:
            return
        old_us = self.now_us - round(self.common.settings.backfill_after_s * US)
        known = [row for row in rows if row.point in place.points]
        live = [row for row in known if not offline and row.observed_us >= old_us]
        late = [row for row in known if offline or row.observed_us < old_us]
        named = [msgspec.structs.replace(one, name=point_id(place.thing, one.name)) for one in problems]
        if live or (named and not late):
            await self._intake(place, live, named, backfill=False)
        if late:
            await self._intake(place, late, [] if live else named, backfill=True)

    async def _intake(self, place: Place, rows: list[Row], problems: list[ItemProblem], *, backfill: bool) -> None:
        readings: NamedReadings = named_readings(
            [(point_id(place.thing, row.point), row.unit, row.observed_us, row.value, row.quality) for row in rows]
        )
        readings.problems.extend(problems)
        outcome = await self.common.context.intake(readings, self.source, backfill=backfill)
        self.common.counters.add("readings", outcome.received)
        self.common.counters.add("readings_refused", outcome.refused)

    # -- what is remembered ------------------------------------------------------------------------------------

    async def keep(self, record: Record) -> None:
        """Keep what is remembered; it counts once it is durable."""
        await self.common.book.keep(self.station.key, record)
        self.record = record

    async def keep_transaction(self, record: Record, transaction: Transaction, *, ended: bool) -> None:
        """Keep a transaction as it now is, and the record with it; what that gives up is kept as what it was."""
        transaction = doubted(transaction, self.now_us, self._hearing.not_before(transaction))
        if transaction.doubts:
            self.common.counters.add("doubted_transactions")
        for given_up in self.record.open:
            if given_up.id != transaction.id and record.find(given_up.id) not in record.open:
                await self.common.book.keep_ended(self.station.key, given_up)
        if ended:
            await self.common.book.keep_ended(self.station.key, transaction)
        await self.keep(record.end(transaction) if ended else record.change(transaction))
        await self.tell(transaction)

    async def tell(self, transaction: Transaction, *, again: bool = False) -> None:
        """Tell whoever listens of a transaction; returns when it is kept."""
        place = self.station.place(transaction.evse)
        if place is not None:
            own = self.common.tokens.lists(transaction.token, self.station.organisation)
            beside = self.station.beside(place.thing)
            await self.common.shared.tell(place.thing, transaction, own=own, again=again, beside=beside)

    async def tell_again(self) -> None:
        """Tell of the last transactions, which nobody may have heard of before the node stopped."""
        for transaction in (*self.record.recent, *self.record.open):
            try:
                await self.tell(transaction, again=True)
            except GridspineError as error:
                log.warning("station=%s a transaction is not told of again: %s", self.identity, error.detail)

    async def heard(self, said: Mapping[str, Any]) -> None:
        """Keep now and then that it was heard."""
        heard_us = self._hearing.hear(said, self.now_us)
        if heard_us:
            with contextlib.suppress(GridspineError):  # it is of use, no more
                await self.keep(msgspec.structs.replace(self.record, heard_us=heard_us))

    async def booted(self, boot: dict[str, Any]) -> dict[str, Any]:
        """Keep a BootNotification and accept it: who has no Thing here was not let in."""
        await self.keep(msgspec.structs.replace(self.record, boot=boot, booted_us=self.now_us))
        self.boots += 1
        log.info("booted: station=%s reason=%s", self.identity, boot.get("reason", ""))
        return {"currentTime": self.now(), "interval": self.common.settings.heartbeat_s, "status": "Accepted"}

    async def noticed(self, action: str, notice: dict[str, Any]) -> dict[str, Any]:
        """Keep the last word of a kind."""
        await self.keep(msgspec.structs.replace(self.record, notices={**self.record.notices, action: notice}))
        log.info("%s: station=%s", action, self.identity)
        return {}
