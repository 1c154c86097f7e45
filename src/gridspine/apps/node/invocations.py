"""Invocations of actions that are not commands: what was asked, how far it is, what came of it.

They live in memory, the last ones only: an action that the node does not live to see the end of is invoked again.
Commands have their own, durable story.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import Conflict, GridspineError, NotFound, Overloaded

MAX_KEPT = 10_000
"""Invocations that are remembered, of all Things."""
MAX_OUTPUT_BYTES = 32 << 20
"""What the outputs of invocations that are remembered may take together [bytes]; the oldest are forgotten first."""
MAX_RUNNING_EACH = 100
"""Invocations of one principal that run at once."""
Status = Literal["pending", "running", "completed", "failed"]
"""How far an action is (W3C WoT Profile, ActionStatus)."""


class Invocation(msgspec.Struct):
    """One invocation of an action; times in µs since 1970, ``error`` is a problem document (RFC 9457)."""

    id: str
    thing: str
    action: str
    principal: str
    requested_us: int
    status: Status = "running"
    ended_us: int = 0
    output: Any = None
    error: dict[str, Any] | None = None
    output_bytes: int = 0


class Invocations:
    """The invocations of a node; lives on the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, Invocation] = OrderedDict()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._output_bytes = 0

    def begin(self, thing: str, action: str, principal: str, work: Callable[[], Awaitable[Any]]) -> Invocation:
        """Start ``work``, whose result is the action's output; raise `Overloaded` when too many run."""
        running = sum(self._kept[id_].principal == principal for id_ in self._running if id_ in self._kept)
        if running >= MAX_RUNNING_EACH:
            raise Overloaded(f"{MAX_RUNNING_EACH} actions of yours are running: wait for some to end")
        one = Invocation(new_id(self._clock), thing, action, principal, self._clock.now_us())
        self._kept[one.id] = one
        if len(self._kept) > MAX_KEPT:
            self._forget_oldest()
        task = self._running[one.id] = asyncio.ensure_future(self._run(one, work))
        task.add_done_callback(lambda _: self._running.pop(one.id, None))
        return one

    def get(self, thing: str, action: str, id: str) -> Invocation:
        """Return an invocation; raise `NotFound`."""
        one = self._kept.get(id)
        if one is None or (one.thing, one.action) != (thing, action):
            raise NotFound("there is no such invocation, or it was long ago")
        return one

    def of(self, thing: str, action: str) -> list[Invocation]:
        """Return the invocations of an action that are remembered, the newest first."""
        return [one for one in reversed(self._kept.values()) if (one.thing, one.action) == (thing, action)]

    def cancel(self, one: Invocation) -> None:
        """Give an invocation up; raise `Conflict` when it is over."""
        task = self._running.get(one.id)
        if task is None:
            raise Conflict(f"the action is {one.status}: it cannot be cancelled any more")
        task.cancel()

    async def close(self) -> None:
        """Give all up: the node is stopping."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, one: Invocation, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            one.output = await work()
            one.status, one.output_bytes = "completed", len(msgspec.json.encode(one.output))
            self._output_bytes += one.output_bytes
            while self._output_bytes > MAX_OUTPUT_BYTES:
                self._forget_oldest()
        except GridspineError as error:
            one.status, one.error = "failed", error.problem()
        except asyncio.CancelledError:
            one.status, one.error = "failed", Conflict("it was cancelled").problem()
            raise
        except Exception:
            one.status, one.error = "failed", GridspineError("it failed inside the node").problem()
            raise
        finally:
            one.ended_us = self._clock.now_us()

    def _forget_oldest(self) -> None:
        oldest = next((id_ for id_ in self._kept if id_ not in self._running), next(iter(self._kept)))
        self._output_bytes -= self._kept.pop(oldest).output_bytes
