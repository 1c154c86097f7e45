"""Make a `Caller` of each request, or say in a 401 why there is none.

::

    Authorization: DPoP <token> + DPoP: <proof>     a token bound to a key
    Authorization: Bearer <token>                   a token bound to the connection's client certificate
                                                    (plain ones: demo profile, straight from loopback)
    a client certificate alone                      for Prometheus: reads /metrics and nothing else
    ?ticket=<ticket>                                opens one event stream, once
    Cookie                                          the portal; changes need its CSRF token as well

Routes that ask for nobody's name say so with ``opt={"exclude_from_auth": True}``. ``request.user`` is the `Caller`.
"""

import asyncio
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from litestar.connection import ASGIConnection, Request
from litestar.datastructures import Cookie
from litestar.enums import ScopeType
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware
from litestar.types import ASGIApp, Scope

from gridspine.apps.api.head import ASKED
from gridspine.apps.api.tls import client_certificate
from gridspine.infra.identity.caller import Caller
from gridspine.infra.identity.limit import network
from gridspine.infra.identity.refusal import refuse
from gridspine.infra.identity.service import Identity
from gridspine.infra.identity.session import ABSOLUTE_S, PortalSession
from gridspine.kernel.errors import Forbidden, Unauthenticated

CSRF_HEADER = "x-csrf-token"
SCRAPED = "/metrics"
"""The one path where a client certificate is enough: Prometheus has certificates, but no proofs (RFC 9449)."""
LIMIT_TOKEN_CHARS = 8192
PUBLIC: dict[str, Any] = {"exclude_from_auth": True}
"""The ``opt`` of a route that anyone may ask."""

Connection = ASGIConnection[Any, Any, Any, Any]
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
FORGERIES = frozenset(
    {
        "malformed",
        "bad-signature",
        "unknown-key",
        "wrong-key",
        "wrong-issuer",
        "wrong-audience",
        "wrong-certificate",
        "proof-malformed",
        "proof-signature",
    }
)
"""Reasons for a 401 that no honest client gives again and again; tokens that ran out and old proofs are not here."""
_SAFE = ("GET", "HEAD", "OPTIONS")


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Litestar middleware around every route that is not public. Make it with `authentication`."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        super().__init__(app)
        self._identity = identity

    async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
        """Return the caller as ``user`` and how it was proven as ``auth``; raise `Unauthenticated` or `Forbidden`."""
        ticket = connection.query_params.get("ticket")
        cookie = connection.cookies.get(cookie_name(_is_secure(connection.scope)))
        if caller := by_authorization(self._identity, connection.scope):
            pass
        elif ticket and _method(connection.scope) == "GET":
            caller = self._identity.by_ticket(str(ticket), connection.scope["path"])
        elif cookie:
            caller = await self._by_cookie(connection, cookie)
        elif (der := client_certificate(connection.scope)) and connection.scope["path"] == SCRAPED:
            caller = self._identity.by_certificate(der)
        else:
            raise refuse("missing", "say who you are: a DPoP-bound access token, or sign in to the portal", error="")
        if caller.how == "cookie":
            self._identity.rate.take(caller.principal)
        return AuthenticationResult(user=caller, auth=caller.how)

    async def _by_cookie(self, connection: Connection, cookie: str) -> Caller:
        caller, session = self._identity.by_cookie(cookie)
        self._check_intent(connection, session)
        if self._identity.sessions.is_due(session):
            await asyncio.to_thread(self._identity.sessions.note, session, caller.organisation)
        return caller

    def _check_intent(self, connection: Connection, session: PortalSession) -> None:
        """Raise `Forbidden` when another site may have made the browser send this with its cookie."""
        if connection.scope["type"] == ScopeType.WEBSOCKET:
            # A WebSocket carries no CSRF header, but browsers always say where it was opened from.
            given = connection.headers.get("origin", "")
            if given != origin(connection.scope):
                raise Forbidden("this WebSocket was opened from another site", reason="cross-site")
            return
        if _method(connection.scope) in _SAFE:
            return
        if connection.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Forbidden("this change was asked for by another site", reason="cross-site")
        if not self._identity.sessions.csrf_fits(session, connection.headers.get(CSRF_HEADER, "")):
            raise Forbidden(f"the {CSRF_HEADER} header is missing or old: load the page again", reason="csrf")


def by_authorization(identity: Identity, scope: Scope) -> Caller | None:
    """Return the caller that the ``Authorization`` header proves, None without one; raise `Unauthenticated`.

    Raises `Overloaded` when the caller asks too much, or its address keeps showing forgeries: tokens that were good
    before are taken from there all the same.
    """
    try:
        caller = _proven(identity, scope)
    except Unauthenticated as error:
        place = place_of(scope)
        if place and error.extra.get("reason") in FORGERIES:
            identity.failures.failed(place)
        raise
    if caller is not None:
        identity.rate.take(caller.principal)
    return caller


def _proven(identity: Identity, scope: Scope) -> Caller | None:
    authorization = _single(scope, b"authorization")
    if not authorization:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if len(token) > LIMIT_TOKEN_CHARS:
        raise refuse("malformed", f"an access token has at most {LIMIT_TOKEN_CHARS} characters")
    if not identity.failures.quiet and (place := place_of(scope)) and not identity.tokens.knows(token):
        identity.failures.check(place)
    if scheme.lower() == "dpop":
        return identity.by_dpop(token, _single(scope, b"dpop"), method=_method(scope), url=request_url(scope))
    if scheme.lower() == "bearer":
        plain = is_loopback(scope) and not any(name in _FORWARDED for name, _ in scope["headers"])
        return identity.by_bearer(token, client_certificate(scope), plain=plain)
    raise refuse("unknown-scheme", "use Authorization: DPoP <token>, or Bearer with a client certificate")


def authentication(identity: Identity) -> DefineMiddleware:
    """Return the middleware to put first in a Litestar application."""
    return DefineMiddleware(AuthenticationMiddleware, identity=identity)


def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """Return the caller of a request: a Litestar dependency (``Provide(provide_caller, sync_to_thread=False)``)."""
    caller: Caller = request.user
    return caller


def cookie_name(secure: bool) -> str:
    """Return the name of the portal's cookie; over TLS one that browsers bind to this very host (``__Host-``)."""
    return "__Host-gridspine" if secure else "gridspine"


def session_cookie(value: str, *, secure: bool) -> Cookie:
    """Return the cookie that keeps a portal session; an empty ``value`` takes it away."""
    return Cookie(
        key=cookie_name(secure),
        value=value,
        max_age=ABSOLUTE_S if value else 0,
        path="/",
        httponly=True,
        secure=secure,
        samesite="strict",
    )


def request_url(scope: Scope) -> str:
    """Return the URL of a request without its query, as the client wrote it; WebSockets count as http(s)."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return origin(scope) + raw.partition(b"?")[0].decode("ascii", "replace")


def place_of(scope: Scope) -> str:
    """Return what failures of this request are counted against: its network; "" for this machine's own.

    Whoever is on the machine, or a proxy there, speaks for many: they are not made to wait for each other.
    """
    client = scope.get("client")
    return "" if client is None or is_loopback(scope) else network(client[0])


def is_loopback(scope: Scope) -> bool:
    """Whether the connection comes from this machine."""
    client = scope.get("client")
    return client is not None and _is_loopback(client[0])


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def origin(scope: Scope) -> str:
    """Return scheme and authority by which the node was asked, as the client wrote them; no slash at the end."""
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return f"{'https' if _is_secure(scope) else 'http'}://{hosts[0] if len(hosts) == 1 else ''}"


def _is_secure(scope: Scope) -> bool:
    return scope["scheme"] in ("https", "wss")


def _method(scope: Scope) -> str:
    # A WebSocket is opened by a GET and its scope says nothing of it.
    return str(scope.get(ASKED) or scope.get("method", "GET"))


def _single(scope: Scope, name: bytes) -> str:
    values = [value for known, value in scope["headers"] if known == name]
    if len(values) > 1:
        raise refuse("malformed", f"there must be one {name.decode()} header, not {len(values)}")
    return values[0].decode("latin-1") if values else ""
