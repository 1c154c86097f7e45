"""Headers that keep a browser from making more of an answer than it is; on every answer that does not say otherwise.

Sources: WHATWG Fetch (``X-Content-Type-Options``, ``Cross-Origin-Resource-Policy``), RFC 9111 §5.2.2.5 (``no-store``),
Content Security Policy Level 3, Referrer Policy (W3C), RFC 6797 (HSTS, over TLS only).
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
"""On every answer of the API, by whatever way it came."""
_FURTHER = (
    *ALWAYS,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)
_OVER_TLS = (*_FURTHER, (b"strict-transport-security", b"max-age=31536000"))


class SafeHeaders:
    """An ASGI application around another: adds to its answers what they lack."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the answer back with its headers."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        wanted = _OVER_TLS if scope["scheme"] == "https" else _FURTHER

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {bytes(name).lower() for name, _ in given}
                message["headers"] = [*given, *((name, value) for name, value in wanted if name not in names)]
            await send(message)

        await self._app(scope, receive, guarded)
