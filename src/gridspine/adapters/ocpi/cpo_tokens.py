"""Tokens of partners' drivers: what they push, and whether one that is shown at a charging point may charge.

::

    PUT, PATCH ─► kept          a driver shows a token ─► whose? ─► whitelist: from what is kept │ asked there and then

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Tokens module" (WhitelistType, Real-time authorization).
"""

import logging
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from gridspine.adapters.ocpi.book import Kept, Partner
from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.charging import AuthMethod
from gridspine.adapters.ocpi.cpo_locations import CpoLocations, Published
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.token import AuthorizationInfo, LocationReferences, Token
from gridspine.adapters.ocpi.wire import bad, nothing_here, plain, read, read_time
from gridspine.energy.charging import TokenVerdict
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.time import US

ASKED_US = 15 * 60 * US
"""How long what a provider said of a token, or asked to start with it, stands [µs]."""
MAX_ASKED = 10_000
_STATUS = {"ALLOWED": "Accepted", "BLOCKED": "Blocked", "EXPIRED": "Expired"}
log = logging.getLogger(__name__)


class Authorised(NamedTuple):
    """By whom, and how, a token may charge."""

    partner: str
    token: Token
    method: AuthMethod
    reference: str | None
    at_us: int


class CpoTokens:
    """Tokens that may charge at our charging points."""

    def __init__(self, roaming: Roaming, locations: CpoLocations) -> None:
        self._roaming, self._locations = roaming, locations
        self._by_uid: dict[str, dict[tuple[str, str], Token]] = {}
        self._asked: dict[tuple[str, str], Authorised] = {}
        self.handlers = {"GET": self._get, "PUT": self._put, "PATCH": self._patch}

    def load(self) -> None:
        """Arrange what is kept."""
        for partner in self._roaming.book.partners():
            for _, kept in self._roaming.book.objects(partner.thing, "tokens"):
                self._arrange(partner.thing, msgspec.convert(kept.body, Token))

    def forget(self, partner: str) -> None:
        """Let a partner's tokens go."""
        for known in self._by_uid.values():
            for key in [one for one in known if one[0] == partner]:
                del known[key]
        self._asked = {key: one for key, one in self._asked.items() if one.partner != partner}

    def expect(self, thing: str, partner: Partner, token: Token, reference: str | None) -> None:
        """Note that a partner asked to start with a token."""
        self._note(thing, Authorised(partner.thing, token, "COMMAND", reference, self._roaming.now_us))

    def behind(self, thing: str, uid: str) -> Authorised | None:
        """Return by whom a token charges at a charging point: as it was said lately, else as it is kept."""
        noted = self._asked.get((thing, uid.casefold()))
        if noted is not None:
            return noted
        for partner, token in self._of(thing, uid):
            return Authorised(partner.thing, token, "WHITELIST", None, 0)
        return None

    async def on_token(self, thing: str, uid: str, kind: str) -> TokenVerdict | None:
        """Return whether a token may charge at a charging point, None where no partner has it."""
        published = self._locations.by_thing.get(thing)
        noted = self._asked.get((thing, uid.casefold()))
        if noted is not None and noted.method == "COMMAND" and noted.at_us > self._roaming.now_us - ASKED_US:
            return TokenVerdict("Accepted", noted.token.group_id or "")
        for partner, token in self._of(thing, uid):
            if token.whitelist in {"NEVER", "ALLOWED_OFFLINE"} and published is not None:
                try:
                    return await self._ask(partner, token, published)
                except GridspineError as error:
                    log.info("a token could not be asked for at %s: %s", partner.thing, error.detail)
                    if token.whitelist == "NEVER":
                        return TokenVerdict("Invalid")
            return TokenVerdict("Accepted" if token.valid else "Blocked", token.group_id or "")
        return None

    def _of(self, thing: str, uid: str) -> list[tuple[Partner, Token]]:
        """Return whose a token is, among partners that may use the charging point; the oldest partner first."""
        known = self._by_uid.get(uid.casefold(), {})
        found = []
        for partner in self._roaming.partners("EMSP"):
            own = [token for (of, _), token in known.items() if of == partner.thing]
            if own and self._roaming.charging.points(partner.thing, [thing])[0] is not None:
                found.append((partner, own[0]))
        return found

    async def _ask(self, partner: Partner, token: Token, published: Published) -> TokenVerdict:
        """Ask the provider whether its token may charge here and now; raise where it does not say."""
        where = LocationReferences(published.location.id, (published.uid,))
        url = f"{partner.endpoint('tokens', 'SENDER').rstrip('/')}/{quote(token.uid, safe='')}/authorize"
        call = self._roaming.client.call
        answer = await call("POST", f"{url}?type={token.type}", partner.token, where, to=partner.party("EMSP"))
        said = read(answer, AuthorizationInfo)
        now_us = self._roaming.now_us
        self._note(
            published.evse.thing,
            Authorised(partner.thing, token, "AUTH_REQUEST", said.authorization_reference, now_us),
        )
        status = _STATUS.get(said.allowed, "Invalid")
        return msgspec.convert({"status": status, "group": said.token.group_id or ""}, TokenVerdict)

    def _note(self, thing: str, made: Authorised) -> None:
        if len(self._asked) >= MAX_ASKED:
            self._asked.pop(next(iter(self._asked)))
        self._asked[thing, made.token.uid.casefold()] = made

    def _arrange(self, partner: str, token: Token) -> None:
        self._by_uid.setdefault(token.uid.casefold(), {})[partner, token.type] = token

    # -- what partners push ------------------------------------------------------------------------------------

    async def _get(self, call: Call) -> Reply:
        place, uid = call.own_place("tokens")
        kept = self._roaming.book.object(place, _id(call, uid))
        if kept is None:
            raise nothing_here()
        return Reply(kept.body)

    async def _put(self, call: Call) -> Reply:
        place, uid = call.own_place("tokens")
        given = plain(call.body)
        token = read(given, Token)
        call.check_same(given, {"uid": uid, "country_code": place[2], "party_id": place[3]})
        if token.type != call.query.get("type", token.type):
            raise bad("type is not that of the address")
        return await self._keep(call, token)

    async def _patch(self, call: Call) -> Reply:
        place, uid = call.own_place("tokens")
        kept = self._roaming.book.object(place, _id(call, uid))
        if kept is None:
            raise nothing_here()
        given = plain(call.body)
        if not isinstance(given, dict) or "last_updated" not in given:
            raise bad("last_updated is needed")
        call.check_same(given, {"uid": uid, "country_code": place[2], "party_id": place[3]})
        return await self._keep(call, read(kept.body | given, Token))

    async def _keep(self, call: Call, token: Token) -> Reply:
        place, _ = call.own_place("tokens")
        body = msgspec.to_builtins(token)
        kept = Kept(f"{token.type}:{token.uid}", body, read_time(token.last_updated))
        await self._roaming.book.keep_object(place, kept)
        self._arrange(call.partner.thing, token)
        return Reply()


def _id(call: Call, uid: str) -> str:
    return f"{call.query.get('type', 'RFID')}:{uid}"
