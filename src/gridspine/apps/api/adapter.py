"""What adapters and their devices say to each other, for operators of the organisation that runs the node.

It may be of Things of any organisation, as the adapter serves them all: so it is asked for by name, for a time, and
both that it was turned on and each look at it are decisions on record.
"""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from gridspine.apps.api.dependency import TheNode
from gridspine.kernel.time import format_rfc3339
from gridspine.things.wire_trace import MAX_ON_S, RingTrace

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=MAX_ON_S)]
_Peer = Annotated[str, msgspec.Meta(max_length=200)]


class TraceWish(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """For how long [s] to show what is said, and only with peers in whose name ``peer`` occurs."""

    for_s: _Seconds = 600.0
    peer: _Peer = ""


class LineView(msgspec.Struct, frozen=True, rename="camel"):
    """One thing said; ``out`` is to the device, ``in`` by it, ``note`` the adapter's own word."""

    number: int
    time: str
    direction: Literal["in", "out", "note"]
    peer: str
    text: str
    cut: bool


class TraceView(msgspec.Struct, frozen=True, rename="camel"):
    """The trace of an adapter's wire: how long it stays on, how many lines were too many, and the lines."""

    adapter: str
    on: bool
    left_s: float
    dropped: int
    lines: list[LineView]


@post("/adapters/{adapter:str}/trace", status_code=200, summary="Show what an adapter and its devices say",
      tags=["node"])  # fmt: skip
async def trace_adapter(
    request: Request[Any, Any, Any], node: TheNode, adapter: FromPath[str], data: JSONBody[TraceWish]
) -> TraceView:
    """Keep what is said on the adapter's wire from now on, for `forS` seconds; secrets are taken out. Only for
    operators of the organisation that runs the node."""
    node.authority.on_node(request.user, "adapter.trace")
    trace = node.adapters.wire_trace(adapter)
    trace.turn_on(data.for_s, data.peer)
    return _view(adapter, trace, after=0)


@get("/adapters/{adapter:str}/trace", summary="Read what an adapter and its devices say", tags=["node"])
async def read_trace(
    request: Request[Any, Any, Any],
    node: TheNode,
    adapter: FromPath[str],
    after: Annotated[int, QueryParameter(ge=0, description="Only lines after this number.")] = 0,
) -> TraceView:
    """Return the latest lines that were kept since the trace was turned on."""
    node.authority.on_node(request.user, "adapter.trace")
    return _view(adapter, node.adapters.wire_trace(adapter), after)


@delete("/adapters/{adapter:str}/trace", summary="Stop showing what an adapter and its devices say", tags=["node"])
async def end_trace(request: Request[Any, Any, Any], node: TheNode, adapter: FromPath[str]) -> None:
    """Keep nothing more, and forget what was kept."""
    node.authority.on_node(request.user, "adapter.trace")
    node.adapters.wire_trace(adapter).turn_off()


def _view(adapter: str, trace: RingTrace, after: int) -> TraceView:
    left_s = trace.left_s
    lines = [
        LineView(one.number, format_rfc3339(one.at_us), one.direction, one.peer, one.text, one.cut)
        for one in trace.lines(after)
    ]
    return TraceView(adapter, trace.on, round(left_s, 1), trace.dropped, lines)
