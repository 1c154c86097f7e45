"""Tokens of partners' drivers: what they push, and whether one that is shown at a charging point may charge.

::

    PUT, PATCH ─► kept          a driver shows a token ─► whose? ─► whitelist: from what is kept │ asked there and then
                                                                       └─► noted: who it charges for, for a while

That a partner pushed a token makes no session its own: only that the token was let in here, or asked for, by it.

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Tokens module" (WhitelistType, Real-time authorization).
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec

from gridspine.adapters.ocpi.authorised import ASKED_US, Authorised, AuthorisedTokens
from gridspine.adapters.ocpi.book import Kept, Partner
from gridspine.adapters.ocpi.call import Call, Reply, in_turn
from gridspine.adapters.ocpi.charging import AuthMethod
from gridspine.adapters.ocpi.cpo_locations import CpoLocations, Published
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.token import AuthorizationInfo, LocationReferences, Token
from gridspine.adapters.ocpi.wire import Party, bad, nothing_here, plain, read, read_time
from gridspine.energy.charging import ChargingSession, TokenVerdict
from gridspine.infra.runtime.waiting import within
from gridspine.kernel.errors import GridspineError, NotFound

ASK_S = 4.0
"""How long a provider may take to say whether its token may charge [s]: a driver stands there."""
UNKNOWN_TOKEN = 2004
_STATUS = {"ALLOWED": "Accepted", "BLOCKED": "Blocked", "EXPIRED": "Expired"}
log = logging.getLogger(__name__)


class CpoTokens:
    """Tokens that may charge at our charging points."""

    def __init__(self, roaming: Roaming, locations: CpoLocations) -> None:
        self._roaming, self._locations = roaming, locations
        self._by_uid: dict[str, dict[tuple[str, str], Token]] = {}
        self._noted = AuthorisedTokens(roaming.book)
        book = roaming.book
        self.handlers = {
            "GET": self._get, "PUT": in_turn(book, "tokens", self._put), "PATCH": in_turn(book, "tokens", self._patch),
        }  # fmt: skip

    async def load(self) -> None:
        """Arrange what is kept."""
        await self._noted.load(self._roaming.now_us)
        for partner in self._roaming.book.partners():
            for _, kept in self._roaming.book.objects(partner.thing, "tokens"):
                self._arrange(partner.thing, msgspec.convert(kept.body, Token))

    def forget(self, partner: str) -> None:
        """Let a partner's tokens go."""
        others = {
            uid: {key: token for key, token in known.items() if key[0] != partner}
            for uid, known in self._by_uid.items()
        }  # fmt: skip
        self._by_uid = {uid: known for uid, known in others.items() if known}
        self._noted.forget(partner)

    async def expect_no_more(self, thing: str, partner: Partner, uid: str, reservation: int) -> None:
        """Let nobody begin any more by a reservation: the partner took it back. What it asked for since stands."""
        for noted in self._noted.at(thing, uid):
            if noted.partner == partner.thing and noted.reservation == reservation:
                ended = msgspec.structs.replace(noted, until_us=min(noted.until_us, self._roaming.now_us))
                await self._noted.note(ended)

    async def expect(
        self, thing: str, partner: Partner, token: Token, reference: str | None, until_us: int = 0,
        reservation: int | None = None,
    ) -> None:  # fmt: skip
        """Note that a partner asked to start with a token; ``until_us`` of a ``reservation`` [µs since 1970]."""
        await self._note(thing, partner, token, "COMMAND", reference, until_us, reservation)

    def behind(self, thing: str, uid: str, beside: Sequence[str] = ()) -> Authorised | None:
        """Return by whom a token may charge at a charging point now, as it was let in there lately; None for nobody.

        What a partner asked to start at one of ``beside``, the others of its charge point, counts where nothing was
        noted at its own.
        """
        now_us = self._roaming.now_us
        return self._latest(thing, uid, beside, lambda one: one.until_us > now_us)

    def behind_session(self, session: ChargingSession) -> Authorised | None:
        """Return by whom a session charges, as its token was let in for it; None for nobody's."""
        now_us = self._roaming.now_us
        return self._latest(session.thing, session.token, session.beside, lambda one: one.stands_for(session, now_us))

    def _latest(
        self, thing: str, uid: str, beside: Sequence[str], stands: Callable[[Authorised], bool]
    ) -> Authorised | None:
        for found in (self._noted.at(thing, uid), self._noted.started(beside, uid)):
            standing = [one for one in found if self._roaming.here(one.partner) and stands(one)]
            if standing:
                return max(standing, key=lambda one: one.until_us)
        return None

    async def on_token(
        self, thing: str, uid: str, kind: str, beside: Sequence[str] = (), *, anywhere: bool = False
    ) -> TokenVerdict | None:
        """Return whether a token may charge at a charging point, None where no partner has it; see `OnToken`."""
        published = self._locations.by_thing.get(thing)
        if published is None:
            return None  # partners' drivers charge where partners are shown a charging point, and nowhere else
        noted = self.behind(thing, uid, beside)
        if noted is not None and noted.method == "COMMAND" and not self._blocked(noted):
            return TokenVerdict("Accepted", noted.token.group_id or "")
        for partner, token in self._of(thing, uid):
            if token.whitelist in {"NEVER", "ALLOWED_OFFLINE"}:
                try:
                    return await within(self._roaming.clock, ASK_S, self._ask(partner, token, published, anywhere))
                except (GridspineError, TimeoutError) as error:
                    log.info("a token could not be asked for at %s: %s", partner.thing, error)
                    if token.whitelist == "NEVER" or getattr(error, "status_code", 0) == UNKNOWN_TOKEN:
                        return TokenVerdict("Invalid")
            if not token.valid:
                return TokenVerdict("Blocked", token.group_id or "")
            await self._note(thing, partner, token, "WHITELIST", None)
            return TokenVerdict("Accepted", token.group_id or "")
        return None

    def _blocked(self, noted: Authorised) -> bool:
        """Whether a partner has blocked a token since it asked to start with it."""
        known = self._by_uid.get(noted.token.uid.casefold(), {}).get((noted.partner, noted.token.type))
        newer = known is not None and read_time(known.last_updated) > read_time(noted.token.last_updated)
        return known is not None and newer and not known.valid

    def _of(self, thing: str, uid: str) -> list[tuple[Partner, Token]]:
        """Return whose a token is, among partners that may use the charging point; the oldest partner first."""
        known = self._by_uid.get(uid.casefold(), {})
        found = []
        for partner in self._roaming.partners("EMSP"):
            own = [token for (of, _), token in known.items() if of == partner.thing]
            with contextlib.suppress(NotFound):  # a partner that has just gone
                if own and self._roaming.charging.points(partner.thing, [thing])[0] is not None:
                    found.append((partner, own[0]))
        return found

    async def _ask(self, partner: Partner, token: Token, published: Published, anywhere: bool) -> TokenVerdict:
        """Ask the provider whether its token may charge here and now; raise where it does not say.

        ``anywhere``: at which EVSE is not known, and no EVSE is named.
        """
        where = LocationReferences(published.location.id, () if anywhere else (published.uid,))
        url = f"{partner.endpoint('tokens', 'SENDER').rstrip('/')}/{quote(token.uid, safe='')}/authorize"
        call = self._roaming.client.call
        answer = await call(
            "POST", f"{url}?type={token.type}", partner.token, where, to=Party(token.country_code, token.party_id)
        )
        said = read(answer, AuthorizationInfo)
        there = _is_there(said, published)
        status = _STATUS.get(said.allowed, "Invalid") if there or anywhere else "Invalid"
        if status == "Accepted" and there:
            await self._note(published.evse.thing, partner, token, "AUTH_REQUEST", said.authorization_reference)
        return msgspec.convert({"status": status, "group": said.token.group_id or ""}, TokenVerdict)

    async def _note(
        self, thing: str, partner: Partner, token: Token, method: AuthMethod, reference: str | None, until_us: int = 0,
        reservation: int | None = None,
    ) -> None:  # fmt: skip
        now_us = self._roaming.now_us
        until_us = max(until_us, now_us + ASKED_US)
        made = Authorised(partner.thing, thing, token, method, reference, now_us, until_us, reservation)
        await self._noted.note(made)

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
        """Keep a token, unless a newer word of it is kept."""
        place, _ = call.own_place("tokens")
        body = msgspec.to_builtins(token)
        kept = Kept(f"{token.type}:{token.uid}", body, read_time(token.last_updated))
        if self._roaming.book.is_late(place, kept.id, kept.updated_us):
            return Reply()
        await self._roaming.book.keep_object(place, kept)
        self._arrange(call.partner.thing, token)
        return Reply()


def _is_there(said: AuthorizationInfo, published: Published) -> bool:
    """Whether what a provider allows is allowed at the EVSE that was asked for: it may name those where it is."""
    evses = () if said.location is None else said.location.evse_uids
    return not evses or published.uid.casefold() in {one.casefold() for one in evses}


def _id(call: Call, uid: str) -> str:
    return f"{call.query.get('type', 'RFID')}:{uid}"
