"""Requests to an adapter's Things, carried out beside each other: each in a task of its own, and only so many."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from gridspine.things.adapter import ActionRequest, AdapterContext, RequestEnd

log = logging.getLogger(__name__)
Ended = tuple[RequestEnd, Any, str]
"""What became of a request: how it ended, its output, and the reason in words."""


async def serve_requests(
    context: AdapterContext, carry_out: Callable[[ActionRequest], Awaitable[Ended]], most: int
) -> None:
    """Have ``carry_out`` see to each request, for ever, and tell how it ended; beyond ``most`` it is refused."""
    under_way: set[asyncio.Task[None]] = set()
    try:
        async for request in context.requests():
            if len(under_way) >= most:
                context.request_ended(request.id, "refused", None, f"{most} are under way: ask again")
                continue
            task = asyncio.create_task(_serve(context, carry_out, request), name=f"{request.action} {request.thing}")
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _serve(
    context: AdapterContext, carry_out: Callable[[ActionRequest], Awaitable[Ended]], request: ActionRequest
) -> None:
    state: RequestEnd = "failed"
    output, reason = None, "the node stops"
    try:
        state, output, reason = await carry_out(request)
    finally:
        context.request_ended(request.id, state, output, reason)
        log.info("asked: thing=%s action=%s %s %s", request.thing, request.action, state, reason)
