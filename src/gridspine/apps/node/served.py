"""Applications that adapters hand to the node: served by its own servers, within the bounds of its own API.

::

    seat ─► TLS as the section says ─► `Connection` ─► host name? ─► body bounded ─► the adapter's application
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from gridspine.apps.api.answer import problem
from gridspine.apps.api.connection import send_answer
from gridspine.apps.api.hosts import AllowedHosts
from gridspine.apps.api.tls import node_context
from gridspine.apps.node.seats import Seats
from gridspine.apps.node.serve import Listening, bind, serve
from gridspine.infra.identity.service import Identity
from gridspine.infra.runtime.settings import Http
from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.things.adapter import Application, Receive, Scope, Send
from gridspine.things.adapter_host import LOOPBACK
from gridspine.things.adapter_tls import Tls, tls_of


class Served:
    """What one adapter serves; ``where`` are its settings, for who is refused."""

    def __init__(self, settings: Mapping[str, Any], http: Http, identity: Identity, where: str) -> None:
        self._settings, self._http, self._identity, self._where = settings, http, identity, where
        self._listening: list[Listening] = []

    async def open(self, name: str, app: Application) -> tuple[str, int]:
        """Serve ``app`` by the listener ``name``, and return its host and port; raise `Invalid`, `Unavailable`."""
        section = self._settings.get(name, {})
        host, port = str(section.get("host", "127.0.0.1")), int(section.get("port", 0))
        most = min(int(section.get("max_body_bytes", self._http.max_body_bytes)), self._http.max_body_bytes)
        inner: Any = BoundedBody(app, most)
        try:
            tls = tls_of(section)
            context = await asyncio.to_thread(self._context, tls) if tls.tls else None
        except Invalid as error:
            raise Invalid(f"{self._where}.{name}.{error.detail}") from error
        if context is None:
            if host not in LOOPBACK:
                raise Invalid(f"{self._where}.{name}: set tls = true to listen beyond loopback")
            inner = AllowedHosts(inner, [*self._http.allowed_hosts, *tls.names])
        seats = Seats(self._http.max_connections, self._http.max_connections_of_one)
        listening = await serve(inner, bind(host, port), context, http=self._http, seats=seats)
        self._listening.append(listening)
        return host, listening.port

    async def close(self) -> None:
        """Let requests end, and close."""
        opened, self._listening = self._listening, []
        await asyncio.gather(*(one.stop() for one in opened))

    def _context(self, tls: Tls) -> ssl.SSLContext:
        context = tls.own()
        return tls.finish(context or node_context(self._identity, tls.names, tls.trusted()))


class BoundedBody:
    """An ASGI layer that refuses bodies over ``most`` bytes, said beforehand or not; nothing but HTTP passes."""

    def __init__(self, app: Application, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        declared = [value for name, value in scope["headers"] if name == b"content-length"]
        if declared and int(declared[0]) > self._most:
            await self._refuse(send)
            return
        body = _Counted(receive, send, self._most)
        try:
            await self._app(scope, body.receive, body.send)
        except _TooMuch:
            if body.started:
                raise
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        error = TooLarge(f"a body has at most {self._most} bytes here", headers={"Connection": "close"})
        sending: Any = send
        await send_answer(problem(error), sending)


class _TooMuch(Exception):
    """More came than the body may have."""


class _Counted:
    """One request: what was received of its body, and whether its answer has begun."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._left = receive, send, most
        self.started = False

    async def receive(self) -> Any:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _TooMuch
        return message

    async def send(self, message: Any) -> None:
        self.started = True
        await self._send(message)
