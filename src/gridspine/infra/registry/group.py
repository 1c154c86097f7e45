"""`Grouped`: what many callers ask for in one transaction, so that they share what one flush to disk costs.

::

    caller ─ asked ─┐
    caller ─ asked ─┼─► BEGIN work(all asked) COMMIT ─► after ─► each caller its own outcome
    caller ─ asked ─┘   (meanwhile the next ones gather)
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gridspine.infra.registry.port import Registry, Transaction
from gridspine.kernel.errors import GridspineError, Overloaded

A = TypeVar("A")
R = TypeVar("R")
MAX_WAITING = 20_000
"""Callers that may wait for the next transaction."""
_AT_ONCE = 1_000


class Grouped(Generic[A, R]):
    """Transactions of ``registry``, in which ``work`` does what was asked and returns an outcome for each in turn.

    An outcome that is a `GridspineError` is the refusal of one who asked: nothing was written for it. ``after`` is
    called on the event loop with what a transaction brought, once it is kept.
    """

    def __init__(
        self,
        registry: Registry,
        work: Callable[[Transaction, Sequence[A]], Sequence[R | GridspineError]],
        after: Callable[[Sequence[R]], None],
    ) -> None:
        self._registry = registry
        self._work = work
        self._after = after
        self._waiting: list[tuple[A, asyncio.Future[R | GridspineError]]] = []
        self._running: asyncio.Task[None] | None = None

    async def do(self, asked: A) -> R | GridspineError:
        """Do what is ``asked`` in one of the next transactions; return the outcome, or the error that refuses it.

        Raises what the transaction as a whole ended in; it may be committed nevertheless.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many changes of standing data wait: try again later")
        future: asyncio.Future[R | GridspineError] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="grouped-transactions")
        return await future

    async def _run(self) -> None:
        while self._waiting:
            turn, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            try:
                asked = [one for one, _ in turn]
                outcomes = await self._registry.run(lambda tx, asked=asked: self._work(tx, asked))  # type: ignore[misc]
                self._after([one for one in outcomes if not isinstance(one, GridspineError)])
            except Exception as error:
                for _, future in turn:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), outcome in zip(turn, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)
