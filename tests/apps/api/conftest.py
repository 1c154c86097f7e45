"""A real server on a free port, plain or with TLS, around the pieces under test and a few routes of its own."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from litestar import Litestar, Request, Response, WebSocket, get, post, websocket
from litestar.response import ServerSentEvent

from gridspine.apps.api.authenticate import authentication
from gridspine.apps.api.hosts import AllowedHosts
from gridspine.apps.api.tls import CertificateProtocol, node_context
from gridspine.apps.api.token import token_routes
from gridspine.apps.cli.keys import ClientFile, new_key
from gridspine.infra.identity.service import Identity
from gridspine.infra.identity.user import Cost
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import SystemClock
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
    def serve(self, *, tls: bool = False, **more: Any) -> Iterator[str]:
        """Serve on a free port; yield the base URL."""
        if tls:
            context = node_context(self.identity)
            more["ssl_context_factory"] = lambda _config, _default: context
        config = uvicorn.Config(
            self.app,
            port=0,
            http=CertificateProtocol,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            **more,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                thread.join(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
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
