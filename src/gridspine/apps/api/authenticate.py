"""Make a `Caller` of each request, or say in a 401 why there is none.

::

    Authorization: DPoP <token> + DPoP: <proof>     a token bound to a key
    Authorization: Bearer <token>                   a token bound to the connection's client certificate
                                                    (plain ones: demo profile, straight from loopback)
    ?ticket=<ticket>                                opens one event stream, once
    Cookie                                          the portal; changes need its CSRF token as well

Routes that ask for nobody's name say so with ``opt={"exclude_from_auth": True}``. ``request.user`` is the `Caller`.
"""

import asyncio
from ipaddress import ip_address
from typing import Any, ClassVar

from litestar.connection import ASGIConnection, Request
from litestar.datastructures import Cookie
from litestar.enums import ScopeType
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware
from litestar.types import ASGIApp, Scope

from gridspine.apps.api.tls import client_certificate
from gridspine.infra.identity.caller import Caller
from gridspine.infra.identity.refusal import refuse
from gridspine.infra.identity.service import Identity
from gridspine.infra.identity.session import ABSOLUTE_S, PortalSession
from gridspine.kernel.errors import Forbidden

CSRF_HEADER = "x-csrf-token"
PUBLIC: dict[str, Any] = {"exclude_from_auth": True}
"""The ``opt`` of a route that anyone may ask."""

Connection = ASGIConnection[Any, Any, Any, Any]
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_SAFE = ("GET", "HEAD", "OPTIONS")


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Litestar middleware around every route that is not public. Make it with `authentication`."""

    LIMIT_TOKEN_CHARS: ClassVar[int] = 8192

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        super().__init__(app)
        self._identity = identity

    async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
        """Return the caller as ``user`` and how it was proven as ``auth``; raise `Unauthenticated` or `Forbidden`."""
        authorization = _single(connection, "authorization")
        ticket = connection.query_params.get("ticket")
        cookie = connection.cookies.get(cookie_name(_is_secure(connection.scope)))
        if authorization:
            caller = self._by_authorization(connection, authorization)
        elif ticket and _method(connection.scope) == "GET":
            caller = self._identity.by_ticket(str(ticket), connection.scope["path"])
        elif cookie:
            caller = await self._by_cookie(connection, cookie)
        else:
            raise refuse("missing", "say who you are: a DPoP-bound access token, or sign in to the portal", error="")
        return AuthenticationResult(user=caller, auth=caller.how)

    def _by_authorization(self, connection: Connection, authorization: str) -> Caller:
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if len(token) > self.LIMIT_TOKEN_CHARS:
            raise refuse("malformed", f"an access token has at most {self.LIMIT_TOKEN_CHARS} characters")
        if scheme.lower() == "dpop":
            proof = _single(connection, "dpop")
            url, method = request_url(connection.scope), _method(connection.scope)
            return self._identity.by_dpop(token, proof, method=method, url=url)
        if scheme.lower() == "bearer":
            plain = is_loopback(connection.scope) and not any(name in connection.headers for name in _FORWARDED)
            return self._identity.by_bearer(token, client_certificate(connection.scope), plain=plain)
        raise refuse("unknown-scheme", "use Authorization: DPoP <token>, or Bearer with a client certificate")

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
            origin = connection.headers.get("origin", "")
            if origin != _origin(connection.scope):
                raise Forbidden("this WebSocket was opened from another site", reason="cross-site")
            return
        if _method(connection.scope) in _SAFE:
            return
        if connection.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Forbidden("this change was asked for by another site", reason="cross-site")
        if not self._identity.sessions.csrf_fits(session, connection.headers.get(CSRF_HEADER, "")):
            raise Forbidden(f"the {CSRF_HEADER} header is missing or old: load the page again", reason="csrf")


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
    return _origin(scope) + raw.partition(b"?")[0].decode("ascii", "replace")


def is_loopback(scope: Scope) -> bool:
    """Whether the connection comes from this machine."""
    client = scope.get("client")
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _origin(scope: Scope) -> str:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return f"{'https' if _is_secure(scope) else 'http'}://{hosts[0] if len(hosts) == 1 else ''}"


def _is_secure(scope: Scope) -> bool:
    return scope["scheme"] in ("https", "wss")


def _method(scope: Scope) -> str:
    # A WebSocket is opened by a GET and its scope says nothing of it.
    return str(scope.get("method", "GET"))


def _single(connection: Connection, name: str) -> str:
    values = connection.headers.getall(name, [])
    if len(values) > 1:
        raise refuse("malformed", f"there must be one {name} header, not {len(values)}")
    return values[0] if values else ""
