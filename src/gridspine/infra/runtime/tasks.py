"""Supervised tasks: each has a name, is started again with back-off when it fails, and ends with the node."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from gridspine.infra.runtime.clock import Clock

log = structlog.get_logger(__name__)

FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.5, 30.0
_HEALTHY_AFTER_US = 60_000_000
T = TypeVar("T")


def heed_cancellation(error: BaseException | None = None) -> None:
    """Raise the cancellation of this task that ``error`` took the place of; whoever asked for it waits for its end.

    A cancellation is lost where a ``finally`` raises, where a child of a task group fails as its parent is cancelled
    (CPython 3.11), and in ``asyncio.wait_for`` (CPython 3.11) when what is waited for ends at the same time.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


async def to_the_end(work: Callable[[], T]) -> T:
    """Do ``work`` in a thread; whoever is cancelled meanwhile still waits for its end: nothing follows too soon."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        if (error := working.exception()) is not None:
            log.warning("what was being done when its task was ended failed", error=str(error))
        raise


@dataclass(slots=True)
class TaskState:
    """How a task is doing: ``failures`` in a row, and the last error as text; none once it ran for a minute."""

    name: str
    running: bool = True
    failures: int = 0
    error: str = ""
    started_us: int | None = None
    """When it was started last, on the monotonic clock [µs]; None while it waits to be."""
    restarts: int = 0
    """How often it was started again since the node's start."""


class Supervisor:
    """Runs the node's long-lived tasks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._states: dict[str, TaskState] = {}

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` until it returns; when it raises, run it again after a while (0.5 s doubling to 30 s)."""
        assert name not in self._tasks, f"task {name} runs already"
        self._states[name] = TaskState(name)
        self._tasks[name] = asyncio.create_task(self._supervise(name, work), name=name)

    def states(self) -> list[TaskState]:
        """Return how every task is doing."""
        for state in self._states.values():
            if state.running and self._is_healthy(state):
                state.failures, state.error = 0, ""
        return list(self._states.values())

    async def stop(self, name: str) -> None:
        """Cancel one task and wait for its end."""
        task = self._tasks.pop(name, None)
        self._states.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Cancel all tasks, newest first, and wait for their end."""
        for name in reversed(list(self._tasks)):
            await self.stop(name)

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        state = self._states[name]
        while True:
            state.started_us = self._clock.monotonic_us()
            try:
                await work()
            except Exception as error:
                try:
                    heed_cancellation(error)
                except asyncio.CancelledError:
                    log.warning("task failed as it was ended", task=name, exc_info=error)
                    raise
                if self._is_healthy(state):
                    state.failures = 0
                state.started_us = None
                state.failures += 1
                state.error = f"{type(error).__name__}: {error}"
                log.exception("task failed and is started again", task=name, failures=state.failures)
                await self._clock.sleep(min(FIRST_BACK_OFF_S * 2 ** (state.failures - 1), LONGEST_BACK_OFF_S))
                state.restarts += 1
            else:
                state.running = False
                return

    def _is_healthy(self, state: TaskState) -> bool:
        return state.started_us is not None and self._clock.monotonic_us() - state.started_us > _HEALTHY_AFTER_US
