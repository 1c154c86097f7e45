"""Requests for properties: to a checked address, bounded in size and time, never redirected, proven as described."""

import asyncio
import base64
from typing import Any, Literal

import httpx
import msgspec

from gridspine.adapters.wot_http.guard import Guard, Settings
from gridspine.adapters.wot_http.wire import MAX_BODY_BYTES
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.kernel.time import US

_EARLY_S = 30.0
"""A token is renewed so long before its end."""
_TOKEN_S = 300.0
"""How long a token is taken to hold that says nothing of its end."""
_MAX_TOKENS = 1_000


class Security(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How requests are proven; ``secret`` is its name, ``token`` where oauth2 gets one, for ``scopes``."""

    scheme: Literal["nosec", "basic", "bearer", "oauth2"] = "nosec"
    secret: str = ""
    token: str = ""
    scopes: str = ""


class Session:
    """All requests of the adapter."""

    def __init__(self, guard: Guard, settings: Settings, clock: Clock) -> None:
        self._guard = guard
        self._clock = clock
        self._timeout_s = settings.timeout_s
        self._room = asyncio.Semaphore(settings.max_requests)
        self._tokens: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._client = httpx.AsyncClient(timeout=settings.timeout_s, follow_redirects=False, trust_env=False)

    async def get(self, href: str, security: Security, organisation: str) -> tuple[bytes, str]:
        """Return body and media type; raise `Invalid` for what will not change by itself, else `Unavailable`."""
        async with self._room:
            status, body, media = await self._send("GET", href, await self._proof(href, security, organisation))
            if status == 401 and security.scheme == "oauth2":
                self._tokens.clear()
                status, body, media = await self._send("GET", href, await self._proof(href, security, organisation))
        if status != 200:
            raise Unavailable(f"it answers {status}")
        return body, media

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _proof(self, href: str, security: Security, organisation: str) -> dict[str, str]:
        if security.scheme == "nosec":
            return {}
        secret = self._guard.secret(security.secret, href, organisation)
        if security.scheme == "basic":
            return {"authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
        if security.scheme == "bearer":
            return {"authorization": f"Bearer {secret}"}
        return {"authorization": f"Bearer {await self._token(security, organisation)}"}

    async def _token(self, security: Security, organisation: str) -> str:
        """Return an access token by client credentials (RFC 6749 §4.4)."""
        key = (security.token, security.secret, security.scopes)
        known = self._tokens.get(key)
        if known is not None and known[1] > self._clock.monotonic_us():
            return known[0]
        client = self._guard.secret(security.secret, security.token, organisation)
        headers = {
            "authorization": f"Basic {base64.b64encode(client.encode()).decode()}",
            "content-type": "application/x-www-form-urlencoded", "accept": "application/json",
        }  # fmt: skip
        form = {"grant_type": "client_credentials", **({"scope": security.scopes} if security.scopes else {})}
        status, body, _ = await self._send("POST", security.token, headers, str(httpx.QueryParams(form)).encode())
        try:
            answer: Any = msgspec.json.decode(body)
            token, holds_s = str(answer["access_token"]), float(answer.get("expires_in", _TOKEN_S))
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unavailable(f"no token: {status} from {security.token[:100]}") from error
        if len(self._tokens) >= _MAX_TOKENS:
            self._tokens.clear()
        self._tokens[key] = token, self._clock.monotonic_us() + round(max(0.0, holds_s - _EARLY_S) * US)
        return token

    async def _send(
        self, method: str, href: str, headers: dict[str, str], content: bytes | None = None
    ) -> tuple[int, bytes, str]:
        """Send a request and read its answer, all of it in time: who answers byte by byte holds up nobody else."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._sent(method, href, headers, content)
        except TimeoutError as error:
            raise Unavailable(f"no whole answer within {self._timeout_s:g} s") from error

    async def _sent(
        self, method: str, href: str, headers: dict[str, str], content: bytes | None
    ) -> tuple[int, bytes, str]:
        place = await self._guard.place(href)
        headers = {"host": place.host, "accept-encoding": "identity", **headers}
        request = self._client.build_request(method, place.url, content=content, headers=headers)
        request.extensions["sni_hostname"] = place.name
        try:
            answer = await self._client.send(request, stream=True)
            try:
                body = b""
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > MAX_BODY_BYTES:
                        raise Invalid(f"the answer has more than {MAX_BODY_BYTES} bytes")
            finally:
                await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(str(error)[:200] or type(error).__name__) from error
        if answer.is_redirect:
            raise Invalid("it redirects elsewhere, and redirects are not followed")
        return answer.status_code, body, answer.headers.get("content-type", "application/json")
