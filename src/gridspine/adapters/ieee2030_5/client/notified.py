"""Where utilities' servers post their notifications: by mutual TLS, each server to its own address here.

::

    POST ─► certificate ─► the server's? ─► body, bounded ─► Notification ─► of a subscription? ─► read anew, 204
               └ no: 403, nothing is read                       └ none: 400      └ no: 404

The server is who it is asked as: by its LFDI, that of the certificate that it shows when it is asked itself, or the
one that the settings name.
"""

import logging
from collections.abc import Mapping
from typing import Protocol

from gridspine.adapters.ieee2030_5.identity import lfdi_of
from gridspine.adapters.ieee2030_5.wire import Element, decode
from gridspine.kernel.errors import Forbidden, GridspineError, Invalid, NotFound
from gridspine.things.adapter import AdapterContext, Receive, Scope, Send, certificate_of
from gridspine.things.adapter_body import read_body

log = logging.getLogger(__name__)
MAX_BODY_BYTES = 1_048_576


class Told(Protocol):
    """Whom notifications of one server are for."""

    @property
    def server_lfdi(self) -> str:
        """LFDI of the server, "" while nobody knows it."""
        ...

    def told(self, resource: str, href: str, status: int) -> bool:
        """Read a resource anew; return whether the subscription ``href`` to it is one that was asked for."""
        ...


class Notified:
    """The application of the listener; ``utilities`` by the paths that their notifications go to."""

    def __init__(self, context: AdapterContext, utilities: Mapping[str, Told]) -> None:
        self._context, self._utilities = context, utilities

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            await self._take(scope, receive)
            status, headers = 204, []
        except GridspineError as error:
            status, headers = error.status, [(b"connection", b"close")]
            if not isinstance(error, Forbidden):
                log.info("a notification was refused: %s", error.detail)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, scope: Scope, receive: Receive) -> None:
        certificate, utility = certificate_of(scope), self._utilities.get(scope["path"])
        known = utility is not None and bool(utility.server_lfdi)
        if utility is None or not known or certificate is None or lfdi_of(certificate) != utility.server_lfdi:
            raise Forbidden("it is not the server that is followed")
        if scope["method"] != "POST":
            raise Invalid("notifications are posted")
        body = await read_body(receive, MAX_BODY_BYTES)
        if self._context.trace.on:
            self._context.trace("in", f"POST {scope['path']}\n".encode() + body)
        resource, href, status = read_notification(decode(body))
        if not utility.told(resource, href, status):
            raise NotFound("there is no such subscription")


def read_notification(given: Element) -> tuple[str, str, int]:
    """Return subscribedResource, subscriptionURI and status; raise `Invalid`."""
    if given.name != "Notification":
        raise Invalid(f"a Notification is needed here, this is a {given.name[:60]}")
    resource, href = given.said("subscribedResource"), given.said("subscriptionURI")
    status = given.whole("status", 0, 255)
    if not resource or not href or status is None or len(resource) > 2_000 or len(href) > 2_000:
        raise Invalid("Notification: subscribedResource, subscriptionURI and status are needed")
    return resource, href, status
