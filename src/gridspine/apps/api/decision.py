"""Decisions: why something was permitted or denied, for those who may know."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.authority import AUDIT
from gridspine.apps.node.node import Node
from gridspine.infra.log.writer import append
from gridspine.infra.policy.entity import Decision
from gridspine.kernel.errors import NotFound

_LOOKED_AT = 50_000
_AT_ONCE = 2_000


@get("/decisions/{decision_id:str}", summary="Ask why", tags=["identity"])
async def read_decision(request: Request[Any, Any, Any], node: TheNode, decision_id: FromPath[str]) -> Decision:
    """Return one of the newest 50 000 decisions with its reason; for auditors of the node."""
    node.authority.on_node(request.user, "audit.read")
    await append(node.writer, [], source="audit")  # behind those that are on their way to the log
    found = await asyncio.to_thread(_find, node, decision_id)
    if found is None:
        raise NotFound("there is no such decision among the newest")
    return found


def _find(node: Node, wanted: str) -> Decision | None:
    """Look for a decision in the audit topic, the newest first; blocks."""
    first, at = node.log.bounds(AUDIT)[0]
    last = max(first, at - _LOOKED_AT)
    mark = wanted.encode()
    while at > last:
        start = max(last, at - _AT_ONCE)
        for record in node.log.read(AUDIT, 0, start, max_records=at - start, max_bytes=64 << 20):
            if mark in record.body:
                decision = msgspec.json.decode(record.body, type=Decision)
                if decision.id == wanted:
                    return decision
        at = start
    return None
