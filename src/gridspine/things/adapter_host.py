"""What a node or an edge does for the adapters it hosts: finds them, bounds their orders, opens their listeners."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import ENTRY_POINT_GROUP, Adapter, Connection

ORDERS_WAITING = 10_000
"""Orders that wait for one adapter; with more it is told anew what is in force."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def installed() -> dict[str, Callable[[], Adapter]]:
    """Return what makes each installed adapter, by name; nothing is imported until it is called."""

    def maker(point: EntryPoint) -> Callable[[], Adapter]:
        def make() -> Adapter:
            adapter: Adapter = point.load()()
            return adapter

        return make

    return {point.name: maker(point) for point in entry_points(group=ENTRY_POINT_GROUP)}


class Listeners:
    """The listeners of one adapter; each name has its section (``host``, ``port``, ``tls``) in the settings."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._servers: list[asyncio.Server] = []

    def tls(self, name: str) -> bool:
        """Whether the listener is to use TLS."""
        return bool(self._settings.get(name, {}).get("tls"))

    async def open(
        self, name: str, on_connection: Connection, *, beyond: str, context: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Open a listener, and return its host and port.

        Raises `Invalid`, saying ``beyond``, for one without a TLS ``context`` that would not stay on loopback.
        """
        section = self._settings.get(name, {})
        host, port = str(section.get("host", "127.0.0.1")), int(section.get("port", 0))
        if context is None and host not in LOOPBACK:
            raise Invalid(beyond)
        server = await asyncio.start_server(on_connection, host, port, ssl=context)
        self._servers.append(server)
        address: tuple[str, int] = server.sockets[0].getsockname()[:2]
        return address

    def close(self) -> None:
        """Close what was opened."""
        for server in self._servers:
            server.close()
        self._servers.clear()
