"""Tickets: for clients that cannot sign the request by which they open a stream, such as a browser's EventSource."""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from litestar import Request, post
from litestar.params import JSONBody

from gridspine.apps.api.authenticate import origin
from gridspine.apps.api.dependency import TheNode
from gridspine.infra.identity.ticket import LIFE_S
from gridspine.kernel.errors import Invalid

_STREAM = re.compile(
    r"/things/[^/]+/(properties/[^/]+/observe|values/(observe|socket)|events(/[^/]+)?)|/products/[^/]+/(stream|socket)"
    r"|/events(/[^/]+)?"
)
_MAX_HREF = 2_000


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which stream is to be opened: its address, or the path of it."""

    href: str


class Ticket(msgspec.Struct, frozen=True, rename="camel"):
    """A ticket: the stream is opened once by ``href``, within ``lifeS`` [s]."""

    ticket: str
    href: str
    life_s: int


@post("/tickets", summary="Get a ticket for a stream", tags=["access"])
async def issue_ticket(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[Wanted]) -> Ticket:
    """Hand out a ticket that opens one stream once, as its caller; whether that may hear is asked when it is opened."""
    try:
        parts = urlsplit(data.href[:_MAX_HREF])
    except ValueError as error:
        raise Invalid("href: that is no address") from error
    if parts.netloc and f"{parts.scheme.replace('ws', 'http', 1)}://{parts.netloc}" != origin(request.scope):
        raise Invalid("href: that is not this node's, as you reach it: a path will do")
    path = unquote(parts.path)
    if not _STREAM.fullmatch(path):
        raise Invalid("href: a ticket opens a stream: …/observe, …/socket, …/stream, …/events, …/events/{name}")
    ticket = node.identity.tickets.issue(request.user, path)
    kept = "&".join(one for one in parts.query.split("&") if one and not one.startswith("ticket="))
    query = f"{kept}&ticket={ticket}" if kept else f"ticket={ticket}"
    return Ticket(ticket, parts._replace(query=query, fragment="").geturl(), LIFE_S)
