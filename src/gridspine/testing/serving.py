"""What `FakeNode` serves of an adapter's application: real sockets and TLS; the bounds are the node's own affair."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gridspine.things.adapter import CERTIFICATE_KEY, Application
from gridspine.things.adapter_tls import tls_of


class _Connection(HttpToolsProtocol):
    """A connection that tells the application the client's certificate, as the node's do."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self.app_state = {CERTIFICATE_KEY: tls.getpeercert(binary_form=True) if tls is not None else None}


async def serve(
    app: Application, section: Mapping[str, Any], host: str, port: int, tls: ssl.SSLContext | None
) -> tuple[asyncio.Server, set[asyncio.Task[None]]]:
    """Serve ``app``; with the certificate that ``section`` names, else with ``tls`` where there is one.

    Returns the server, and the requests that are at work: whoever closes the one ends the others.
    """
    asked = tls_of(section)
    context = await asyncio.to_thread(asked.own) if asked.tls else None
    context = asked.finish(context) if context is not None else tls
    given: Any = app
    config = uvicorn.Config(given, loop="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(config, state, {}), host, port, ssl=context)
    return server, state.tasks
