"""`Grouped`: the works of many callers in one transaction, so that they share what one flush to disk costs.

::

    caller ─ work ─┐
    caller ─ work ─┼─► BEGIN work work work COMMIT ─► after ─► each caller its own outcome
    caller ─ work ─┘   (meanwhile the next ones gather)
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gridspine.infra.registry.port import Registry, Transaction
from gridspine.kernel.errors import GridspineError, Overloaded

R = TypeVar("R")
MAX_WAITING = 20_000
"""Works that may wait for the next transaction."""
_AT_ONCE = 1_000


class Grouped(Generic[R]):
    """Works on ``registry``; ``after`` is called on the event loop with what a transaction brought, once it is kept.

    A work that refuses raises a `GridspineError` before it writes anything.
    """

    def __init__(self, registry: Registry, after: Callable[[Sequence[R]], None]) -> None:
        self._registry = registry
        self._after = after
        self._waiting: list[tuple[Callable[[Transaction], R], asyncio.Future[R | GridspineError]]] = []
        self._running: asyncio.Task[None] | None = None

    async def do(self, work: Callable[[Transaction], R]) -> R | GridspineError:
        """Do ``work`` in one of the next transactions; return its result, or the error by which it refused.

        Raises what the transaction as a whole ended in; it may be committed nevertheless.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many changes of standing data wait: try again later")
        future: asyncio.Future[R | GridspineError] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="grouped-transactions")
        return await future

    async def _run(self) -> None:
        while self._waiting:
            turn, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            try:
                outcomes = await self._registry.run(lambda tx, turn=turn: [_tried(work, tx) for work, _ in turn])  # type: ignore[misc]
                self._after([one for one in outcomes if not isinstance(one, GridspineError)])
            except Exception as error:
                for _, future in turn:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), outcome in zip(turn, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)


def _tried(work: Callable[[Transaction], R], tx: Transaction) -> R | GridspineError:
    try:
        return work(tx)
    except GridspineError as error:
        return error
