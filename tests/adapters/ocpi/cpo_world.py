"""An operator's modules over a store, at a charging port that does as it is told."""

import asyncio
import types

import msgspec

from gridspine.adapters.ocpi.bill import Bill
from gridspine.adapters.ocpi.book import Partner
from gridspine.adapters.ocpi.call import Call
from gridspine.adapters.ocpi.cpo_cdrs import CpoCdrs
from gridspine.adapters.ocpi.cpo_locations import CpoLocations
from gridspine.adapters.ocpi.cpo_profiles import CpoProfiles
from gridspine.adapters.ocpi.cpo_sessions import CpoSessions
from gridspine.adapters.ocpi.cpo_tokens import CpoTokens
from gridspine.adapters.ocpi.credentials import CredentialsRole, Endpoint
from gridspine.adapters.ocpi.later import Later
from gridspine.adapters.ocpi.push import Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.settings import read_settings
from gridspine.adapters.ocpi.token import Token
from gridspine.adapters.ocpi.words import BusinessDetails
from gridspine.energy.charging import ChargingPoint, ChargingSession, LimitState
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, NotFound
from gridspine.kernel.time import US
from gridspine.testing.node import DictStore, FakeNode
from gridspine.things.adapter import Binding

A, B, CHARGER, PRIVATE = "urn:a", "urn:b", "urn:charger", "urn:private"
PLACE = {
    "id": "HOME", "address": "a", "city": "c", "country": "NLD", "latitude": "52.1", "longitude": "4.35",
    "time_zone": "Europe/Amsterdam", "evses": [{"thing": CHARGER, "uid": "E1"}],
}  # fmt: skip


class Port:
    """Charging points that are there for everybody; ``gone`` are partners that are not."""

    def __init__(self):
        self.gone, self.released, self.refuses, self.asked = set(), [], False, 0
        self.register = 3_000.0

    def points(self, partner, things):
        self.asked += 1
        if partner in self.gone:
            raise NotFound("there is no such partner")
        values = {"activeEnergyImport": self.register}
        return [ChargingPoint(one, 3, 1, values, "currentLimit", frozenset()) for one in things]

    def limit_state(self, partner, command):
        return LimitState(command, True, True)

    async def release(self, partner, command, reason):
        await asyncio.sleep(0)
        if self.refuses:
            raise Conflict("not now")
        self.released.append(command)


class World:
    """The operator's modules over a store."""

    def __init__(self, store=None, clock=None, **section):
        self.store, self.port = store or DictStore(), Port()
        given = {"country_code": "NL", "party_id": "CPO", "name": "x", "locations": [PLACE], **section}
        controls = types.SimpleNamespace(charging=self.port)
        bindings = [Binding(one, one, "org", "m", {"partner": one}) for one in (A, B)]
        self.clock = clock or VirtualClock()
        self.node = FakeNode(bindings, store=self.store, clock=self.clock, controls=controls)
        self.roaming = Roaming(self.node, read_settings(given))
        self.roaming.look()
        self.pushes = Pushes(self.roaming)
        self.locations = CpoLocations(self.roaming, self.pushes)
        self.tokens = CpoTokens(self.roaming, self.locations)
        self.bill = Bill(self.roaming.settings)
        self.cdrs = CpoCdrs(self.roaming, self.pushes, self.bill)
        self.sessions = CpoSessions(self.roaming, self.pushes, self.locations, self.tokens, self.bill, self.cdrs)
        self.later = Later(self.roaming)
        self.profiles = CpoProfiles(self.roaming, self.later, self.locations, self.sessions)

    async def begin(self, *, endpoints=()):
        await self.roaming.book.load()
        for thing, party in ((A, "AAA"), (B, "BBB")):
            role = CredentialsRole("EMSP", BusinessDetails(party), party, "DE")
            places = tuple(Endpoint(one, "RECEIVER", "http://x/") for one in endpoints)
            made = Partner(thing, "", f"s{thing}", "", "t", "http://x/", "2.2.1", places, (role,), 1)
            await self.roaming.book.keep(made)
        return self

    def push(self, partner, uid, party, whitelist="ALLOWED"):
        token = Token("DE", party, uid, "RFID", "C1", "x", True, whitelist, "2026-01-01T00:00:00Z")
        self.tokens._arrange(partner, token)
        return token

    async def charge(self, uid, id_="1", *, thing=CHARGER, **more):
        now_us = self.clock.now_us()
        made = ChargingSession(thing, id_, uid, now_us, None, 1_000.0)
        await self.sessions.on_session(made)
        return msgspec.structs.replace(made, **more)

    def end(self, session, stop_wh=6_000.0):
        return msgspec.structs.replace(session, ended_us=session.started_us + 3600 * US, meter_stop_wh=stop_wh)

    def kept(self, module, partner=A):
        return [kept.body for _, kept in self.roaming.book.objects(partner, module)]

    def call(self, partner=A, **query):
        given = self.roaming.book.partner(partner)
        return Call("GET", "2.2.1", given, (), query, b"", "http://x/", self.clock.now_us())


async def started(**section):
    return await World(**section).begin()


async def roamed(world, id_="1"):
    world.push(A, "U1", "AAA")
    await world.tokens.on_token(CHARGER, "U1", "")
    return await world.charge("U1", id_)
