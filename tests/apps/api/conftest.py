"""A real server on a free port, plain or with TLS, around the pieces under test and a few routes of its own."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response, WebSocket, get, post, websocket
from litestar.response import ServerSentEvent

from gridspine.apps.api.authenticate import authentication
from gridspine.apps.api.hosts import AllowedHosts
from gridspine.apps.api.tls import node_context
from gridspine.apps.api.token import token_routes
from gridspine.apps.cli.keys import ClientFile, new_key
from gridspine.apps.node.serve import bind, serve
from gridspine.infra.identity.service import Identity
from gridspine.infra.identity.user import Cost
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.settings import Http
from gridspine.kernel.errors import GridspineError

PASSWORD = "correct horse battery"


def problem(_: Any, error: GridspineError) -> Response[dict[str, Any]]:
    return Response(
        error.problem(), status_code=error.status, headers=error.headers, media_type="application/problem+json"
    )


@get("/me")
async def me(request: Request[Any, Any, Any]) -> dict[str, Any]:
    caller = request.user
    return {"principal": caller.principal, "how": caller.how, "roles": sorted(caller.roles), "session": caller.session}


@post("/change", status_code=200)
async def change(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return {"principal": request.user.principal, "body": len(await request.body())}


@get("/events")
async def events(request: Request[Any, Any, Any]) -> ServerSentEvent:
    principal = request.user.principal

    async def endless() -> AsyncIterator[str]:
        while True:
            yield principal
            await asyncio.sleep(0.05)

    return ServerSentEvent(endless())


@websocket("/socket")
async def socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text(socket.user.principal)
    await socket.close()


class Node:
    """A node's identity behind a real server."""

    def __init__(self, folder: Path, *, demo: bool = False) -> None:
        self.clock = SystemClock()
        self.registry = SqlRegistry(sqlite_url(folder / "registry.db"), self.clock, None)
        self.identity = Identity(
            self.registry,
            self.clock,
            folder / "keys",
            "https://node.example",
            demo=demo,
            cost=Cost(n=16, r=8, p=1),
        )
        self.identity.directory.add_organisation("acme", "Acme")
        routes = [me, change, events, socket, *token_routes(self.identity, scopes=("operator",))]
        app = Litestar(
            routes,
            middleware=[authentication(self.identity)],
            exception_handlers={GridspineError: problem},
            openapi_config=None,
        )
        self.app: Any = AllowedHosts(app, ["node.example"])

    def client(self, *roles: str, **more: Any) -> ClientFile:
        principal = self.identity.directory.add_principal("acme", "application", "App", roles or ("operator",))
        file = ClientFile(principal.id, self.identity.issuer, new_key(**more))
        self.identity.directory.add_key(principal.id, file.public_jwk())
        return file

    @contextlib.contextmanager
    def serve(self, *, tls: bool = False, http: Http | None = None) -> Iterator[str]:
        """Serve on a free port, on a loop in a thread of its own; yield the base URL."""
        context = node_context(self.identity) if tls else None
        started: queue.Queue[Any] = queue.Queue()

        async def run() -> None:
            end = asyncio.Event()
            listening = await serve(self.app, bind("127.0.0.1", 0), context, http=http)
            started.put((listening.port, asyncio.get_running_loop(), end))
            await end.wait()
            await listening.stop()

        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        port, loop, end = started.get(timeout=60)
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(**more: Any) -> Node:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Node(folder, **more))
        return made[-1]

    yield make
    for node in made:
        node.registry.close()


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node()
