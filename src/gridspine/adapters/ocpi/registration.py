"""Registration: credentials tokens are exchanged, renewed and given up, by whichever side begins.

::

    we invite:    token A ─► the partner POSTs its token B ─► we ask it what it has ─► it is answered token C
    we register:  its token A ─► versions, details ─► POST our token B ─► it asks us, showing B ─► its token C

Where an answer is lost, nobody knows which token the partner has: the one before counts until the new one is used.

Who it may say that it is stands in its invitation, or is what it said when we registered at it: nobody claims another's
party, and in one organisation no two partners are the same. What was refused for that is told to the operator.

Source: OCPI 2.2.1-d2 and 2.3.0, chapters "Credentials" and "Versions".
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from gridspine.adapters.ocpi.authorised import notes_of
from gridspine.adapters.ocpi.book import Book, Partner, hash_of, new_token
from gridspine.adapters.ocpi.claim import Claims, bound
from gridspine.adapters.ocpi.client import Client, PartnerError
from gridspine.adapters.ocpi.credentials import Credentials, CredentialsRole, Endpoint, VersionDetails, VersionEntry
from gridspine.adapters.ocpi.settings import Settings
from gridspine.adapters.ocpi.wire import OcpiError, Party, Version, is_token
from gridspine.adapters.ocpi.words import BusinessDetails
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.waiting import within
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, Unavailable
from gridspine.kernel.time import US, format_rfc3339

log = logging.getLogger(__name__)
MODULES: dict[str, tuple[tuple[str, str], ...]] = {
    "CPO": (
        ("locations", "SENDER"), ("sessions", "SENDER"), ("cdrs", "SENDER"), ("tariffs", "SENDER"),
        ("tokens", "RECEIVER"), ("commands", "RECEIVER"), ("chargingprofiles", "RECEIVER"),
    ),
    "EMSP": (
        ("locations", "RECEIVER"), ("sessions", "RECEIVER"), ("cdrs", "RECEIVER"), ("tariffs", "RECEIVER"),
        ("tokens", "SENDER"), ("commands", "SENDER"), ("chargingprofiles", "SENDER"),
    ),
}  # fmt: skip
"""The interfaces that each role of ours has."""
PUSHED = frozenset({"locations", "tariffs", "sessions", "cdrs", "tokens", "reservations"})
"""What is a partner's, and is forgotten with it; records of what it owes us are not."""
MAX_ENDPOINTS = 100
"""How many endpoints of a partner are looked at."""
INVITED_S = 7 * 86_400
"""How long an invitation counts [s]."""
_LOST = (
    "its answer to new tokens did not come: those before count, too, and it may take ours no more: renew again, and "
    "where that is refused unregister it and begin anew"
)
TELL_S = 5.0
"""How long a partner may take to hear that it is one no more, where its Thing went [s]."""


class _Found(NamedTuple):
    version: str
    endpoints: tuple[Endpoint, ...]


class Registration:
    """Registers partners, one thing at a time for each. ``base`` is where we are reached, set when we listen."""

    def __init__(self, book: Book, client: Client, settings: Settings, clock: Clock) -> None:
        self._book, self._client, self._settings, self._clock = book, client, settings, clock
        self.base = settings.url.rstrip("/")
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.claims = Claims(book, settings.party, clock)
        self.gone: list[Callable[[str], None]] = []
        """Called with the Thing of a partner that is registered no more."""

    # -- what we have ------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where our versions are."""
        return f"{self.base}/ocpi/versions"

    def versions(self) -> list[VersionEntry]:
        """Return the versions that we speak."""
        return [VersionEntry(one, f"{self.base}/ocpi/{one}") for one in self._settings.versions]

    def details(self, version: Version) -> VersionDetails:
        """Return our endpoints of a version."""
        found = [Endpoint("credentials", "RECEIVER", f"{self.base}/ocpi/{version}/credentials")]
        for role in self._settings.roles:
            for module, side in MODULES[role]:
                found.append(Endpoint(module, side, f"{self.base}/ocpi/{version}/{side.lower()}/{module}"))
        return VersionDetails(version, tuple(found))

    def credentials(self, token: str) -> Credentials:
        """Return our credentials with a token for the partner."""
        settings = self._settings
        details = BusinessDetails(settings.name, settings.website or None)
        party = settings.party
        roles = tuple(CredentialsRole(role, details, party.party_id, party.country_code) for role in settings.roles)
        return Credentials(token, self.url, roles)

    def counts(self, partner: Partner, standing: str) -> bool:
        """Whether a token of a standing (`Book.by_token`) still counts: an invitation does for some days."""
        return standing != "invitation" or partner.invited(self._clock.now_us())

    # -- the partner begins ------------------------------------------------------------------------------------

    async def invite(self, thing: str, parties: tuple[Party, ...]) -> dict[str, str]:
        """Return a token A with which a partner may register as ``parties``, once, and where.

        The one before does not count more. Raises `Conflict` where one of them is another partner already.
        """
        async with self._turns[thing]:
            partner = self._book.partner(thing)
            if partner.registered:
                raise Conflict("the partner is registered already: unregister it first")
            self.claims.free(thing, parties)
            token = new_token(self._clock)
            until_us = self._clock.now_us() + INVITED_S * US
            await self._book.keep(
                msgspec.structs.replace(
                    partner, invitation=hash_of(token), invited_until_us=until_us, parties=parties, problem=""
                )
            )
            return {"token": token, "url": self.url}

    async def take(self, partner: Partner, version: Version, given: Credentials, *, again: bool) -> Credentials:
        """Take a partner's credentials (POST, or PUT where ``again``), and return ours; raise `OcpiError`."""
        async with self._turns[partner.thing]:
            partner = self._book.partner(partner.thing)
            if partner.registered != again:
                word = "is not registered: POST" if again else "is registered already: PUT"
                raise OcpiError(2000, f"the partner {word} its credentials", 405)
            try:
                self.claims.check(partner, given, invited=not again)
            except Conflict as error:
                await self._tell(partner, error.detail)
                raise OcpiError(2001, "roles: not who you may register as: ask the operator of this node") from error
            try:
                found = await self._look(given.url, given.token, version)
            except GridspineError as error:
                status_code = 3002 if isinstance(error, Conflict) else 3001
                raise OcpiError(status_code, f"your API cannot be used: {error.detail}") from error
            token = new_token(self._clock)
            former = partner.unsure(hash_of(token)).former if again else ()
            await self._book.keep(
                Partner(
                    partner.thing, "", hash_of(token), "", given.token, given.url, found.version, found.endpoints,
                    given.roles, self._clock.now_us(), 0, bound(partner, given), former=former,
                )
            )  # fmt: skip
            return self.credentials(token)

    async def load(self) -> None:
        """Take up what was under way when the node stopped: nobody knows what became of it."""
        for partner in self._book.partners():
            if partner.registered and partner.pending:
                await self._tell(partner.unsure(partner.pending), _LOST)

    async def settle(self, partner: Partner, token: str) -> None:
        """Let those of a partner's tokens go that are older than the one it shows; durable when this returns."""
        turn = self._turns[partner.thing]
        if not partner.former or turn.locked():
            return  # an exchange is under way: they go by a later request
        async with turn:
            partner = self._book.partner(partner.thing)
            settled = partner.showed(hash_of(token))
            if settled != partner:
                await self._book.keep(settled)

    async def leave(self, partner: Partner) -> None:
        """Let a partner go that says so (DELETE); raise `OcpiError`."""
        async with self._turns[partner.thing]:
            if not self._book.partner(partner.thing).registered:
                raise OcpiError(2000, "the partner is not registered", 405)
            await self._forget(partner.thing)

    # -- we begin ----------------------------------------------------------------------------------------------

    async def register(self, thing: str, url: str, token: str, parties: tuple[Party, ...] = ()) -> Partner:
        """Register at a partner by the token A and the address of its versions that it gave us.

        It may be ``parties`` and nobody else; without them it is bound to who it says that it is. Raises `Conflict`.
        """
        if not is_token(token):
            raise Invalid("token: 1 to 64 printable characters are needed, without a space")
        self._client.check(url)
        async with self._turns[thing]:
            partner = self._book.partner(thing)
            if partner.registered:
                raise Conflict("the partner is registered already: renew its credentials, or unregister it first")
            if parties:
                await self._book.keep(msgspec.structs.replace(partner, parties=parties))
            return await self._exchange(thing, url, token, "POST")

    async def renew(self, thing: str) -> Partner:
        """Exchange new tokens with a partner, and learn anew what it has."""
        async with self._turns[thing]:
            partner = self._registered(thing)
            return await self._exchange(thing, partner.url, partner.token, "PUT")

    async def unregister(self, thing: str) -> bool:
        """Give a partner up, whether or not it can be told; return whether it was."""
        async with self._turns[thing]:
            partner = self._registered(thing)
            told = True
            try:
                await self._client.call("DELETE", partner.endpoint("credentials", ""), partner.token)
            except GridspineError:
                told = False
            await self._forget(thing)
            return told

    async def retire(self, thing: str) -> None:
        """Let a partner go whose Thing is no more, and tell it if that takes no time."""
        async with self._turns[thing]:
            before = self._book.partner(thing)
            await self._forget(thing)
            await self._book.drop(thing)
        if before.registered:
            await self._part(before.endpoint("credentials", ""), before.token)

    async def _forget(self, thing: str) -> None:
        """Let neither side's token count any more, and what the partner pushed go; our own records of it stay."""
        await self._book.keep(Partner(thing))
        for gone in self.gone:
            gone(thing)
        await self._book.forget_all(thing, PUSHED)
        await self._book.forget_under(notes_of(thing))

    async def _exchange(self, thing: str, url: str, token: str, method: str) -> Partner:
        found = await self._look(url, token, None)
        own = next((one.url for one in found.endpoints if one.identifier == "credentials"), "")
        if not own:
            raise Unavailable("the partner has no endpoint for credentials")
        before, shown = self._book.partner(thing), new_token(self._clock)
        await self._book.keep(msgspec.structs.replace(before, pending=hash_of(shown)))
        try:
            answer: Any = await self._client.call(method, own, token, self.credentials(shown))
            given = _convert(answer, Credentials)
        except GridspineError as error:
            await self._not_answered(before, shown, refused=_is_refused(error))
            raise
        except asyncio.CancelledError:
            await asyncio.shield(self._not_answered(before, shown, refused=False))
            raise
        roles, problem = self.claims.roles(before, given)
        if not roles:
            await self._tell(before, problem)
            await self._part(own, given.token)
            raise Conflict(problem)
        made = Partner(
            thing, "", hash_of(shown), "", given.token, given.url, found.version, found.endpoints, roles,
            self._clock.now_us(), 0, bound(before, given),
        )  # fmt: skip
        return await (self._tell(made, problem) if problem else self._book.keep(made))

    async def _not_answered(self, before: Partner, shown: str, *, refused: bool) -> None:
        """Keep a partner as it was, unless it may have taken a new token: then that one counts, and those before."""
        if refused or not before.registered:
            await self._book.keep(before)
        else:
            await self._tell(before.unsure(hash_of(shown)), _LOST)

    async def _part(self, url: str, token: str) -> None:
        """Tell a partner that it is none, if that takes no time."""
        with contextlib.suppress(GridspineError, TimeoutError):
            await within(self._clock, TELL_S, self._client.call("DELETE", url, token))

    async def _look(self, url: str, token: str, version: Version | None) -> _Found:
        """Return the endpoints of ``version``, or the newest that both know; raise `Conflict` where there is none."""
        given = _convert(await self._client.call("GET", url, token), list[VersionEntry])
        theirs = {one.version: one.url for one in given}
        known = [one for one in ([version] if version else self._settings.versions) if one in theirs]
        if not known:
            raise Conflict(f"no version in common: the partner has {', '.join(sorted(theirs))[:100] or 'none'}")
        details = _convert(await self._client.call("GET", theirs[known[0]], token), VersionDetails)
        endpoints = details.endpoints[:MAX_ENDPOINTS]
        for one in endpoints:
            self._client.check(one.url)
        return _Found(known[0], endpoints)

    def _registered(self, thing: str) -> Partner:
        partner = self._book.partner(thing)
        if not partner.registered:
            raise Conflict("the partner is not registered")
        return partner

    async def _tell(self, partner: Partner, problem: str) -> Partner:
        """Keep a partner with why it could not register, or not as all that it says, for its operator to see."""
        log.warning("%s: %s", partner.thing, problem)
        at = format_rfc3339(self._clock.now_us() // US * US)
        return await self._book.keep(msgspec.structs.replace(partner, problem=f"{at}: {problem}"[:500]))


def _is_refused(error: GridspineError) -> bool:
    """Whether a partner has not taken what it was sent: it says so, or nothing was sent."""
    if isinstance(error, PartnerError):
        return error.http < 500 and (error.status_code >= 2000 or error.http >= 300)
    return isinstance(error, Invalid)


def _convert(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Unavailable(f"the partner's answer is not as it should be: {str(error)[:200]}") from error
