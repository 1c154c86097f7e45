"""What is asked of partners' EVSEs: commands, and leases as charging profiles; answered at once, and again later.

::

    remoteStart … ─► POST START_SESSION … ─► ACCEPTED? ─► wait ─► POST …/sender/commands/{name}/{number}: done, refused
    lease         ─► our session there?   ─► PUT chargingprofile ─► acknowledged ─► active profile ─► a reading

Source: OCPI 2.2.1-d2 and 2.3.0, chapters "Commands module" and "ChargingProfiles module", sender interfaces.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import quote

import msgspec

from gridspine.adapters.ocpi.book import Kept, Partner, Place
from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.command import (
    CancelReservation,
    ChargingProfile,
    ChargingProfilePeriod,
    CommandResponse,
    CommandResult,
    ProfileResponse,
    ProfileResult,
    ReserveNow,
    SetChargingProfile,
    StartSession,
    StopSession,
    UnlockConnector,
)
from gridspine.adapters.ocpi.desk import Action, Refused
from gridspine.adapters.ocpi.emsp_tokens import EmspTokens
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.things import EvseConnection
from gridspine.adapters.ocpi.token import Token
from gridspine.adapters.ocpi.wire import Party, nothing_here, write_time
from gridspine.infra.runtime.clock import new_id
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, parse_rfc3339

MAX_WAITING = 1_000
log = logging.getLogger(__name__)


class _Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str = ""
    transaction: str = ""
    connector: int = 0
    until: str = ""
    reservation: str = ""


class EmspCommands:
    """Asks, and waits for what comes of it."""

    def __init__(self, roaming: Roaming, tokens: EmspTokens) -> None:
        self._roaming, self._tokens = roaming, tokens
        self._waiting: dict[str, tuple[str, asyncio.Future[Any]]] = {}
        self.actions: dict[str, Action] = {
            "remoteStart": self._start, "remoteStop": self._stop, "unlock": self._unlock, "reserve": self._reserve,
            "cancelReservation": self._cancel,
        }  # fmt: skip
        self.handlers = {"POST": self._result}

    # -- actions -----------------------------------------------------------------------------------------------

    async def _start(self, thing: str, given: Any) -> Any:
        partner, at = self._evse(thing)
        token = self._token(_input(given).token)
        await self._ask(
            partner, at, "START_SESSION",
            lambda url: StartSession(url, token, at.location, at.evse, self._connector(partner, at, 0)),
        )  # fmt: skip
        return {"token": token.uid}

    async def _stop(self, thing: str, given: Any) -> Any:
        partner, at = self._evse(thing)
        id_ = _input(given).transaction or self.running(thing)
        if not id_:
            raise Refused("no session of ours runs there, as far as its operator told")
        await self._ask(partner, at, "STOP_SESSION", lambda url: StopSession(url, id_))
        return {"transaction": id_}

    async def _unlock(self, thing: str, given: Any) -> Any:
        partner, at = self._evse(thing)
        connector = self._connector(partner, at, _input(given).connector)
        await self._ask(
            partner, at, "UNLOCK_CONNECTOR", lambda url: UnlockConnector(url, at.location, at.evse, connector)
        )  # fmt: skip
        return {"status": "Unlocked"}

    async def _reserve(self, thing: str, given: Any) -> Any:
        (partner, at), asked = self._evse(thing), _input(given)
        token = self._token(asked.token)
        try:
            until = write_time(parse_rfc3339(asked.until))
        except Invalid as error:
            raise Refused(f"until: {error.detail}") from error
        id_ = asked.reservation or new_id(self._roaming.clock)[:36]
        await self._ask(
            partner, at, "RESERVE_NOW", lambda url: ReserveNow(url, token, until, id_, at.location, at.evse)
        )  # fmt: skip
        return {"reservation": id_, "until": until}

    async def _cancel(self, thing: str, given: Any) -> Any:
        (partner, at), id_ = self._evse(thing), _input(given).reservation
        await self._ask(partner, at, "CANCEL_RESERVATION", lambda url: CancelReservation(url, id_))
        return {"reservation": id_}

    async def _ask(self, partner: Partner, at: EvseConnection, name: str, make: Any) -> None:
        """Ask, and return when it was done; raise `Refused` where it was not."""
        where = partner.endpoint("commands", "RECEIVER")
        if not where:
            raise Refused("the partner takes no commands")
        number, result = self._expect(partner)
        try:
            url = f"{self._roaming.registration.base}/ocpi/{partner.version}/sender/commands/{name}/{number}"
            answer = await self._call("POST", f"{where.rstrip('/')}/{name}", partner, at, make(url))
            response = _read(answer, CommandResponse)
            if response.result != "ACCEPTED":
                raise Refused(_words(f"the operator answers {response.result}", response.message))
            async with asyncio.timeout(max(1, min(response.timeout, 300))):
                said = _read(await result, CommandResult)
        finally:
            self._waiting.pop(number, None)
        if said.result != "ACCEPTED":
            raise Refused(_words(f"it came to {said.result}", said.message))

    # -- charging profiles -------------------------------------------------------------------------------------

    async def limit(self, thing: str, value: float | None, until_us: int) -> None:
        """Let our session at an EVSE draw no more than ``value`` [A] until ``until_us``; None: as it likes again."""
        partner, at = self._evse(thing)
        session, where = self.running(thing), partner.endpoint("chargingprofiles", "RECEIVER")
        if not session or not where:
            raise Refused("no session of ours runs there" if where else "the partner takes no charging profiles")
        base = f"{where.rstrip('/')}/{quote(session, safe='')}"

        def put(url: str) -> tuple[str, str, Any]:
            if value is None:
                return "DELETE", f"{base}?response_url={quote(url, safe=':/')}", msgspec.UNSET
            now_us = self._roaming.now_us
            periods = (ChargingProfilePeriod(0, value),)
            lasts_s = max(1, -(-(until_us - now_us) // US))
            profile = ChargingProfile("A", write_time(now_us), lasts_s, charging_profile_period=periods)
            return "PUT", base, SetChargingProfile(profile, url)

        said = await self._profile(partner, at, put)
        if said.result != "ACCEPTED" and not (value is None and said.result == "UNKNOWN"):
            raise Refused(f"the operator answers {said.result}")

    async def active(self, thing: str) -> float | None:
        """Return what limits our session at an EVSE now [A], None where that is not told in ampere."""
        partner, at = self._evse(thing)
        session, where = self.running(thing), partner.endpoint("chargingprofiles", "RECEIVER")
        if not session or not where:
            return None
        base = f"{where.rstrip('/')}/{quote(session, safe='')}"

        def get(url: str) -> tuple[str, str, Any]:
            return "GET", f"{base}?duration=900&response_url={quote(url, safe=':/')}", msgspec.UNSET

        said = await self._profile(partner, at, get)
        return None if said.profile is None else limit_now(said.profile.charging_profile)

    async def _profile(self, partner: Partner, at: EvseConnection, make: Any) -> ProfileResult:
        number, result = self._expect(partner)
        try:
            url = f"{self._roaming.registration.base}/ocpi/{partner.version}/sender/chargingprofiles/{number}"
            method, where, body = make(url)
            response = _read(await self._call(method, where, partner, at, body), ProfileResponse)
            if response.result != "ACCEPTED":
                raise Refused(f"the operator answers {response.result}")
            async with asyncio.timeout(max(1, min(response.timeout, 300))):
                said: ProfileResult = _read(await result, ProfileResult)
            return said
        finally:
            self._waiting.pop(number, None)

    # -- what comes later --------------------------------------------------------------------------------------

    async def _result(self, call: Call) -> Reply:
        """Take the result of what was asked: of its own partner only, once."""
        found = self._waiting.get(call.rest[-1]) if call.rest else None
        if found is None or found[0] != call.partner.thing or found[1].done():
            raise nothing_here("nobody waits for that result")
        found[1].set_result(call.read(dict[str, Any]))
        return Reply()

    def _expect(self, partner: Partner) -> tuple[str, "asyncio.Future[Any]"]:
        if len(self._waiting) >= MAX_WAITING:
            raise Refused("too many commands are under way: ask again")
        number = new_id(self._roaming.clock)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = partner.thing, future
        return number, future

    # -- what is known -----------------------------------------------------------------------------------------

    def running(self, thing: str) -> str:
        """Return the id of our session that runs at an EVSE, "" for none."""
        at = self._roaming.things.evses.get(thing)
        if at is None:
            return ""
        running = [
            kept for _, kept in self._roaming.book.objects(at.of, "sessions")
            if kept.body.get("status") == "ACTIVE"
            and str(kept.body.get("location_id")).casefold() == at.location.casefold()
            and str(kept.body.get("evse_uid")).casefold() == at.evse.casefold()
        ]  # fmt: skip
        return max(running, key=lambda one: one.updated_us).id if running else ""

    def _evse(self, thing: str) -> tuple[Partner, EvseConnection]:
        if thing not in self._roaming.things.evses:
            self._roaming.look()
        at = self._roaming.things.evses.get(thing)
        if at is None:
            raise Refused("that is no EVSE of a partner: see its connection")
        partner = self._roaming.book.partner(at.of)
        if not partner.registered:
            raise Refused("its operator is not registered")
        return partner, at

    def _token(self, uid: str) -> Token:
        token = self._tokens.find(uid) if uid else self._tokens.first()
        if token is None:
            raise Refused("token: that is none of our drivers'; the settings name them")
        return token

    def _connector(self, partner: Partner, at: EvseConnection, wanted: int) -> str:
        for _, kept in self._location(partner, at):
            for evse in kept.body.get("evses", []):
                if str(evse["uid"]).casefold() == at.evse.casefold():
                    found = evse["connectors"]
                    return str(found[min(max(wanted, 1), len(found)) - 1]["id"])
        return str(max(wanted, 1))

    def _location(self, partner: Partner, at: EvseConnection) -> list[tuple[Place, Kept]]:
        """Return the location of an EVSE, and whose it is; none where its operator has not told of it."""
        found = self._roaming.book.objects(partner.thing, "locations")
        return [one for one in found if one[1].id.casefold() == at.location.casefold()]

    async def _call(self, method: str, url: str, partner: Partner, at: EvseConnection, body: Any) -> Any:
        owners = [Party(country, party) for (_, _, country, party), _ in self._location(partner, at)]
        to = owners[0] if owners else partner.party("CPO")
        return await self._roaming.client.call(method, url, partner.token, body, to=to)


def limit_now(profile: ChargingProfile) -> float | None:
    """Return what a profile that begins now limits to [A]; None where it is not in ampere or says nothing."""
    periods = profile.charging_profile_period
    return periods[0].limit if periods and profile.charging_rate_unit == "A" else None


def _input(given: Any) -> _Input:
    try:
        return msgspec.convert(given or {}, _Input)
    except msgspec.ValidationError as error:
        raise Refused(f"the input: {error}") from error


def _read(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"the operator's answer is not as it should be: {error}") from error


def _words(what: str, message: Any) -> str:
    return f"{what}: {message[0].text[:200]}" if message else what
