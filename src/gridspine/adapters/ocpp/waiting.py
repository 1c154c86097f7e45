"""Waiting with the injected clock."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gridspine.infra.runtime.clock import Clock

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


async def first_to_end(*parts: Coroutine[Any, Any, None]) -> None:
    """Run ``parts`` together until one ends, and raise what it raised; then end the others and wait for them."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
