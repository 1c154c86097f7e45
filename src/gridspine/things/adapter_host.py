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

    found: dict[str, Callable[[], Adapter]] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        # Whoever comes second must not take the place of the first: which of them was allowed, nobody can tell.
        found[point.name] = _twice(point.name) if point.name in found else maker(point)
    return found


def _twice(name: str) -> Callable[[], Adapter]:
    def make() -> Adapter:
        points = entry_points(group=ENTRY_POINT_GROUP, name=name)
        brought = " and ".join(sorted(point.dist.name for point in points if point.dist is not None))
        raise Invalid(f"an adapter named {name!r} is in more than one package ({brought}): uninstall all but one")

    return make


class Listeners:
    """The listeners of one adapter; each name has its section (``host``, ``port``, ``tls``) in the settings."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()

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

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._open.add(writer)
            try:
                await on_connection(reader, writer)
            except asyncio.CancelledError:  # its adapter ends: the task is asyncio's own, which would log each of them
                writer.transport.abort()
            finally:
                self._open.discard(writer)

        server = await asyncio.start_server(serve, host, port, ssl=context)
        self._servers.append(server)
        address: tuple[str, int] = server.sockets[0].getsockname()[:2]
        return address

    async def close(self) -> None:
        """Close what was opened, and the connections of whoever came while it was being closed."""
        loop, servers = asyncio.get_running_loop(), self._servers.copy()
        self._servers.clear()
        for server in servers:
            for sock in server.sockets:
                loop.remove_reader(sock.fileno())
        for _ in range(3):  # who was just taken is given a transport and a task: nobody else would close the socket
            await asyncio.sleep(0)
        for server in servers:
            server.close()
        for writer in self._open:
            writer.transport.abort()
