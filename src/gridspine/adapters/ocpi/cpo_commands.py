"""Commands of partners: checked, answered at once, carried out as requests to the charging point, and answered again.

::

    POST /commands/START_SESSION ─► location? action? room? ─► ACCEPTED ─► request ─► POST response_url: ACCEPTED, …

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Commands module". A reservation's id is the partner's own: the charging
point is told a number that only this node knows.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gridspine.adapters.ocpi.book import Kept, Place
from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.command import (
    CancelReservation,
    CommandResponse,
    CommandResult,
    ReserveNow,
    ResultType,
    StartSession,
    StopSession,
    UnlockConnector,
)
from gridspine.adapters.ocpi.cpo_locations import CONNECTOR, CpoLocations, Published
from gridspine.adapters.ocpi.cpo_sessions import CpoSessions
from gridspine.adapters.ocpi.cpo_tokens import CpoTokens
from gridspine.adapters.ocpi.later import TIMEOUT_S, Later
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.token import Token
from gridspine.adapters.ocpi.wire import OcpiError, nothing_here, read_time
from gridspine.adapters.ocpi.words import DisplayText
from gridspine.kernel.errors import Conflict, GridspineError
from gridspine.kernel.time import US

T = TypeVar("T")
_KIND = {"RFID": "ISO14443", "EMAID": "eMAID"}
_RESERVATIONS = "reservations"
_UNSAID_US = 7 * 86_400 * US
"""How long a reservation is kept that does not say until when it is [µs]."""
CHARGES = frozenset({3, 4, 5})
"""The codes of *connectorState* while a vehicle charges, or waits for that in its session."""
_FREE = 1
"""Its code while nobody is there; of any other, what was told of sessions decides."""


class CpoCommands:
    """What partners ask of our charging points."""

    def __init__(
        self, roaming: Roaming, later: Later, locations: CpoLocations, tokens: CpoTokens, sessions: CpoSessions
    ) -> None:
        self._roaming, self._later = roaming, later
        self._locations, self._tokens, self._sessions = locations, tokens, sessions
        self._commands: dict[str, Callable[[Call], Awaitable[CommandResponse]]] = {
            "START_SESSION": self._start, "STOP_SESSION": self._stop, "UNLOCK_CONNECTOR": self._unlock,
            "RESERVE_NOW": self._reserve, "CANCEL_RESERVATION": self._cancel,
        }  # fmt: skip
        self.handlers = {"POST": self._post}

    async def _post(self, call: Call) -> Reply:
        if len(call.rest) != 1 or call.rest[0] not in self._commands:
            raise nothing_here()
        return Reply(await self._commands[call.rest[0]](call))

    async def _start(self, call: Call) -> CommandResponse:
        given = self._read(call, StartSession)
        self._own_token(call, given.token)
        one = self._place(call, given.location_id, given.evse_uid)
        asked = {"token": given.token.uid, "idType": _KIND.get(given.token.type, "Central")}

        async def expect() -> None:
            await self._tokens.expect(one.evse.thing, call.partner, given.token, given.authorization_reference)

        return await self._begin(call, given.response_url, one.evse.thing, "remoteStart", asked, begun=expect)

    async def _stop(self, call: Call) -> CommandResponse:
        given = self._read(call, StopSession)
        own = self._sessions.asked(call, given.session_id)
        if own is None or own.ended_us:
            return CommandResponse("UNKNOWN_SESSION", TIMEOUT_S)
        asked = {"transaction": own.transaction}
        return await self._begin(call, given.response_url, own.thing, "remoteStop", asked)

    async def _unlock(self, call: Call) -> CommandResponse:
        given = self._read(call, UnlockConnector)
        one = self._place(call, given.location_id, given.evse_uid)
        if given.connector_id != CONNECTOR:
            raise OcpiError(2003, "that EVSE has no such connector")
        (point,) = self._locations.points(call.partner, [one])
        charges = point is not None and (
            point.state in CHARGES or (point.state != _FREE and self._sessions.in_use(one.evse.thing))
        )
        if charges and not self._sessions.runs(call.partner.thing, one.evse.thing):
            return _rejected("somebody else charges there")
        return await self._begin(call, given.response_url, one.evse.thing, "unlock", {})

    async def _reserve(self, call: Call) -> CommandResponse:
        given = self._read(call, ReserveNow)
        self._own_token(call, given.token)
        place = self._reservations(call)
        known = self._roaming.book.object(place, given.reservation_id)
        before = None if known is None else self._locations.by_thing.get(known.body["thing"])
        again = before is not None and before.location.id.casefold() == given.location_id.casefold()
        same = before.uid if before is not None and again else None
        one = self._place(call, given.location_id, given.evse_uid or same)
        until_us = read_time(given.expiry_date)
        until = given.expiry_date if given.expiry_date.endswith("Z") else f"{given.expiry_date}Z"
        asked: dict[str, Any] = {
            "token": given.token.uid, "until": until, "idType": _KIND.get(given.token.type, "Central")
        }  # fmt: skip
        moved = known if known is not None and known.body["thing"] != one.evse.thing else None
        if known is not None and moved is None:
            asked["reservation"] = known.body["number"]
        if given.token.group_id:
            asked["group"] = given.token.group_id

        async def after(output: Any) -> None:
            number, uid = output["reservation"], given.token.uid
            body = {"thing": one.evse.thing, "number": number, "token": uid, "until_us": until_us}
            await self._forget_over(call.partner.thing)
            await self._roaming.book.keep_object(place, Kept(given.reservation_id, body, call.now_us))
            if moved is not None:
                await self._give_up(call, moved)
            asker, reference = call.partner, given.authorization_reference
            await self._tokens.expect(one.evse.thing, asker, given.token, reference, until_us, number)

        return await self._begin(call, given.response_url, one.evse.thing, "reserve", asked, after=after)

    async def _cancel(self, call: Call) -> CommandResponse:
        given = self._read(call, CancelReservation)
        place = self._reservations(call)
        known = self._roaming.book.object(place, given.reservation_id)
        if known is None:
            return _rejected("there is no such reservation of yours")

        async def after(output: Any) -> None:
            await self._roaming.book.forget_object(place, given.reservation_id)
            thing, uid = known.body["thing"], known.body.get("token", "")
            await self._tokens.expect_no_more(thing, call.partner, uid, known.body["number"])

        asked = {"reservation": known.body["number"]}
        return await self._begin(call, given.response_url, known.body["thing"], "cancelReservation", asked, after=after)

    # -- what they share ---------------------------------------------------------------------------------------

    def _read(self, call: Call, kind: type[T]) -> T:
        given: Any = call.read(kind)
        self._later.check(call, given.response_url)
        made: T = given
        return made

    def _own_token(self, call: Call, token: Token) -> None:
        """Raise unless the token is the partner's own."""
        if not any(
            (one.country_code.upper(), one.party_id.upper()) == (token.country_code.upper(), token.party_id.upper())
            for one in call.partner.roles
        ):
            raise OcpiError(2004, "that token is none of yours")
        read_time(token.last_updated)

    def _place(self, call: Call, location: str, evse: str | None) -> Published:
        """Return the charging point, or the first that is free; raise `OcpiError` 2003."""
        found = self._locations.find(location, evse)
        points = zip(found, self._locations.points(call.partner, found), strict=True)
        there = [(one, point) for one, point in points if point is not None]
        free = [one for one, point in there if point.state in {1, 2}]
        if not there:
            raise OcpiError(2003, "there is no such location or EVSE")
        return free[0] if free else there[0][0]

    async def _give_up(self, call: Call, moved: Kept) -> None:
        """Have a charging point free again whose reservation is now at another, if it can be asked."""
        thing = moved.body["thing"]
        number = moved.body["number"]
        await self._tokens.expect_no_more(thing, call.partner, moved.body.get("token", ""), number)
        asked = {"reservation": number}
        with contextlib.suppress(GridspineError):
            await self._roaming.charging.ask(call.partner.thing, thing, "cancelReservation", asked)

    async def _forget_over(self, partner: str) -> None:
        """Let reservations go whose time is over: there is room for those that are made now."""
        for place, kept in list(self._roaming.book.objects(partner, _RESERVATIONS)):
            if kept.body.get("until_us", kept.updated_us + _UNSAID_US) < self._roaming.now_us:
                await self._roaming.book.forget_object(place, kept.id)

    def _reservations(self, call: Call) -> Place:
        party = call.sender or call.partner.party("EMSP")
        country, id_ = ("", "") if party is None else party.key
        return call.partner.thing, _RESERVATIONS, country, id_

    async def _begin(
        self, call: Call, url: str, thing: str, action: str, asked: dict[str, Any], *,
        begun: Callable[[], Awaitable[None]] | None = None, after: Callable[[Any], Awaitable[None]] | None = None,
    ) -> CommandResponse:  # fmt: skip
        (point,) = self._roaming.charging.points(call.partner.thing, [thing])
        if point is None or action not in point.actions:
            return CommandResponse("NOT_SUPPORTED", TIMEOUT_S)

        async def work() -> CommandResult:
            try:
                output = await self._roaming.charging.ask(call.partner.thing, thing, action, asked)
                if after is not None:
                    await after(output)
            except GridspineError as error:
                result: ResultType = "REJECTED" if isinstance(error, Conflict) else "FAILED"
                return CommandResult(result, (DisplayText("en", error.detail[:512]),))
            return CommandResult("ACCEPTED")

        if not self._later.begin(call, url, work):
            return _rejected("too many commands of yours are under way")
        if begun is not None:
            await begun()
        return CommandResponse("ACCEPTED", TIMEOUT_S)


def _rejected(why: str) -> CommandResponse:
    return CommandResponse("REJECTED", TIMEOUT_S, (DisplayText("en", why),))
