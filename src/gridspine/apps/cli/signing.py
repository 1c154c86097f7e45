"""Sign requests to a node: fetch a token with the client's key, and prove possession of it with each request.

Sources: RFC 7523 §2.2 (client assertion), RFC 9449 §4 and §7 (DPoP).
"""

from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import msgspec

from gridspine.apps.cli.keys import ClientFile
from gridspine.infra.identity import jws
from gridspine.infra.identity.client import ASSERTION_TYPE
from gridspine.infra.identity.dpop import normalise_url, token_hash
from gridspine.infra.runtime.clock import Clock, SystemClock, new_id
from gridspine.kernel.errors import Unauthenticated
from gridspine.kernel.time import US

RENEW_BEFORE_S = 20
ASSERTION_LIFE_S = 60


class TokenAnswer(msgspec.Struct, frozen=True):
    """What the token endpoint answers."""

    access_token: str
    expires_in: int = 60


class SigningAuth(httpx.Auth):
    """``httpx.Client(auth=SigningAuth(file))``: every request carries a token and a fresh proof.

    ``node`` is the URL requests go to when it differs from the node's name (its issuer) in the file; ``scope`` narrows
    the token to some of the client's roles. A token refused as out of date is renewed once, if the body can be sent
    again.
    """

    def __init__(self, file: ClientFile, *, node: str = "", scope: str = "", clock: Clock | None = None) -> None:
        self._file, self._scope, self._clock = file, scope, clock or SystemClock()
        self._token_url = (node or file.node).rstrip("/") + "/token"
        self._token = ""
        self._renew_at_us = 0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign ``request``, after fetching a token when there is none that lasts."""
        if self._clock.monotonic_us() >= self._renew_at_us:
            self._take((yield self._token_request()))
        self._sign(request)
        response = yield request
        stale = response.status_code == 401 and "invalid_token" in response.headers.get("www-authenticate", "")
        if stale and isinstance(request.stream, httpx.ByteStream):
            self._take((yield self._token_request()))
            self._sign(request)
            yield request

    # Only the token endpoint's answers are read here: others may be streams without an end.
    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Do `auth_flow` for a blocking client."""
        flow = self.auth_flow(request)
        following = next(flow)
        while True:
            response = yield following
            if following is not request:
                response.read()
            try:
                following = flow.send(response)
            except StopIteration:
                return

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Do `auth_flow` for an asynchronous client."""
        flow = self.auth_flow(request)
        following = next(flow)
        while True:
            response = yield following
            if following is not request:
                await response.aread()
            try:
                following = flow.send(response)
            except StopIteration:
                return

    def headers(self, method: str, url: str) -> dict[str, str]:
        """Return the headers that sign one request made by other means; needs a token fetched before."""
        return {"Authorization": f"DPoP {self._token}", "DPoP": self.proof(method, url, self._token)}

    def proof(self, method: str, url: str, token: str = "") -> str:
        """Return a DPoP proof for one request."""
        claims: dict[str, Any] = {
            "jti": new_id(self._clock),
            "htm": method,
            "htu": normalise_url(url),
            "iat": self._clock.now_us() // US,
        }
        if token:
            claims["ath"] = token_hash(token)
        return jws.sign({"typ": "dpop+jwt", "jwk": self._public_members()}, claims, self._file.key)

    def _sign(self, request: httpx.Request) -> None:
        request.headers.update(self.headers(request.method, str(request.url)))

    def _token_request(self) -> httpx.Request:
        now_s = self._clock.now_us() // US
        claims = {
            "iss": self._file.client,
            "sub": self._file.client,
            "aud": self._file.node,
            "iat": now_s,
            "exp": now_s + ASSERTION_LIFE_S,
            "jti": new_id(self._clock),
        }
        kid = jws.thumbprint(self._public_members())
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jws.sign({"typ": "JWT", "kid": kid}, claims, self._file.key),
        }
        if self._scope:
            form["scope"] = self._scope
        headers = {"DPoP": self.proof("POST", self._token_url)}
        return httpx.Request("POST", self._token_url, data=form, headers=headers)

    def _take(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            raise Unauthenticated(f"the node gave no token ({response.status_code}): {_said(response)}")
        try:
            answer = msgspec.json.decode(response.content, type=TokenAnswer)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unauthenticated("the node's answer holds no token") from error
        self._token = answer.access_token
        self._renew_at_us = self._clock.monotonic_us() + max(0, answer.expires_in - RENEW_BEFORE_S) * US

    def _public_members(self) -> dict[str, str]:
        return jws.public_jwk(self._file.public_jwk())


def _said(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.text[:200]
    said = body.get("error_description") or body.get("detail") if isinstance(body, dict) else None
    return str(said or response.text[:200])
