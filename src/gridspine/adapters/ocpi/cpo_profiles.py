"""Charging profiles of partners: a ceiling for one session, which is a lease like any other and ends with it.

::

    PUT profile ─► the partner's session? ─► steps in the point's unit ─► lease ─► sent, held ─► POST result
    GET          ─► what limits the charging point, by whomever's leases       ─► POST profile
    DELETE, or the session ends, or another begins there ─► the lease ends

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "ChargingProfiles module". Ampere are of each phase; watt are turned into
ampere, and back, by the connector's voltage (line to neutral) and phases. ``min_charging_rate`` is not heard.
"""

import contextlib
import math

import msgspec

from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.command import (
    ActiveChargingProfile,
    ChargingProfile,
    ChargingProfilePeriod,
    ProfileResponse,
    ProfileResult,
    SetChargingProfile,
)
from gridspine.adapters.ocpi.cpo_locations import CpoLocations
from gridspine.adapters.ocpi.cpo_sessions import CpoSessions
from gridspine.adapters.ocpi.later import TIMEOUT_S, Later
from gridspine.adapters.ocpi.own import Own
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.settings import PublishedEvse
from gridspine.adapters.ocpi.wire import bad, nothing_here, number, read_time, write_time
from gridspine.energy.charging import Limit, LimitState
from gridspine.kernel.errors import GridspineError, NotFound
from gridspine.kernel.time import US

DAY_S, MAX_S = 86_400, 366 * 86_400
"""How long a profile lasts that does not say it, and any at most [s]."""
SETTLED_S = 60.0
"""How long a ceiling may take to hold before the partner is told that nobody knows [s]."""
_PHASES = {"AC_1_PHASE": 1, "AC_2_PHASE": 2, "AC_2_PHASE_SPLIT": 2, "AC_3_PHASE": 3, "DC": 1}
_WHY = "charging profile of a roaming partner"


class CpoProfiles:
    """Ceilings that partners ask for."""

    def __init__(self, roaming: Roaming, later: Later, locations: CpoLocations, sessions: CpoSessions) -> None:
        self._roaming, self._later, self._locations, self._sessions = roaming, later, locations, sessions
        sessions.ended.append(self._ended)
        self.handlers = {"PUT": self._put, "GET": self._get, "DELETE": self._delete}

    async def _put(self, call: Call) -> Reply:
        given: SetChargingProfile = call.read(SetChargingProfile)
        self._later.check(call, given.response_url)
        own = self._running(call)
        if own is None:
            return Reply(ProfileResponse("UNKNOWN_SESSION", TIMEOUT_S))
        (point,) = self._roaming.charging.points(call.partner.thing, [own.thing])
        published = self._locations.by_thing.get(own.thing)  # None: no more, since the session began
        if point is None or not point.limit or published is None:
            return Reply(ProfileResponse("NOT_SUPPORTED", TIMEOUT_S))
        limit = ceiling(given.charging_profile, published.evse, point.limit, call.now_us)

        async def work() -> ProfileResult:
            return ProfileResult("ACCEPTED" if await self._set(call, own, limit) else "REJECTED")

        begun = self._later.begin(call, given.response_url, work)
        return Reply(ProfileResponse("ACCEPTED" if begun else "TOO_OFTEN", TIMEOUT_S))

    async def _get(self, call: Call) -> Reply:
        url, duration_s = self._asked(call), number(dict(call.query), "duration", 0)
        own = self._running(call)
        if own is None:
            return Reply(ProfileResponse("UNKNOWN_SESSION", TIMEOUT_S))
        if not 0 < duration_s <= 31 * DAY_S:
            raise bad("duration: seconds, up to 31 days, are needed")

        async def work() -> ProfileResult:
            return self._active(call, own, duration_s)

        begun = self._later.begin(call, url, work)
        return Reply(ProfileResponse("ACCEPTED" if begun else "TOO_OFTEN", TIMEOUT_S))

    async def _delete(self, call: Call) -> Reply:
        url, own = self._asked(call), self._running(call)
        if own is None:
            return Reply(ProfileResponse("UNKNOWN_SESSION", TIMEOUT_S))

        async def work() -> ProfileResult:
            known = self._sessions.find(call.partner.thing, own.id)
            if known is None or not known.profile:
                return ProfileResult("UNKNOWN")
            await self._let_go(call.partner.thing, known)
            return ProfileResult("ACCEPTED")

        begun = self._later.begin(call, url, work)
        return Reply(ProfileResponse("ACCEPTED" if begun else "TOO_OFTEN", TIMEOUT_S))

    # -- what they share ---------------------------------------------------------------------------------------

    def _running(self, call: Call) -> Own | None:
        if len(call.rest) != 1:
            raise nothing_here()
        own = self._sessions.asked(call, call.rest[0])
        return own if own is not None and self._sessions.is_on(own) else None

    def _asked(self, call: Call) -> str:
        url = call.query.get("response_url", "")
        self._later.check(call, url)
        return url

    async def _set(self, call: Call, own: Own, limit: Limit) -> bool:
        """Ask for a ceiling and return whether it holds; the one before ends when it does."""
        partner, port = call.partner.thing, self._roaming.charging
        try:
            state = await port.limit(partner, own.thing, limit, _WHY)
        except GridspineError:
            return False
        until_us = self._roaming.now_us + round(SETTLED_S * US)
        while not state.settled and self._roaming.now_us < until_us:
            await self._roaming.clock.sleep(0.1)
            state = port.limit_state(partner, state.command)
        now = self._sessions.find(partner, own.id)
        if now is None or not self._sessions.is_on(now) or not state.holds:
            await self._release(partner, state)
            return False
        return await self._swap(partner, own.id, state)

    async def _swap(self, partner: str, id_: str, state: LimitState) -> bool:
        """Let a ceiling take the place of the one before; False where the session is over, and so is it."""
        before: list[str] = []

        def swap(own: Own) -> Own | None:
            if not self._sessions.is_on(own):
                return None
            before.append(own.profile)
            return _with(own, state.command)

        if await self._sessions.change(partner, id_, swap) is None:
            await self._release(partner, state)
            return False
        if before[0]:
            await self._end(partner, before[0])
        return True

    async def _let_go(self, partner: str, own: Own) -> None:
        if own.profile:
            await self._end(partner, own.profile)
            await self._sessions.change(
                partner, own.id, lambda one: _with(one, "") if one.profile == own.profile else None
            )

    async def _end(self, partner: str, command: str) -> None:
        with contextlib.suppress(NotFound):  # it ended long ago
            await self._release(partner, self._roaming.charging.limit_state(partner, command))

    async def _release(self, partner: str, state: LimitState) -> None:
        await self._roaming.charging.release(partner, state.command, "the roaming partner ended it")

    async def _ended(self, partner: str, own: Own) -> None:
        if own.profile:
            await self._let_go(partner, own)

    def _active(self, call: Call, own: Own, duration_s: int) -> ProfileResult:
        now_us, published = self._roaming.now_us, self._locations.by_thing.get(own.thing)
        (point,) = self._roaming.charging.points(call.partner.thing, [own.thing])
        if point is None or not point.limit or published is None:
            return ProfileResult("REJECTED")
        evse = published.evse
        planned = self._roaming.charging.planned(call.partner.thing, own.thing, now_us, now_us + duration_s * US)
        unit = "A" if point.limit == "currentLimit" else "W"
        most = float(evse.max_amperage) if unit == "A" else evse.max_amperage * _volts(evse)
        periods = tuple(
            ChargingProfilePeriod((at_us - now_us) // US, most if value is None else min(most, value))
            for at_us, value in planned[:1000]
        )
        start = write_time(now_us)
        profile = ChargingProfile("A" if unit == "A" else "W", start, duration_s, charging_profile_period=periods)
        return ProfileResult("ACCEPTED", ActiveChargingProfile(start, profile))


def ceiling(given: ChargingProfile, evse: PublishedEvse, point: str, now_us: int) -> Limit:
    """Return a profile as a ceiling in the point's unit; raise `OcpiError` for one that says nothing."""
    periods = given.charging_profile_period
    starts = [one.start_period for one in periods]
    if not periods or starts[0] != 0 or starts != sorted(set(starts)) or any(one.limit < 0 for one in periods):
        raise bad("charging_profile_period: periods from 0 on, in order, with limits that are not negative are needed")
    start_us = max(now_us, now_us if given.start_date_time is None else read_time(given.start_date_time))
    begin_us = now_us if given.start_date_time is None else read_time(given.start_date_time)
    until_us = begin_us + min(given.duration or DAY_S, MAX_S) * US
    if until_us <= start_us:
        raise bad("the profile is over")
    own = "A" if point == "currentLimit" else "W"
    factor = 1.0 if given.charging_rate_unit == own else 1 / _volts(evse) if own == "A" else _volts(evse)
    steps = [(begin_us + one.start_period * US, one.limit * factor) for one in periods]
    if not all(math.isfinite(limit) for _, limit in steps):
        raise bad("limit: no such number of W or A can be")
    held = [one for one in steps if one[0] <= start_us][-1:]
    later = [one for one in steps if start_us < one[0] < until_us]
    return Limit(start_us, until_us, ((start_us, held[0][1] if held else steps[0][1]), *later))


def _volts(evse: PublishedEvse) -> float:
    """Return how many watt an ampere of each phase is."""
    return float(evse.max_voltage * _PHASES[evse.power_type])


def _with(own: Own, profile: str) -> Own:
    return msgspec.structs.replace(own, profile=profile)
