"""The node's web servers: plain HTTP on loopback, and mutual TLS where the settings say so."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from gridspine.apps.api.tls import CertificateProtocol, node_context
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Unavailable

_SEND_BUFFER_BYTES = 256 << 10
"""Room a stalled reader may take in the kernel; what it holds can still be read after a cut."""
_STOP_S = 5


class _Server(uvicorn.Server):
    """A uvicorn server inside the node's event loop; the node handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the node."""
        yield


@dataclass(slots=True)
class Listening:
    """A running server: ``port`` is the one it got."""

    server: uvicorn.Server
    task: "asyncio.Task[None]"
    port: int

    async def stop(self) -> None:
        """Stop taking connections, let requests end, close."""
        self.server.should_exit = True
        await asyncio.wait({self.task}, timeout=_STOP_S + 2)  # uvicorn cancels what still runs after `_STOP_S`


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; the port is known before the node is composed, and 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, for asyncio sends at once (TCP_NODELAY) only on sockets that say so: answers would wait 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise Unavailable(f"{host}:{port} cannot be listened on: {error.strerror}") from error
    return sock


async def serve(app: Any, sock: socket.socket, context: ssl.SSLContext | None = None) -> Listening:
    """Serve ``app`` on ``sock`` in a task; returns once connections are taken."""
    config = uvicorn.Config(
        app,
        http=CertificateProtocol,
        ws="websockets-sansio",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_S,
        timeout_keep_alive=65,
        ws_max_size=1 << 20,
        ssl_context_factory=None if context is None else (lambda *_: context),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([sock]), name=f"http:{sock.getsockname()[1]}")
    while not server.started:
        if task.done():
            await task
        await asyncio.sleep(0.005)
    return Listening(server, task, sock.getsockname()[1])


async def serve_tls(node: Node, app: Any) -> Listening:
    """Serve ``app`` over mutual TLS as the settings say."""
    tls = node.settings.tls
    context = await asyncio.to_thread(node_context, node.identity, tuple(tls.names))
    return await serve(app, bind(tls.host, tls.port), context)
