"""Sessions of partners' drivers at our charging points, and the records they are billed by; fetched and pushed.

::

    a session is told of ─► whose token? ─► kept ─► PUT session ─┬ every minute, while it runs
                                └ nobody's: not shown            └ ended ─► its record is kept first ─► POST cdr

What is kept of a session is changed by one at a time, from what is kept then: nothing brings back one that ended.

Source: OCPI 2.2.1-d2 and 2.3.0, chapters "Sessions module" and "CDRs module".
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from gridspine.adapters.ocpi.book import Kept, Partner, Place
from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.charging import (
    AuthMethod,
    Cdr,
    CdrDimension,
    CdrLocation,
    CdrToken,
    ChargingPeriod,
    OldPrice,
    Price,
    Session,
    SessionStatus,
)
from gridspine.adapters.ocpi.cost import Amount, costs, total
from gridspine.adapters.ocpi.cpo_locations import CONNECTOR, CpoLocations
from gridspine.adapters.ocpi.cpo_tokens import Authorised, CpoTokens
from gridspine.adapters.ocpi.push import Push, Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.tariff import Dimension, OldTariff, Tariff
from gridspine.adapters.ocpi.wire import Version, nothing_here, write_time
from gridspine.energy.charging import ChargingSession
from gridspine.kernel.errors import GridspineError, NotFound, Overloaded
from gridspine.kernel.time import US

RUNNING_S = 60.0
"""How often a running session is told of anew [s]."""
SESSIONS, CDRS = "own-sessions", "own-cdrs"
log = logging.getLogger(__name__)


class Own(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session of a partner's driver, as it is kept: times in µs since 1970, energy in Wh.

    ``profile`` is the command by which a partner limits it, ``told`` whether its record was taken.
    """

    id: str
    thing: str
    transaction: str
    token: CdrToken
    method: AuthMethod
    location: CdrLocation
    started_us: int
    updated_us: int
    currency: str
    tariff: str = ""
    reference: str | None = None
    meter_start_wh: float | None = None
    energy_wh: float = 0.0
    known: bool = False
    ended_us: int = 0
    profile: str = ""
    told: bool = False

    @property
    def status(self) -> SessionStatus:
        """How it stands; one of which nobody knows what it took is not billed."""
        if not self.ended_us:
            return "ACTIVE"
        return "COMPLETED" if self.known else "INVALID"

    @property
    def time_s(self) -> float:
        """How long it lasts, or lasted [s]."""
        return max(0, (self.ended_us or self.updated_us) - self.started_us) / US


class CpoSessions:
    """Our sessions, and our records."""

    def __init__(self, roaming: Roaming, pushes: Pushes, locations: CpoLocations, tokens: CpoTokens) -> None:
        self._roaming, self._pushes, self._locations, self._tokens = roaming, pushes, locations, tokens
        self._tariffs = {one.id: one for one in roaming.settings.tariffs}
        self._running: dict[tuple[str, str], str] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.ended: list[Callable[[str, Own], Awaitable[None]]] = []
        """Called with partner and session when one has ended."""
        self.session_handlers = {"GET": self._get_sessions, "PUT": self._put_preferences}
        self.cdr_handlers = {"GET": self._get_cdrs}

    # -- what happens ------------------------------------------------------------------------------------------

    async def on_session(self, session: ChargingSession) -> None:
        """Keep what is told of a session, if a partner's driver charges; durable when this returns."""
        published = self._locations.by_thing.get(session.thing)
        if published is None or session.started_us is None:
            return
        id_ = _id(session)
        async with self._turn(id_):
            known = self._find(session.thing, id_)
            if known is not None:
                partner, own = known
            else:
                listed = session.own or not session.token
                found = None if listed else self._tokens.behind(session.thing, session.token)
                if found is None:
                    return
                partner, own = found.partner, self._begun(id_, session, found)
            if own.ended_us:
                return  # it was billed: what comes later changes no record
            energy = session.energy_wh
            own = msgspec.structs.replace(
                own, updated_us=self._roaming.now_us, ended_us=session.ended_us or 0,
                energy_wh=own.energy_wh if energy is None else energy, known=energy is not None,
                meter_start_wh=session.meter_start_wh if own.meter_start_wh is None else own.meter_start_wh,
            )  # fmt: skip
            try:
                await self._keep(partner, own)
            except Overloaded as error:  # the charge point is not to blame: its session goes on
                log.error("a session of %s is not kept: %s", partner, error.detail)
                return
        await self._after(partner, own)

    def _begun(self, id_: str, session: ChargingSession, found: Authorised) -> Own:
        published, token = self._locations.by_thing[session.thing], found.token
        tariff = next((one for one in published.evse.tariff_ids if one in self._tariffs), "")
        currency = self._tariffs[tariff].currency if tariff else self._roaming.settings.currency
        by = CdrToken(token.country_code, token.party_id, token.uid, token.type, token.contract_id)
        return Own(
            id_, session.thing, session.id, by, found.method, self._locations.cdr_location(published),
            session.started_us or 0, self._roaming.now_us, currency, tariff, found.reference, session.meter_start_wh,
        )  # fmt: skip

    async def _keep(self, partner: str, own: Own) -> None:
        """Keep a session; of one that ended its record first: stopped in between, it ends again."""
        book, records = self._roaming.book, self._place(partner, CDRS)
        kept = Kept(own.id, msgspec.to_builtins(own), own.updated_us)
        if own.ended_us and own.known and book.object(records, own.id) is None:
            await self._make_room(partner, CDRS)
            await book.keep_object(records, kept)
        await self._make_room(partner, SESSIONS)
        await book.keep_object(self._place(partner, SESSIONS), kept)
        if own.ended_us:
            self._running.pop((own.thing, own.id), None)
        else:
            self._running[own.thing, own.id] = partner

    async def _after(self, partner: str, own: Own) -> None:
        """Tell the partner, and of one that ended whoever has something to undo."""
        self._push(self._roaming.book.partner(partner), own)
        for ended in self.ended if own.ended_us else ():
            try:
                await ended(partner, own)
            except GridspineError as error:
                log.error("what a session of %s leaves behind could not be undone: %s", partner, error.detail)

    async def change(self, partner: str, id_: str, change: Callable[[Own], Own | None]) -> Own | None:
        """Keep what ``change`` makes of a session as it is kept then; return it, None where there is nothing to change.

        ``change`` returns None to leave it.
        """
        async with self._turn(id_):
            known = self.find(partner, id_)
            own = None if known is None else change(known)
            if own is not None:
                kept = Kept(own.id, msgspec.to_builtins(own), own.updated_us)
                await self._roaming.book.keep_object(self._place(partner, SESSIONS), kept)
            return own

    def _turn(self, id_: str) -> asyncio.Lock:
        return self._turns.setdefault(id_, asyncio.Lock())

    async def load(self) -> None:
        """Arrange what is kept, end what has a record, and push records that were not taken."""
        book = self._roaming.book
        for partner in book.partners():
            for own in self._all(partner.thing, SESSIONS):
                if own.ended_us:
                    continue
                record = book.object(self._place(partner.thing, CDRS), own.id)
                if record is None:
                    self._running[own.thing, own.id] = partner.thing
                else:
                    await book.keep_object(self._place(partner.thing, SESSIONS), record)
            self.push_untold(partner)

    def push_untold(self, partner: Partner) -> None:
        """Push the records that the partner has not taken."""
        for own in self._all(partner.thing, CDRS):
            if not own.told:
                self._push(partner, own)

    async def run(self) -> None:
        """Tell partners what running sessions took, until cancelled."""
        while True:
            await self._roaming.clock.sleep(RUNNING_S)
            for (_, id_), partner in list(self._running.items()):
                own = self.find(partner, id_)
                if own is None or own.ended_us:
                    continue
                try:
                    await self._measure(partner, own)
                except GridspineError as error:
                    log.warning("what a session of %s took so far is not kept: %s", partner, error.detail)

    async def _measure(self, partner: str, own: Own) -> None:
        try:
            (point,) = self._roaming.charging.points(partner, [own.thing])
        except NotFound:
            return
        register = None if point is None else point.values.get("activeEnergyImport")
        if register is None or own.meter_start_wh is None or register < own.meter_start_wh:
            return
        took_wh = register - own.meter_start_wh
        now_us = self._roaming.now_us
        changed = await self.change(
            partner, own.id,
            lambda one: None if one.ended_us else msgspec.structs.replace(one, energy_wh=took_wh, updated_us=now_us),
        )  # fmt: skip
        if changed is not None:
            self._push(self._roaming.book.partner(partner), changed)

    # -- what is kept ------------------------------------------------------------------------------------------

    def find(self, partner: str, id_: str) -> Own | None:
        """Return a partner's session."""
        kept = self._roaming.book.object(self._place(partner, SESSIONS), id_)
        return None if kept is None else msgspec.convert(kept.body, Own)

    def _find(self, thing: str, id_: str) -> tuple[str, Own] | None:
        running = self._running.get((thing, id_))  # also of a partner that is gone: what it took is still billed
        for partner in [running] if running else [one.thing for one in self._roaming.book.partners()]:
            own = self.find(partner, id_)
            if own is not None and own.thing == thing:
                return partner, own
        return None

    def _all(self, partner: str, module: str) -> list[Own]:
        found = [msgspec.convert(kept.body, Own) for _, kept in self._roaming.book.objects(partner, module)]
        return sorted(found, key=lambda one: (one.started_us, one.id))

    def _kept(self, partner: str, module: str) -> list[tuple[int, Kept]]:
        """Return all as it is kept, the oldest first, each with when it was updated [µs since 1970]."""
        found = [kept for _, kept in self._roaming.book.objects(partner, module)]
        found.sort(key=lambda one: (one.body["started_us"], one.id))
        return [(one.updated_us, one) for one in found]

    async def _taken(self, partner: str, own: Own) -> None:
        """Keep that a record was taken: pushed, or fetched."""
        place = self._place(partner, CDRS)
        if not own.told and self._roaming.book.object(place, own.id) is not None:
            kept = Kept(own.id, msgspec.to_builtins(msgspec.structs.replace(own, told=True)), own.updated_us)
            await self._roaming.book.keep_object(place, kept)

    def _place(self, partner: str, module: str) -> Place:
        us = self._roaming.settings.party
        return partner, module, us.country_code, us.party_id

    async def _make_room(self, partner: str, module: str) -> None:
        """Let the oldest go that is over: of records one that was taken, or else the oldest there is."""
        if not self._roaming.book.full(partner, module):
            return
        ended = [one for _, one in self._roaming.book.objects(partner, module) if one.body.get("ended_us")]
        told = [one for one in ended if one.body.get("told")] if module == CDRS else ended
        oldest = min(told or ended, key=lambda one: one.updated_us, default=None)
        if oldest is None:
            return
        if not told:
            log.error("%s has not taken its records for long: the oldest, %s, is let go", partner, oldest.id)
        await self._roaming.book.forget_object(self._place(partner, module), oldest.id)

    # -- what is shown -----------------------------------------------------------------------------------------

    async def _get_sessions(self, call: Call) -> Reply:
        if call.rest:
            raise nothing_here()
        found = self._kept(call.partner.thing, SESSIONS)
        return call.listed(found, lambda one: self.session(msgspec.convert(one.body, Own), call.version))

    async def _put_preferences(self, call: Call) -> Reply:
        """Answer ``PUT /sessions/{session}/charging_preferences``: nothing is planned by preferences here."""
        if len(call.rest) != 2 or call.rest[1] != "charging_preferences":
            raise nothing_here()
        if self.find(call.partner.thing, call.rest[0]) is None:
            raise nothing_here()
        return Reply("NOT_POSSIBLE")

    async def _get_cdrs(self, call: Call) -> Reply:
        if call.rest:
            raise nothing_here()
        shown: list[Own] = []

        def show(one: Kept) -> Any:
            shown.append(msgspec.convert(one.body, Own))
            return self.cdr(shown[-1], call.version)

        reply = call.listed(self._kept(call.partner.thing, CDRS), show)
        for own in shown:
            await self._taken(call.partner.thing, own)
        return reply

    def _push(self, partner: Partner, own: Own) -> None:
        version: Version = "2.2.1" if partner.version == "2.2.1" else "2.3.0"
        us = self._roaming.settings.party
        path = f"/{us.country_code}/{us.party_id}/{own.id}"
        push = Push("PUT", "sessions", "RECEIVER", path, self.session(own, version))
        self._pushes.offer(partner, f"session/{own.id}", push)
        if not own.ended_us or not own.known:
            return

        async def taken() -> None:
            await self._taken(partner.thing, own)

        push = Push("POST", "cdrs", "RECEIVER", "", self.cdr(own, version), taken)
        self._pushes.offer(partner, f"cdr/{own.id}", push)

    def session(self, own: Own, version: Version) -> Session[Price | OldPrice]:
        """Return a session as a version has it."""
        us = self._roaming.settings.party
        return Session(
            us.country_code, us.party_id, own.id, write_time(own.started_us), own.energy_wh / 1000, own.token,
            own.method, own.location.id, own.location.evse_uid, CONNECTOR, own.currency, own.status,
            write_time(own.updated_us), end_date_time=write_time(own.ended_us) if own.ended_us else None,
            authorization_reference=own.reference, charging_periods=_periods(own),
            total_cost=total(self._costs(own).values()).price(version),
        )  # fmt: skip

    def cdr(self, own: Own, version: Version) -> Cdr[Price | OldPrice]:
        """Return a record as a version has it."""
        us, parts = self._roaming.settings.party, self._costs(own)
        shown: dict[Dimension, Any] = {name: amount.price(version) for name, amount in parts.items()}
        tariff = self.tariff(own.tariff, version)
        return Cdr(
            us.country_code, us.party_id, own.id, write_time(own.started_us), write_time(own.ended_us), own.token,
            own.method, own.location, own.currency, _periods(own), total(parts.values()).price(version),
            own.energy_wh / 1000, round(own.time_s / 3600, 4), write_time(own.updated_us), session_id=own.id,
            authorization_reference=own.reference,
            tariffs=() if tariff is None else (msgspec.to_builtins(tariff),), total_fixed_cost=shown.get("FLAT"),
            total_energy_cost=shown.get("ENERGY"), total_time_cost=shown.get("TIME"),
        )  # fmt: skip

    def tariff(self, id_: str, version: Version) -> Tariff | OldTariff | None:
        """Return a tariff of ours as a version has it."""
        one, us = self._tariffs.get(id_), self._roaming.settings.party
        if one is None:
            return None
        at = write_time(self._locations.since_us)
        if version == "2.2.1":
            return OldTariff(us.country_code, us.party_id, one.id, one.currency, one.elements, at)
        return Tariff(us.country_code, us.party_id, one.id, one.currency, one.elements, at, "NO")

    def _costs(self, own: Own) -> dict[Dimension, Amount]:
        tariff = self._tariffs.get(own.tariff)
        return {} if tariff is None else costs(tariff.elements, own.energy_wh, own.time_s)


def _periods(own: Own) -> tuple[ChargingPeriod, ...]:
    energy = CdrDimension("ENERGY", own.energy_wh / 1000)
    dimensions = (energy, CdrDimension("TIME", round(own.time_s / 3600, 4)))
    return (ChargingPeriod(write_time(own.started_us), dimensions, own.tariff or None),)


def _id(session: ChargingSession) -> str:
    said = f"{session.thing}\n{session.id}\n{session.started_us}"
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
