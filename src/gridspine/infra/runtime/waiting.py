"""Waiting with the injected clock: time-outs, back-off, and tasks that stand or fall together."""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from gridspine.infra.runtime.clock import Clock

S = TypeVar("S")
T = TypeVar("T")


class Change:
    """That something changed, for tasks that look at it, work, and then wait: none misses what changed meanwhile.

    Lives on the event loop.
    """

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self._looked: WeakKeyDictionary[asyncio.Task[Any], asyncio.Event] = WeakKeyDictionary()

    def look(self) -> None:
        """Note that the running task looks now: its next `wait` returns at once if anything changes before."""
        with contextlib.suppress(RuntimeError):  # beside the loop nobody waits
            if (task := asyncio.current_task()) is not None:
                self._looked.setdefault(task, self._next)

    async def wait(self) -> None:
        """Return when it changed: after the running task looked, or where it did not, after this call."""
        task = asyncio.current_task()
        event = self._next if task is None else self._looked.pop(task, self._next)
        await event.wait()

    def tell(self) -> None:
        """Let all who wait, and who are about to, look again."""
        self._next.set()
        self._next = asyncio.Event()


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


async def pause(clock: Clock, pause_s: float, wake: asyncio.Event) -> None:
    """Return after ``pause_s`` [s] of ``clock``, or as soon as ``wake`` is set."""
    with contextlib.suppress(TimeoutError):
        await within(clock, pause_s, wake.wait())


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
