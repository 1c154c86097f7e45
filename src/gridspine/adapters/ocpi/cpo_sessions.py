"""Sessions of partners' drivers at our charging points; fetched and pushed.

::

    a session is told of ─► whose token? ─► kept ─► PUT session ─┬ every minute, while it runs
                                └ nobody's: not shown            └ ended ─► its record is kept first ─► POST cdr

What is kept of a session is changed by one at a time, from what is kept then: nothing brings back one that ended.

Source: OCPI 2.2.1-d2 and 2.3.0, chapters "Sessions module" and "CDRs module".
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import msgspec

from gridspine.adapters.ocpi.authorised import Authorised
from gridspine.adapters.ocpi.bill import Bill
from gridspine.adapters.ocpi.book import Full, Partner
from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.charging import CdrToken
from gridspine.adapters.ocpi.cpo_cdrs import CpoCdrs
from gridspine.adapters.ocpi.cpo_locations import CpoLocations, Published
from gridspine.adapters.ocpi.cpo_tokens import CpoTokens
from gridspine.adapters.ocpi.latest import LatestSessions
from gridspine.adapters.ocpi.own import SESSIONS, Own, OwnPlace, id_of
from gridspine.adapters.ocpi.push import Push, Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.wire import Version, nothing_here, path_of
from gridspine.energy.charging import ChargingSession
from gridspine.kernel.errors import GridspineError, NotFound
from gridspine.kernel.time import US

RUNNING_S = 60.0
"""How often a running session is told of anew [s]."""
_LATELY_US = 86_400 * US
log = logging.getLogger(__name__)


class CpoSessions:
    """Our sessions."""

    def __init__(
        self, roaming: Roaming, pushes: Pushes, locations: CpoLocations, tokens: CpoTokens, bill: Bill, cdrs: CpoCdrs
    ) -> None:
        self._roaming, self._pushes, self._locations, self._tokens = roaming, pushes, locations, tokens
        self._bill, self._cdrs = bill, cdrs
        self._kept = OwnPlace(roaming.book, roaming.settings.party, SESSIONS)
        self._undone: list[tuple[str, Own]] = []
        self._running: dict[tuple[str, str], str] = {}
        self._latest = LatestSessions()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.ended: list[Callable[[str, Own], Awaitable[None]]] = []
        """Called with partner and session when one has ended, or another began in its place."""
        self.handlers = {"GET": self._get, "PUT": self._put_preferences}

    # -- what happens ------------------------------------------------------------------------------------------

    async def on_session(self, session: ChargingSession) -> None:
        """Keep what is told of a session, if a partner's driver charges; durable when this returns.

        Where a charging point is published no more, what began there while it was still ends, and is billed. Raises
        `Overloaded` where the store is busy: whoever tells of the session tells of it again.
        """
        published = self._locations.by_thing.get(session.thing)
        if session.started_us is None or (published is None and not self._latest.at(session.thing)):
            return
        id_ = id_of(session)
        began_us, before = min(session.started_us, self._roaming.now_us), self._latest.at(session.thing)
        self._latest.tell(session.thing, id_, began_us, runs=not session.ended_us, again=session.again)
        if before != self._latest.at(session.thing):
            await self._replaced(session.thing, before)
        async with self._turn(id_):
            known = self._find(session.thing, id_)
            if known is not None:
                partner, own = known
            else:
                listed = session.own or not session.token
                found = None if listed else self._tokens.behind_session(session)
                if found is None or published is None:
                    return
                partner, own = found.partner, self._begun(id_, session, found, published)
            if own.ended_us:
                return  # it was billed: what comes later changes no record
            energy, ended_us = session.energy_wh, session.ended_us
            own = msgspec.structs.replace(
                own, updated_us=self._roaming.now_us, ended_us=max(ended_us, own.started_us) if ended_us else 0,
                energy_wh=own.energy_wh if energy is None else energy, known=energy is not None,
                meter_start_wh=session.meter_start_wh if own.meter_start_wh is None else own.meter_start_wh,
            )  # fmt: skip
            try:
                await self._keep(partner, own)
            except Full as error:
                if known is not None:
                    raise
                log.error("a session of %s is not kept: %s", partner, error.detail)
                return  # the charge point is not to blame: its session goes on
        await self._after(partner, own)

    def _begun(self, id_: str, session: ChargingSession, found: Authorised, published: Published) -> Own:
        token = found.token
        tariff = self._bill.tariff_of(published.evse.tariff_ids)
        currency, priced = (self._roaming.settings.currency, "") if tariff is None else (tariff.currency, tariff.id)
        by = CdrToken(token.country_code, token.party_id, token.uid, token.type, token.contract_id)
        return Own(
            id_, session.thing, session.id, by, found.method, self._locations.cdr_location(published),
            session.started_us or 0, self._roaming.now_us, currency, priced, found.reference, session.meter_start_wh,
            priced=tariff, priced_us=self._bill.since_us,
        )  # fmt: skip

    async def _keep(self, partner: str, own: Own) -> None:
        """Keep a session; of one that ended its record first: stopped in between, it ends again."""
        if own.ended_us and own.known:
            await self._cdrs.keep(partner, own)
        await self._kept.keep_new(partner, own)
        if own.ended_us:
            self._running.pop((own.thing, own.id), None)
        else:
            self._running[own.thing, own.id] = partner

    async def _after(self, partner: str, own: Own) -> None:
        """Tell the partner, and of one that ended whoever has something to undo."""
        self._push(self._roaming.book.partner(partner), own)
        if own.ended_us:
            await self._undo(partner, own)

    async def _replaced(self, thing: str, id_: str) -> None:
        """Undo what a session leaves that another began after: it is the next driver's now."""
        async with self._turn(id_):
            known = self._find(thing, id_)
        if known is not None:
            await self._undo(*known)

    async def _undo(self, partner: str, own: Own) -> None:
        for ended in self.ended:
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
                await self._kept.keep(partner, own)
            return own

    def runs(self, partner: str, thing: str) -> bool:
        """Whether it is a driver of the partner's who charges at a charging point now."""
        return self._running.get((thing, self._latest.at(thing))) == partner

    def is_on(self, own: Own) -> bool:
        """Whether a session runs, and no other began after it at its charging point."""
        return not own.ended_us and self._latest.at(own.thing) == own.id

    def in_use(self, thing: str) -> bool:
        """Whether somebody charges at a charging point, whoever it is, as far as was told."""
        return self._latest.runs(thing)

    def _turn(self, id_: str) -> asyncio.Lock:
        return self._turns.setdefault(id_, asyncio.Lock())

    async def load(self) -> None:
        """Arrange what is kept, end what has a record, and tell partners what they may not have heard."""
        for partner in self._roaming.book.partners():
            for _, kept in self._kept.all(partner.thing):
                own = msgspec.convert(kept.body, Own)
                record = None if own.ended_us else self._cdrs.find(partner.thing, own.id)
                if record is not None:
                    own = msgspec.structs.replace(record, profile=own.profile)
                    await self._kept.keep(partner.thing, own)
                if not own.ended_us:
                    self._running[own.thing, own.id] = partner.thing
                    self._latest.tell(own.thing, own.id, min(own.started_us, self._roaming.now_us), runs=True)
                    continue
                if own.profile:
                    self._undone.append((partner.thing, own))
                if not own.known and self._roaming.now_us - own.ended_us < _LATELY_US:
                    self._push(partner, own)
            for untold in self._cdrs.untold(partner.thing):
                self._push(partner, untold)

    async def run(self) -> None:
        """Tell partners what running sessions took, until cancelled; first undo what sessions of before left behind."""
        for partner, own in self._undone:
            await self._after(partner, own)
        self._undone.clear()
        while True:
            await self._roaming.clock.sleep(RUNNING_S)
            for (_, id_), partner in list(self._running.items()):
                running = self.find(partner, id_)
                if running is None:
                    continue
                if not self.is_on(running):  # nobody told that it ended, and what is metered now is somebody else's
                    await self._undo(partner, running)
                    continue
                try:
                    await self._measure(partner, running)
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
        return self._kept.find(partner, id_)

    def asked(self, call: Call, id_: str) -> Own | None:
        """Return a session of the partner, or of that party of it that asks."""
        own = self.find(call.partner.thing, id_)
        return own if own is not None and call.theirs()(own.provider) else None

    def _find(self, thing: str, id_: str) -> tuple[str, Own] | None:
        running = self._running.get((thing, id_))  # also of a partner that is gone: what it took is still billed
        for partner in [running] if running else [one.thing for one in self._roaming.book.partners()]:
            own = self.find(partner, id_)
            if own is not None and own.thing == thing:
                return partner, own
        return None

    # -- what is shown -----------------------------------------------------------------------------------------

    async def _get(self, call: Call) -> Reply:
        if call.rest:
            raise nothing_here()
        found = self._kept.all(call.partner.thing, call.theirs())
        return call.listed(found, lambda one: self._bill.session(msgspec.convert(one.body, Own), call.version))

    async def _put_preferences(self, call: Call) -> Reply:
        """Answer ``PUT /sessions/{session}/charging_preferences``: nothing is planned by preferences here."""
        if len(call.rest) != 2 or call.rest[1] != "charging_preferences":
            raise nothing_here()
        if self.asked(call, call.rest[0]) is None:
            raise nothing_here()
        return Reply("NOT_POSSIBLE")

    def _push(self, partner: Partner, own: Own) -> None:
        version: Version = "2.2.1" if partner.version == "2.2.1" else "2.3.0"
        us = self._roaming.settings.party
        path = path_of(us.country_code, us.party_id, own.id)
        push = Push("PUT", "sessions", "RECEIVER", path, self._bill.session(own, version), to=own.provider)
        self._pushes.offer(partner, f"session/{own.id}", push)
        if own.ended_us and own.known:
            self._cdrs.push(partner, own)
