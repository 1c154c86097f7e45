"""Access tokens of OAuth 2: had by client credentials, or in the name of who logged in, and renewed before their end.

::

    login (a person, once) ─► keyring: refresh token ─► token endpoint ─► access token, held in memory only
                                  ▲                          │
                                  └── the next refresh token ┘   kept before the access token is used

Sources: RFC 6749 §4.4 (client credentials), §5.2 (errors), §6 (refreshing); RFC 9700 (refresh tokens are replaced at
each use, and all of a grant's end when an old one comes again: two refreshes at once would end it). The clauses were
not read again. Tokens end by a clock that nobody sets: how far a vendor's clock is off does not matter.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import msgspec

from gridspine.adapters.wot_http.guard import Guard
from gridspine.adapters.wot_http.proof import Security, basic
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import PrivateStore

EARLY_S = 30.0
"""A token is renewed so long before its end."""
LAST_S = 5.0
"""How long the end of the adapter waits for a token that is being had."""
_USUAL_S = 300.0
"""How long a token is taken to hold that says nothing of its end."""
_MAX_TOKENS = 1_000
_MAX_TOKEN_CHARS = 16_384
Post = Callable[[str, Mapping[str, str], bytes], Awaitable[tuple[int, bytes]]]
"""Send a form to an address, and return status and body."""
_Key = tuple[str, str, str, str]


class Account(msgspec.Struct, frozen=True, rename="camel"):
    """What the keyring holds of who logged in: the refresh token, and the endpoint it is for."""

    refresh_token: str
    token: str


class Tokens:
    """The access tokens of all Things."""

    def __init__(self, guard: Guard, clock: Clock, keyring: PrivateStore, post: Post) -> None:
        self._guard, self._clock, self._keyring, self._post = guard, clock, keyring, post
        self._held: dict[_Key, tuple[str, int]] = {}
        """Token and when it ends; the one had longest ago first."""
        self._getting: dict[_Key, asyncio.Task[str]] = {}
        """What is being asked for now: once for all who wait, and to its end though none of them waits any more."""
        self._ended: dict[str, str] = {}
        """What of an account was refused for good: it is not asked for again until somebody logs in."""

    async def get(self, security: Security, organisation: str) -> str:
        """Return an access token.

        Raises `Invalid` when somebody must log in, and `Unavailable` when there is none now.
        """
        client = self._guard.secret(security.secret, security.token, organisation)
        key = _key(security, organisation)
        known = self._held.get(key)
        if known is not None and known[1] > self._clock.monotonic_us():
            return known[0]
        getting = self._getting.get(key)
        if getting is None:
            # Who is cancelled must not take it along: a refresh token that came and was not kept ends the grant.
            getting = asyncio.create_task(self._got(key, security, client), name=f"token of {security.secret[:60]}")
            self._getting[key] = getting
            getting.add_done_callback(lambda task: self._over(key, task))
        return await asyncio.shield(getting)

    def forget(self, security: Security, organisation: str, token: str) -> None:
        """Forget ``token``, which was not taken; another that was had meanwhile stays."""
        key = _key(security, organisation)
        if self._held.get(key, ("", 0))[0] == token:
            del self._held[key]

    async def close(self) -> None:
        """Wait until what is being asked for is kept, for `LAST_S` at most."""
        getting = list(self._getting.values())
        try:
            if getting:
                await asyncio.wait(getting, timeout=LAST_S)
        finally:
            for task in getting:
                task.cancel()
            await asyncio.gather(*getting, return_exceptions=True)

    async def _got(self, key: _Key, security: Security, client: str) -> str:
        by_person = security.grant == "authorization_code"
        token, holds_s = await (self._refreshed(security, client) if by_person else self._own(security, client))
        self._held.pop(key, None)
        while len(self._held) >= _MAX_TOKENS:
            del self._held[next(iter(self._held))]
        self._held[key] = token, self._clock.monotonic_us() + round(max(0.0, holds_s - EARLY_S) * US)
        return token

    def _over(self, key: _Key, task: asyncio.Task[str]) -> None:
        del self._getting[key]
        if not task.cancelled():
            task.exception()  # who waited was told; where nobody did it is no news

    async def _own(self, security: Security, client: str) -> tuple[str, float]:
        form = {"grant_type": "client_credentials", **({"scope": security.scopes} if security.scopes else {})}
        status, said = await self._asked(security, client, form)
        return _token_of(status, said, security.token)

    async def _refreshed(self, security: Security, client: str) -> tuple[str, float]:
        name = security.secret
        kept = await self._keyring.get(name)
        if kept is None:
            raise Invalid(f"nobody has logged in for {name}: run gridspine account login {name}")
        seen = hashlib.sha256(kept).hexdigest()
        if self._ended.get(name) == seen:
            raise Invalid(_ended(name))
        account = msgspec.json.decode(kept, type=Account)
        if account.token != security.token:
            raise Invalid(f"{name} was logged in for at another address: run gridspine account login {name}")
        form = {"grant_type": "refresh_token", "refresh_token": account.refresh_token}
        status, said = await self._asked(security, client, form)
        if status in {400, 401} and _text(said, "error") in {"invalid_grant", "unauthorized_client"}:
            self._ended[name] = seen
            raise Invalid(_ended(name))
        token, holds_s = _token_of(status, said, security.token)
        following = _text(said, "refresh_token")
        # Who logged in meanwhile has a newer grant than the one that was refreshed.
        if following and following != account.refresh_token and await self._keyring.get(name) == kept:
            await self._keyring.put(name, msgspec.json.encode(Account(following, account.token)))
        return token, holds_s

    async def _asked(self, security: Security, client: str, form: dict[str, str]) -> tuple[int, Any]:
        """Return the status and the document of a token endpoint's answer, None for what is no document."""
        name, _, password = client.partition(":")
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if password and security.client == "header":
            headers |= basic(client)
        else:  # without a secret: a client that can keep none
            form = form | {"client_id": name} | ({"client_secret": password} if password else {})
        status, body = await self._post(security.token, headers, str(httpx.QueryParams(form)).encode())
        try:
            return status, msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return status, None


def _ended(name: str) -> str:
    return f"the grant of {name} has ended or was revoked: run gridspine account login {name}"


def _text(said: Any, name: str) -> str:
    value = said.get(name) if isinstance(said, dict) else None
    return value if isinstance(value, str) and len(value) <= _MAX_TOKEN_CHARS else ""


def _token_of(status: int, said: Any, endpoint: str) -> tuple[str, float]:
    token = _text(said, "access_token")
    try:
        holds_s = float(said.get("expires_in", _USUAL_S)) if token else 0.0
    except (TypeError, ValueError, OverflowError):  # JSON's whole numbers may have hundreds of digits
        holds_s = _USUAL_S
    if not token or status != 200:
        raise Unavailable(f"no token: {status} from {endpoint[:100]}")
    return token, min(holds_s, 86_400.0) if holds_s > 0.0 else 0.0


def _key(security: Security, organisation: str) -> _Key:
    if security.grant == "authorization_code":
        # One grant, whoever asks with it: two that refreshed it by themselves would end it for each other.
        return "", security.token, security.secret, ""
    return organisation, security.token, security.secret, security.scopes
