"""What an adapter and its devices say to each other, looked at for a while; secrets are taken out before it is kept."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.adapter import TraceView, TraceWish, end_trace, read_trace, trace_adapter
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.apps.portal.connection import PROTOCOLS
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import Invalid

SHOWN = 300
"""Lines shown, the newest."""
FOR_S = {"60": "a minute", "600": "ten minutes", "3600": "an hour"}
MAX_PEER = 200


@get("/portal/wires/{adapter:str}")
async def wire_page(request: PortalRequest, node: TheNode, adapter: FromPath[str]) -> Response[Any]:
    """Show what is said on an adapter's wire, for operators of who runs the node; each look is on record."""
    view = await read_trace.fn(request, node, adapter, 0)
    return _page(request, node, view)


@post("/portal/wires/{adapter:str}/{verb:str}", status_code=200)
async def change_wire(
    request: PortalRequest, node: TheNode, adapter: FromPath[str], verb: FromPath[str]
) -> Response[Any]:  # fmt: skip
    """Look for a while from now on (*watch*), or stop and forget what was seen (*stop*)."""
    fields = await form(request)
    if verb == "watch":
        if fields.get("for", "") not in FOR_S:
            raise Invalid("For: choose one of those that are offered")
        await trace_adapter.fn(
            request, node, adapter, TraceWish(float(fields["for"]), fields.get("peer", "")[:MAX_PEER])
        )
    elif verb == "stop":
        await end_trace.fn(request, node, adapter)
    else:
        raise Invalid("a wire is watched, or no more")
    return await wire_page.fn(request, node, adapter)  # type: ignore[no-any-return]


def _page(request: PortalRequest, node: Node, view: TraceView) -> Response[Any]:
    return page(
        request, node, "parts/wire.html" if is_part(request) else "wire.html", current="connections", view=view,
        lines=view.lines[: -SHOWN - 1 : -1], more=max(0, len(view.lines) - SHOWN), for_s=FOR_S,
        protocol=PROTOCOLS.get(view.adapter, view.adapter),
    )  # fmt: skip
