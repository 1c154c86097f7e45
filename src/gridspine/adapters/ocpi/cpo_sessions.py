"""Sessions of partners' drivers at our charging points, and the records they are billed by; fetched and pushed.

::

    a session is told of ─► whose token? ─► kept ─► PUT session ─┬ every minute, while it runs
                                └ nobody's: not shown            └ ended ─► kept as record ─► POST cdr

Source: OCPI 2.2.1-d2 and 2.3.0, chapters "Sessions module" and "CDRs module".
"""

import hashlib
import logging
from typing import Any

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
from gridspine.kernel.errors import NotFound, Overloaded
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
        self.ended: list[Any] = []
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
        known = self._find(session.thing, id_)
        if known is not None:
            partner, own = known
        else:
            found = self._tokens.behind(session.thing, session.token) if session.token else None
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
        place = self._place(partner, SESSIONS)
        await self._make_room(partner, SESSIONS)
        await self._roaming.book.keep_object(place, Kept(own.id, msgspec.to_builtins(own), own.updated_us))
        key = own.thing, own.id
        if own.ended_us:
            self._running.pop(key, None)
            for ended in self.ended:
                await ended(partner, own)
            if own.known:
                await self._make_room(partner, CDRS)
                kept = Kept(own.id, msgspec.to_builtins(own), own.updated_us)
                await self._roaming.book.keep_object(self._place(partner, CDRS), kept)
        else:
            self._running[key] = partner
        self._push(self._roaming.book.partner(partner), own)

    async def change(self, partner: str, own: Own) -> None:
        """Keep what was changed of a session beside what it took."""
        kept = Kept(own.id, msgspec.to_builtins(own), own.updated_us)
        await self._roaming.book.keep_object(self._place(partner, SESSIONS), kept)

    def load(self) -> None:
        """Arrange what is kept, and push records that were not taken."""
        for partner in self._roaming.book.partners():
            for own in self._all(partner.thing, SESSIONS):
                if not own.ended_us:
                    self._running[own.thing, own.id] = partner.thing
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
                if own is not None and not own.ended_us:
                    await self._measure(partner, own)

    async def _measure(self, partner: str, own: Own) -> None:
        try:
            (point,) = self._roaming.charging.points(partner, [own.thing])
        except NotFound:
            return
        register = None if point is None else point.values.get("activeEnergyImport")
        if register is None or own.meter_start_wh is None or register < own.meter_start_wh:
            return
        own = msgspec.structs.replace(
            own, energy_wh=register - own.meter_start_wh, updated_us=self._roaming.now_us
        )  # fmt: skip
        await self.change(partner, own)
        self._push(self._roaming.book.partner(partner), own)

    # -- what is kept ------------------------------------------------------------------------------------------

    def find(self, partner: str, id_: str) -> Own | None:
        """Return a partner's session."""
        kept = self._roaming.book.object(self._place(partner, SESSIONS), id_)
        return None if kept is None else msgspec.convert(kept.body, Own)

    def _find(self, thing: str, id_: str) -> tuple[str, Own] | None:
        for partner in self._roaming.book.partners():
            own = self.find(partner.thing, id_)
            if own is not None and own.thing == thing:
                return partner.thing, own
        return None

    def _all(self, partner: str, module: str) -> list[Own]:
        found = [msgspec.convert(kept.body, Own) for _, kept in self._roaming.book.objects(partner, module)]
        return sorted(found, key=lambda one: (one.started_us, one.id))

    def _place(self, partner: str, module: str) -> Place:
        us = self._roaming.settings.party
        return partner, module, us.country_code, us.party_id

    async def _make_room(self, partner: str, module: str) -> None:
        if not self._roaming.book.full(partner, module):
            return
        for own in self._all(partner, module):
            if own.ended_us and (module == SESSIONS or own.told):
                await self._roaming.book.forget_object(self._place(partner, module), own.id)
                return

    # -- what is shown -----------------------------------------------------------------------------------------

    async def _get_sessions(self, call: Call) -> Reply:
        if call.rest:
            raise nothing_here()
        own = self._all(call.partner.thing, SESSIONS)
        return call.listed([(one.updated_us, self.session(one, call.version)) for one in own])

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
        own = self._all(call.partner.thing, CDRS)
        return call.listed([(one.ended_us, self.cdr(one, call.version)) for one in own])

    def _push(self, partner: Partner, own: Own) -> None:
        version: Version = "2.2.1" if partner.version == "2.2.1" else "2.3.0"
        us = self._roaming.settings.party
        path = f"/{us.country_code}/{us.party_id}/{own.id}"
        push = Push("PUT", "sessions", "RECEIVER", path, self.session(own, version))
        self._pushes.offer(partner, f"session/{own.id}", push)
        if not own.ended_us or not own.known:
            return

        async def taken() -> None:
            kept = Kept(own.id, msgspec.to_builtins(msgspec.structs.replace(own, told=True)), own.updated_us)
            await self._roaming.book.keep_object(self._place(partner.thing, CDRS), kept)

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
            own.energy_wh / 1000, round(own.time_s / 3600, 4), write_time(own.ended_us), session_id=own.id,
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
