"""Requests to an adapter's Things, carried out beside each other: each in a task of its own, and only so many."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from gridspine.things.adapter import ActionRequest, AdapterContext, RequestEnd

log = logging.getLogger(__name__)
R = TypeVar("R")
Ended = tuple[RequestEnd, Any, str]
"""What became of a request: how it ended, its output, and the reason in words."""


async def serve_requests(
    context: AdapterContext, carry_out: Callable[[ActionRequest], Awaitable[Ended]], most: int
) -> None:
    """Have ``carry_out`` see to each request, for ever, and tell how it ended; beyond ``most`` it is refused."""

    def refuse(request: ActionRequest) -> None:
        context.request_ended(request.id, "refused", None, f"{most} are under way: ask again")

    await each_in_a_task(
        context.requests(), lambda one: _serve(context, carry_out, one), refuse, most,
        lambda one: f"{one.action} {one.thing}",
    )  # fmt: skip


async def each_in_a_task(
    requests: AsyncIterator[R],
    work: Callable[[R], Coroutine[Any, Any, None]],
    refuse: Callable[[R], None],
    most: int,
    name: Callable[[R], str],
) -> None:
    """Have ``work`` see to each of ``requests`` in a task of that ``name``; ``refuse`` those beyond ``most`` at once.

    What is under way is cancelled, and has ended, when this ends.
    """
    under_way: set[asyncio.Task[None]] = set()
    try:
        async for request in requests:
            if len(under_way) >= most:
                refuse(request)
                continue
            task = asyncio.create_task(work(request), name=name(request))
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
