"""Waiting with the injected clock: time-outs, back-off, and tasks that stand or fall together."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from gridspine.infra.runtime.clock import Clock

S = TypeVar("S")
T = TypeVar("T")


async def within(clock: Clock, timeout_s: float, work: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    """Return what ``work`` gives within ``timeout_s`` [s] of ``clock``; else cancel it and raise `TimeoutError`."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(timeout_s))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise TimeoutError(f"nothing within {timeout_s:g} s")
    finally:
        task.cancel()
        timer.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)


async def all_done(one: Coroutine[Any, Any, T], other: Awaitable[S]) -> tuple[T, S]:
    """Return what both give when both have ended; raise what one of them raised, then too only when both have."""
    found, beside = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(found, BaseException):
        raise found
    if isinstance(beside, BaseException):
        raise beside
    return found, beside


def back_off_s(clock: Clock, attempt: int, *, least_s: float, most_s: float) -> float:
    """Return how long to wait [s] before ``attempt`` (from 0): doubling, and a random half of it off.

    The jitter keeps a thousand nodes from coming back in the same second.
    """
    whole_s = min(most_s, least_s * 2.0 ** min(attempt, 32))
    return whole_s * (0.5 + 0.5 * int.from_bytes(clock.randbytes(4), "big") / 0xFFFF_FFFF)


async def first_to_end(*parts: Coroutine[Any, Any, None]) -> None:
    """Run ``parts`` together until one ends, and raise what it raised; then, or cancelled, end the others and wait."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
