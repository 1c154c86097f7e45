"""HTTP to addresses that others name: a client that connects only where an `AddressRule` lets it.

::

    request to https://name/… ─► kept connection of that name? ─────────────────────────────────► sent
                                  └ none: name ─► `AddressRule` ─► its address ─► TLS proves name ┘

Who answers is proven once, when a connection is made, so a connection is kept under the name it was proven for. To ask
an address instead, with the name beside it, would hand what is meant for one name to whoever proved another at the
same address. The rule looks the name up and says which address to take: a name that leads elsewhere a moment later
leads nowhere.
"""

import asyncio
import logging
import ssl
import zlib
from collections.abc import Callable, Iterable
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.kernel.errors import GridspineError

BODY_S = 120.0
"""How long an answer's body may take [s]."""
ENCODING = "gzip"
"""How an answer may be compressed, once: whoever is asked is told so."""
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection before TLS. One whose handshake is cancelled is closed: httpcore would leave it open for ever."""

    def __init__(self, within: httpcore.AsyncNetworkStream) -> None:
        self._within = within

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._within.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._within.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._within.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._within.start_tls(ssl_context, server_hostname, timeout)
        except asyncio.CancelledError:
            await self._within.aclose()
            raise

    def get_extra_info(self, info: str) -> object:
        return self._within.get_extra_info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to the address that ``rule`` gives for a name; without a rule, to any that the name has."""

    def __init__(self, rule: AddressRule | None) -> None:
        self._rule = rule
        self._within = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = host if self._rule is None else await self._found(self._rule, host, port, timeout)
        return _Stream(await self._within.connect_tcp(address, port, timeout, local_address, socket_options))

    @staticmethod
    async def _found(rule: AddressRule, host: str, port: int, timeout_s: float | None) -> str:
        try:
            async with asyncio.timeout(timeout_s):
                return str(await rule.find(host, port))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host[:100]} was not looked up in time") from error

    async def sleep(self, seconds: float) -> None:
        await self._within.sleep(seconds)


def guarded_client(
    rule: AddressRule, timeout_s: float, tls: ssl.SSLContext | None = None, limits: httpx.Limits = _LIMITS
) -> httpx.AsyncClient:
    """Return a client that keeps no cookies, follows no redirect, and goes by nothing of the environment.

    Its requests raise what `AddressRule.find` does, besides httpx's own errors. ``tls`` is whom to believe, by default
    the authorities that httpx brings.
    """
    return _client(rule, timeout_s, httpx.create_ssl_context(trust_env=False) if tls is None else tls, limits)


def operators_client(timeout_s: float, tls: ssl.SSLContext, limits: httpx.Limits) -> httpx.AsyncClient:
    """Return a client like `guarded_client`'s for a server that the operator named: no rule says where it may be."""
    return _client(None, timeout_s, tls, limits)


def _client(rule: AddressRule | None, timeout_s: float, tls: ssl.SSLContext, limits: httpx.Limits) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(verify=tls)
    # httpx lets nobody say how to connect; the pool that it makes, with the rule in it, in place of its own.
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=tls, max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections, keepalive_expiry=limits.keepalive_expiry,
        network_backend=_Backend(rule),
    )  # fmt: skip
    client = httpx.AsyncClient(
        transport=transport, timeout=timeout_s, follow_redirects=False, trust_env=False,
        headers={"accept-encoding": ENCODING},
    )  # fmt: skip
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return client


async def read_body(answer: httpx.Response, most_bytes: int, who: str, error: Callable[[str], GridspineError]) -> bytes:
    """Return the body of an answer that is being read; raise ``error`` of words where ``who`` says more than that.

    What is compressed counts as what it grows to, and grows no further: httpx would make all of it first, of gzip in
    gzip too. Raises ``error`` also for what was compressed otherwise than `ENCODING`, and `TimeoutError` for a body
    that takes more than `BODY_S` in all: httpx waits so long for each part of it.
    """
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", ENCODING}:
        raise error(f"an answer of {who} is compressed by {encoding[:40]!r}, which was not asked for")
    unpack = zlib.decompressobj(wbits=31) if encoding == ENCODING else None
    parts, size = [], 0
    async with asyncio.timeout(BODY_S):
        async for raw in answer.aiter_raw():
            part = raw if unpack is None else _unpacked(unpack, raw, most_bytes + 1 - size, who, error)
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise error(f"an answer of {who} has more than {most_bytes} bytes")
    if unpack is not None and size and not unpack.eof:
        raise error(f"an answer of {who} ends before its compressed body does")
    return b"".join(parts)


def _unpacked(unpack: Any, raw: bytes, most_bytes: int, who: str, error: Callable[[str], GridspineError]) -> bytes:
    """Return what ``raw`` grows to, at most so many bytes of it."""
    try:
        found: bytes = unpack.decompress(raw, most_bytes)
    except zlib.error as wrong:
        raise error(f"an answer of {who} is no {ENCODING}: {wrong}") from wrong
    if unpack.unused_data:  # zlib would gather all that comes
        raise error(f"an answer of {who} goes on behind its compressed body")
    return found


def log_no_addresses() -> None:
    """Keep httpx and what it rests on from logging addresses and headers: a secret may be in either."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
