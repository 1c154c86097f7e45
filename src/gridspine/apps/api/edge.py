"""Edges: their stream of orders, their reports, how they are, and their control rules."""

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, JSONBody
from litestar.types import ASGIApp, Receive, Scope, Send

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.sending import chunk, left, run_until_left
from gridspine.apps.api.thing import permitted, readable
from gridspine.apps.edge.wire import BufferReport, Report, RuleReport
from gridspine.apps.node.edge_link import edge_of
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Forbidden, Invalid, NotFound
from gridspine.kernel.time import format_rfc3339
from gridspine.things.control_rule import ControlRule, split_point
from gridspine.things.thing import Thing

_HEADERS = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
_LOOK_S = 0.25


class EdgeView(msgspec.Struct, frozen=True, rename="camel"):
    """An edge as its own organisation sees it.

    ``behind`` is the number of Things whose present leases it has not said to have durably; ``aheadS`` [s] how much
    its clock is ahead of the node's; ``adapters`` what is wrong with each, "" for nothing. What it said of itself is
    null until it reports; the node forgets it when it is started anew.
    """

    id: str
    name: str
    connected: bool
    heard: str | None
    things: list[str]
    behind: int
    ahead_s: float | None
    buffer: BufferReport | None
    rules: list[RuleReport]
    adapters: dict[str, str]
    version: str


class NewRule(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A control rule for an edge: Starlark that defines ``control(inputs, state, now_s)``.

    ``inputs`` and ``outputs`` are point ids of Things that the edge serves. It runs every ``everyS`` [s]; a set-point
    it asks for holds for ``leaseS`` [s].
    """

    name: str
    text: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    every_s: float = 5.0
    lease_s: float = 30.0
    max_steps: int = 100_000


class RuleView(msgspec.Struct, frozen=True, rename="camel"):
    """A control rule; ``running`` is what the edge last said of it, null when it said nothing."""

    name: str
    version: int
    author: str
    published: str
    text: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    every_s: float
    lease_s: float
    max_steps: int
    running: RuleReport | None


@get(
    "/edge/orders",
    summary="Follow the orders of an edge",
    description="For an edge itself. A line of JSON a message, without end: what it serves, all leases of those "
    "Things, its rules; then what changes. A newer stream of the same edge ends the older one.",
    media_type="application/x-ndjson",
    tags=["edges"],
)
async def follow_orders(request: Request[Any, Any, Any], node: TheNode) -> ASGIApp:
    """Open an edge's stream."""
    return OrderStream(node, _as_edge(node, request.user))


@post("/edge/report", status_code=200, summary="Report as an edge", tags=["edges"])
async def report_edge(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[Report]) -> dict[str, bool]:
    """Take what an edge says: which leases are durable there, how far orders got, how it is."""
    await node.edges.report(_as_edge(node, request.user), data)
    return {"taken": True}


@get("/edges", summary="List edges", tags=["edges"])
async def list_edges(request: Request[Any, Any, Any], node: TheNode) -> list[EdgeView]:
    """List the edges that serve Things of the caller's organisation, and how they are."""
    caller = request.user
    readable(node, caller, "thing.read")
    served = (edge_of(thing) for thing in node.things.of_adapter("edge") if thing.organisation == caller.organisation)
    found = {edge for edge in served if edge and (caller.kind != "device" or edge == caller.principal)}
    return [edge_view(node, edge, caller.organisation) for edge in sorted(found)]


@get("/edges/{edge_id:str}", summary="Read one edge", tags=["edges"])
async def read_edge(request: Request[Any, Any, Any], node: TheNode, edge_id: FromPath[str]) -> EdgeView:
    """Return how an edge is."""
    _served(node, request, edge_id, "thing.read")
    return edge_view(node, edge_id, request.user.organisation)


@get("/edges/{edge_id:str}/rules", summary="List the rules of an edge", tags=["edges"])
async def list_rules(request: Request[Any, Any, Any], node: TheNode, edge_id: FromPath[str]) -> list[RuleView]:
    """List the control rules of an edge."""
    _served(node, request, edge_id, "thing.read")
    return [_rule_view(node, kept.rule) for kept in node.edges.rules.of_edge(edge_id).values()]


@post("/edges/{edge_id:str}/rules", summary="Give an edge a rule", tags=["edges"])
async def publish_rule(
    request: Request[Any, Any, Any], node: TheNode, edge_id: FromPath[str], data: JSONBody[NewRule]
) -> RuleView:
    """Publish a control rule, or its next version, to an edge; one that faults there gives way to the one before."""
    own = _served(node, request, edge_id, "thing.command")
    for point in (*data.inputs, *data.outputs):
        _check_point(node, own, point, output=point in data.outputs)
    for thing in {split_point(point)[0] for point in data.outputs}:
        permitted(node, request, thing, "thing.command")
    rule = ControlRule(
        edge=edge_id, organisation=request.user.organisation, version=0, author=request.user.principal,
        **msgspec.structs.asdict(data),
    )  # fmt: skip
    return _rule_view(node, await node.edges.rules.publish(rule))


@post("/edges/{edge_id:str}/rules/{rule:str}/roll-back", status_code=200, summary="Roll a rule back", tags=["edges"])
async def roll_back_rule(
    request: Request[Any, Any, Any], node: TheNode, edge_id: FromPath[str], rule: FromPath[str]
) -> RuleView:
    """Publish the version before the present one again."""
    _served(node, request, edge_id, "thing.command")
    return _rule_view(node, await node.edges.rules.roll_back(edge_id, rule, request.user.principal))


@delete("/edges/{edge_id:str}/rules/{rule:str}", status_code=204, summary="Take a rule away", tags=["edges"])
async def remove_rule(
    request: Request[Any, Any, Any], node: TheNode, edge_id: FromPath[str], rule: FromPath[str]
) -> None:
    """Take a rule away; what it asked for ends."""
    _served(node, request, edge_id, "thing.command")
    await node.edges.rules.remove(edge_id, rule, request.user.principal)


class OrderStream:
    """An ASGI application that is one edge's stream."""

    def __init__(self, node: Node, caller: Caller) -> None:
        self._node, self._caller = node, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run until the edge leaves, is not let in any more, or the node stops."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await run_until_left(self._until_stopping(send), left(receive))
        with contextlib.suppress(OSError):
            await chunk(send, b"", more=False)

    async def _talk(self, send: Send) -> None:
        async with contextlib.aclosing(self._node.edges.messages(self._caller)) as messages:
            async for message in messages:
                await chunk(send, msgspec.json.encode(message) + b"\n")

    async def _until_stopping(self, send: Send) -> None:
        """Talk until that ends, or the node stops."""
        await run_until_left(self._talk(send), self._stopping())

    async def _stopping(self) -> None:
        while not self._node.stopping:
            await self._node.clock.sleep(_LOOK_S)


def edge_view(node: Node, edge: str, organisation: str) -> EdgeView:
    """Return an edge as it is shown."""
    state, principal = node.edges.state(edge), node.identity.directory.active(edge)
    report = state.report
    things = [thing.id for thing in node.edges.things(edge, organisation)]
    return EdgeView(
        edge,
        principal.name if principal else "",
        state.connected,
        format_rfc3339(state.heard_us) if state.heard_us else None,
        things,
        state.behind if state.connected else len(things),
        round((report.clock_us - state.heard_us) / 1e6, 3) if report else None,
        report.buffer if report else None,
        list(report.rules) if report else [],
        dict(report.adapters) if report else {},
        report.version if report else "",
    )


def _as_edge(node: Node, caller: Caller) -> Caller:
    """Return ``caller`` when it is a device; raise `Forbidden`. One that serves no Thing is told just that."""
    if caller.kind != "device":
        node.authority.on_thing(caller, "readings.submit", None, "urn:any:edge")
        raise Forbidden("an edge is a device: it proves itself by a device's key")
    return caller


def _served(node: Node, request: Request[Any, Any, Any], edge: str, action: str) -> Mapping[str, Thing]:
    """Return the Things that ``edge`` serves for the caller's organisation, all of which it may ``action``.

    One that serves none is answered like one that does not exist.
    """
    own = {thing.id: thing for thing in node.edges.things(edge, request.user.organisation)}
    if not own:
        node.authority.on_thing(request.user, action, None, edge)
        raise NotFound("there is no such edge")
    for thing in own.values():
        node.authority.on_thing(request.user, action, thing)
        if action != "thing.command":
            break  # the policies look at the organisation and the devices only
    return own


def _check_point(node: Node, own: Mapping[str, Thing], point: str, *, output: bool) -> None:
    thing_id, name = split_point(point)
    thing = own.get(thing_id)
    model = next((p for p in node.things.model(thing).points if p.name == name), None) if thing else None
    if model is None:
        raise Invalid(f"{point}: the edge serves no such point")
    if output and (model.lease is None or model.lease.role != "setpoint"):
        raise Invalid(f"outputs: {point} takes no set-points")


def _rule_view(node: Node, rule: ControlRule) -> RuleView:
    report = node.edges.state(rule.edge).report
    running = next((one for one in report.rules if one.name == rule.name), None) if report else None
    return RuleView(
        rule.name, rule.version, rule.author, format_rfc3339(rule.at_us), rule.text, rule.inputs, rule.outputs,
        rule.every_s, rule.lease_s, rule.max_steps, running,
    )  # fmt: skip
