"""Answer only for the host names this node is meant for: a web page elsewhere must not reach it by its own name.

Source: RFC 9110 §7.4 (421 Misdirected Request). Without this a browser could be led to the node's loopback address
under an attacker's name (DNS rebinding) and would hand over what it reads.
"""

from collections.abc import Iterable
from functools import lru_cache

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gridspine.kernel.errors import Misdirected

_MAX_CHARS = 300
"""A DNS name has 253 characters at most, and then there is the port; what is longer is not even remembered."""
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class AllowedHosts:
    """The outermost ASGI layer: ``hosts`` are names without a port, besides `LOCAL_HOSTS`."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(_bare(host) for host in (*LOCAL_HOSTS, *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self.answer_for(scope):
            await self._app(scope, receive, send)
            return
        given = _hosts(scope)
        named = repr(given[0][:100]) if len(given) == 1 else f"{len(given)} Host headers"
        await _refuse(
            Misdirected(f"this node does not answer for {named}; see allowed_hosts in its settings"), scope, send
        )

    def answer_for(self, scope: Scope) -> bool:
        """Whether the request names one host, and that is one of this node's."""
        given = _hosts(scope)
        return len(given) == 1 and len(given[0]) <= _MAX_CHARS and _bare(given[0]) in self._hosts


def _hosts(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]


@lru_cache(maxsize=256)
def _bare(host: str) -> str:
    """Return ``host`` without its port, in small letters and without a final dot."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    if host.count(":") > 1:
        return f"[{host}]"
    return host.partition(":")[0].removesuffix(".")


async def _refuse(error: Misdirected, scope: Scope, send: Send) -> None:
    kind = "http.response"
    if scope["type"] == ScopeType.WEBSOCKET:
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": error.title})
            return
        kind = "websocket.http.response"
    body = msgspec.json.encode(error.problem())
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    start = {"type": f"{kind}.start", "status": error.status, "headers": headers}
    await send(start)  # type: ignore[arg-type]
    await send({"type": f"{kind}.body", "body": body, "more_body": False})  # type: ignore[arg-type,misc]
