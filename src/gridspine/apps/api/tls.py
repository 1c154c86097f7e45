"""TLS of the node's web server, and the client's certificate handed on to the application.

::

    client ══ TLS, certificate optional ══► connection ─ scope["state"]["client_certificate_der"] ─► authenticate
"""

import ssl

from litestar.types import Scope

from gridspine.infra.identity.service import Identity
from gridspine.things.adapter import CERTIFICATE_KEY

__all__ = ["CERTIFICATE_KEY", "client_certificate", "node_context"]


def client_certificate(scope: Scope) -> bytes | None:
    """Return the client certificate (DER) of the connection, proven by TLS, or None."""
    der = (scope.get("state") or {}).get(CERTIFICATE_KEY)
    return der if isinstance(der, bytes) else None


def node_context(identity: Identity, names: tuple[str, ...] = (), trusted: bytes = b"") -> ssl.SSLContext:
    """Return the TLS context of this node, its server certificate issued (and renewed) by its own authority.

    ``trusted`` (PEM) are the authorities of clients' certificates, where they are not the node's own.
    """
    return identity.authority.server_context(names, trusted)
