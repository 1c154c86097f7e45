"""``POST /query``: the operator's SQL over history; ``POST /products/{id}/query``: a consumer's, over its grant."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.product import CURSOR_HEADER, receiving
from gridspine.apps.node.node import Node
from gridspine.infra.archive.query import QueryResult, Stop, Stopped
from gridspine.infra.archive.wire import Format, Granted
from gridspine.infra.identity.caller import Caller
from gridspine.infra.log.topics import READINGS
from gridspine.kernel.errors import Conflict, Invalid, Unauthenticated
from gridspine.kernel.time import parse_rfc3339
from gridspine.sharing.cursor import format_cursor, parse_cursor
from gridspine.sharing.grant import Grant
from gridspine.sharing.product import Product

MAX_SQL = 20_000
ARROW = "application/vnd.apache.arrow.stream"
WATCH_S = 0.25
_EVER_US = 1 << 60
_ACTION = "product.query"


class Question(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One SELECT; ``as_of`` (RFC 3339) asks what was known then."""

    sql: str
    as_of: str = ""


class ProductQuestion(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One SELECT over a product's tables ``readings`` and ``points``.

    ``as_of`` (RFC 3339) asks what was known then. ``changed_since`` leaves only readings that came since: a cursor from
    an earlier answer, or a time (RFC 3339) after which they were received. No ``purpose`` means the grant's own.
    """

    sql: str
    as_of: str = ""
    changed_since: str = ""
    purpose: str = ""


@post(
    "/query",
    status_code=200,
    summary="Ask history in SQL",
    description="One SELECT over tables readings, planned, emulated, revisions, daily, points, things and events, run "
    f"in a process of its own with hard limits. JSON, or Arrow with Accept: {ARROW}.",
    tags=["history"],
)
async def query(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[Question]) -> Response[bytes]:
    """Run an operator's query."""
    node.authority.on_node(request.user, "sql.run")
    format_, as_of_us = _format(request), _asked(data.sql, data.as_of)
    return _response(await node.archive.query(data.sql, format_, as_of_us))


@post(
    "/products/{product_id:str}/query",
    status_code=200,
    summary="Ask a data product in SQL",
    description="One SELECT over tables readings and points, which hold what the grant covers and nothing else: the "
    "product's points, their readings on the contract's channel observed between the grant's `from` and `until`. Run "
    "in a process of its own with hard limits, one at a time for each caller; ended when the grant is. "
    f"`{CURSOR_HEADER}` of the answer goes on as `changedSince`. JSON, or Arrow with Accept: {ARROW}.",
    tags=["sharing"],
)
async def query_product(
    request: Request[Any, Any, Any], node: TheNode, product_id: FromPath[str], data: JSONBody[ProductQuestion]
) -> Response[bytes]:
    """Run a consumer's query over a product."""
    product, grant = receiving(node, request, product_id, data.purpose, _ACTION)
    format_, as_of_us = _format(request), _asked(data.sql, data.as_of)
    granted = await asyncio.to_thread(_granted, node, product, grant, data.changed_since)
    stop = Stop()
    try:
        async with _ended_with(node, request.user, grant, stop):
            result = await node.archive.query_granted(
                data.sql, format_, granted, principal=request.user.principal, stop=stop, as_of_us=as_of_us
            )
    except Stopped:
        receiving(node, request, product_id, data.purpose, _ACTION)  # says why, where it is the grant
        raise
    if not node.identity.holds(request.user):
        raise Unauthenticated("you were signed out while the query ran", reason="signed-out")
    receiving(node, request, product_id, data.purpose, _ACTION)  # it may have ended while the query ran
    node.hub.delivered += result.rows
    return _response(result, {CURSOR_HEADER: format_cursor(result.following)})


@contextlib.asynccontextmanager
async def _ended_with(node: Node, caller: Caller, grant: Grant | None, stop: Stop) -> AsyncIterator[None]:
    """Stop a query when its grant stops holding, or its caller is let in no more."""

    async def watch() -> None:
        while node.identity.holds(caller):
            await node.clock.sleep(WATCH_S)
        stop.now("signed-out")

    watching = asyncio.ensure_future(watch())
    unwatch = node.gate.watch(grant.id if grant else "", stop.now)
    try:
        yield
    finally:
        unwatch()
        watching.cancel()


def _granted(node: Node, product: Product, grant: Grant | None, changed_since: str) -> Granted:
    """Return what of the product may be seen; the owner's own principals see all of it."""
    mask = node.access.mask(product)
    since_us, since = _since(node, changed_since)
    from_us, until_us = (grant.from_us, grant.until_us) if grant else (-_EVER_US, _EVER_US)
    names, units = _of_one_owner(node, product, mask.names, mask.units)
    return Granted(names, units, from_us, until_us, since_us, since, product.contract.channel)


def _of_one_owner(node: Node, product: Product, names: list[str], units: list[str]) -> tuple[list[str], list[str]]:
    """Leave out points of Things that have been another organisation's: the archive knows them by name alone."""
    foreign: dict[str, bool] = {}
    for name in names:
        thing = name.partition("/")[0]
        if thing not in foreign:
            foreign[thing] = node.points.foreign(thing, product.owner)
    if not any(foreign.values()):
        return names, units
    kept = [(name, unit) for name, unit in zip(names, units, strict=True) if not foreign[name.partition("/")[0]]]
    if not kept:
        raise Conflict("its Things have been another organisation's, which SQL cannot tell apart: pull the product")
    return [name for name, _ in kept], [unit for _, unit in kept]


def _since(node: Node, text: str) -> tuple[int | None, dict[int, int] | None]:
    """Return a time [µs since 1970], or the next offset of each partition."""
    if not text:
        return None, None
    if "T" in text or "t" in text:
        return parse_rfc3339(text), None
    offsets = parse_cursor(text)
    bounds = node.log.bounds(READINGS)
    if any(partition >= len(bounds) or offset > bounds[partition][1] for partition, offset in offsets.items()):
        raise Invalid("changedSince: the cursor is ahead of this node's log: it was restored, or it is another node's")
    return None, offsets


def _format(request: Request[Any, Any, Any]) -> Format:
    return "arrow" if ARROW in request.headers.get("accept", "") else "json"


def _asked(sql: str, as_of: str) -> int | None:
    """Check the query's length; return the moment it asks about [µs since 1970]."""
    if len(sql) > MAX_SQL:
        raise Invalid(f"sql: at most {MAX_SQL} characters")
    return parse_rfc3339(as_of) if as_of else None


def _response(result: QueryResult, headers: dict[str, str] | None = None) -> Response[bytes]:
    media_type = ARROW if result.format == "arrow" else "application/json"
    return Response(result.body, media_type=media_type, headers={"Cache-Control": "no-store", **(headers or {})})
