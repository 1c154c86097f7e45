"""Run a node until it is told to stop: sockets first, then the node, then its servers."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gridspine.apps.api.app import create_app
from gridspine.apps.api.lane import ReadLane, SmallReadings
from gridspine.apps.api.tls import node_context
from gridspine.apps.cli.keys import register_client
from gridspine.apps.node.announced import Announced, announced
from gridspine.apps.node.drain import drain
from gridspine.apps.node.engines import Engines
from gridspine.apps.node.node import Node, compose
from gridspine.apps.node.seats import Seats, open_as_many_files_as_allowed
from gridspine.apps.node.serve import Listening, bind, serve
from gridspine.apps.portal.routes import portal_routes
from gridspine.infra.runtime.clock import Clock, SystemClock
from gridspine.infra.runtime.settings import Settings
from gridspine.infra.runtime.systemd import READY, STOPPING, keep_alive, notify

FIRST_CLIENT = "operator.json"
_THREADS = 32
Ready = Callable[[Node, int], Any]
log = structlog.get_logger(__name__)


def organisation_id(name: str) -> str:
    """Return an organisation's id from its name: ``Northside Networks`` → ``northside-networks``."""
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(filter(None, letters.split("-"))) or "organisation"


class Running:
    """A node with its servers."""

    def __init__(self, node: Node, servers: list[Listening]) -> None:
        self.node = node
        self._servers = servers
        self.announcement: Announced | None = None

    @property
    def port(self) -> int:
        """The port of plain HTTP."""
        return self._servers[0].port

    @property
    def url(self) -> str:
        """The node's address."""
        return f"http://{self.node.settings.http.host}:{self.port}"

    async def stop(self) -> None:
        """End streams, let requests finish, stop the node; see `gridspine.apps.node.drain`."""
        self.node.stopping = True
        self.node.gate.end_all_streams("node-stopping")
        if self.announcement is not None:
            await self.announcement.close()
        await asyncio.gather(*(server.stop() for server in self._servers))
        self.node.paths.address.unlink(missing_ok=True)
        await self.node.stop()

    def hurry(self) -> None:
        """Cut open connections: whoever waits for an answer learns nothing of what became of its request."""
        for server in self._servers:
            server.cut()


async def start(
    settings: Settings, data: Path, clock: Clock | None = None, *, engines: Engines | None = None
) -> Running:
    """Start a node and its servers; ``engines`` may be others than the real ones."""
    sock = bind(settings.http.host, settings.http.port)
    port = sock.getsockname()[1]
    settings = msgspec.structs.replace(settings, http=msgspec.structs.replace(settings.http, port=port))
    id_ = organisation_id(settings.organisation)
    try:
        node = await compose(settings, data, clock or SystemClock(), organisation=id_, engines=engines)
    except BaseException:
        sock.close()
        raise
    try:
        return await _serve(node, sock, id_)
    except BaseException:
        sock.close()
        await node.stop()
        raise


async def _serve(node: Node, sock: socket.socket, id_: str) -> Running:
    """Make sure of the organisation and the first client, then open the servers."""
    settings, port = node.settings, node.settings.http.port
    if all(known.id != id_ for known in node.identity.directory.organisations()):
        await asyncio.to_thread(node.identity.directory.add_organisation, id_, settings.organisation)
    await asyncio.to_thread(_first_client, node)
    app = create_app(node, portal_routes(node))
    seats = Seats(settings.http.max_connections, settings.http.max_connections_of_one)
    shared: dict[str, Any] = {
        "http": settings.http,
        "seats": seats,
        "lane": ReadLane(node, app),
        "posts": SmallReadings(node, app),
    }
    secure = [await _serve_tls(node, app, shared)] if settings.tls.enabled else []
    try:  # the last of all: whoever is told that the node is ready finds it so at every address
        plain = await serve(app, sock, **shared)
    except BaseException:
        await asyncio.gather(*(server.stop() for server in secure))
        raise
    node.paths.address.write_text(f"http://{settings.http.host}:{port}\n")
    running = Running(node, [plain, *secure])
    if secure and settings.discovery.dns_sd:
        running.announcement = await announced(settings, secure[0].port)
    return running


async def _serve_tls(node: Node, app: Any, shared: dict[str, Any]) -> Listening:
    """Serve ``app`` over mutual TLS as the settings say."""
    tls = node.settings.tls
    context = await asyncio.to_thread(node_context, node.identity, tuple(tls.names))
    return await serve(app, bind(tls.host, tls.port), context, **shared)


def _first_client(node: Node) -> None:
    """Make the client file that this machine's commands sign with, once: whoever may read it runs the node."""
    path = node.paths.clients / FIRST_CLIENT
    if path.exists():
        return
    node.paths.clients.mkdir(mode=0o700, exist_ok=True)
    register_client(
        node.identity, node.clock, path, organisation=node.organisation, kind="application", name="operator",
        roles=("administrator", "operator", "owner", "consumer", "auditor"),
    )  # fmt: skip


async def run(settings: Settings, data: Path, ready: Ready | None = None) -> None:
    """Run a node until SIGINT or SIGTERM; ``ready`` is called with it once it takes requests."""
    open_as_many_files_as_allowed()
    os.umask(0o077)  # files are the owner's alone, wherever the data directory lies
    loop = asyncio.get_running_loop()
    # The default has a handful of threads on a small machine: long reads and passwords would keep all else waiting.
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="node"))
    running = await start(settings, data)
    gc.freeze()  # what is there now stays: looking through it for garbage would halt commands, a fifth of a second
    stop, hurry = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    if ready is not None:
        ready(running.node, running.port)
    notify(READY, f"STATUS=ready at {running.url}")
    running.node.supervisor.start("alive", lambda: keep_alive(running.node.writer.is_alive))
    await stop.wait()
    notify(STOPPING)
    log.info("stopping")
    await drain(running, hurry)
    log.info("stopped")
