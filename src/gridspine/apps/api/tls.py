"""TLS of the node's web server, and the client's certificate handed on to the application.

::

    client ══ TLS, certificate optional ══► uvicorn ─ scope["state"]["client_certificate_der"] ─► authenticate

uvicorn ends TLS but tells the application nothing of the client's certificate; a small protocol subclass does. Pass
it as ``http=CertificateProtocol`` and the context by ``ssl_context_factory``. The same subclass lets the application
reset a connection whose client has stopped reading, and bounds what uvicorn does not: the size of a request's head, and
the time it may take to arrive.
"""

import asyncio
import contextlib
import socket
import ssl
import struct

from litestar.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gridspine.infra.identity.service import Identity

STATE_KEY = "client_certificate_der"
TRANSPORT_KEY = "connection_transport"
_LINGER_NOT = struct.pack("ii", 1, 0)
MAX_HEAD_BYTES = 64 << 10
"""Bytes of a request's head (or of a chunk's, or of trailers) that may wait to be complete: nobody is known yet."""
HEAD_S = 30.0
"""Seconds [s] a request's head may take to arrive, from the connection or its first byte on."""


class CertificateProtocol(HttpToolsProtocol):
    """HTTP/1.1 that puts the client's certificate (DER) into the state of every request and WebSocket.

    A head that is too long or too slow ends its connection.
    """

    _head_bytes = 0
    _head_open = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read the certificate once a connection: TLS is already done when this is called."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        # Requests and upgraded WebSockets both get a copy of this mapping; it must not be shared between connections.
        self.app_state = {**self.app_state, STATE_KEY: der, TRANSPORT_KEY: transport}
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the watch."""
        self._head_open = False
        self._watch_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what the parser holds back: all but bodies, until what it belongs to is complete."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response(f"A request's head has at most {MAX_HEAD_BYTES} bytes.")
            else:
                self.transport.close()
        self._watch_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._head_open, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body: counted, and bounded, where it is read."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._head_bytes = 0
        super().on_message_complete()

    def _watch_head(self) -> None:
        if self._head_open and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)
        elif not self._head_open and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def client_certificate(scope: Scope) -> bytes | None:
    """Return the client certificate (DER) of the connection, proven by TLS, or None."""
    der = (scope.get("state") or {}).get(STATE_KEY)
    return der if isinstance(der, bytes) else None


def reset_connection(scope: Scope) -> None:
    """End the connection at once: what waits in its buffers is thrown away, not sent."""
    transport = (scope.get("state") or {}).get(TRANSPORT_KEY)
    if isinstance(transport, asyncio.WriteTransport):
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):  # closed already
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()


def node_context(identity: Identity, names: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Return the TLS context of this node, its server certificate issued (and renewed) by its own authority."""
    return identity.authority.server_context(names)
