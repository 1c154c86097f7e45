"""Whose notification is posted next: receivers that answer have seats of their own, beside those that are yet to.

::

    a receiver that answered last time   ─► 48 seats, 8 of them for one client
    one that never did, or failed        ─► 16 seats, one for each receiver

So however many receivers hold their connections open, those that answer are told.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

AT_ONCE, AT_ONCE_NEW, AT_ONCE_OF_ONE = 48, 16, 8
_KNOWN = 20_000


class Seats:
    """Seats for posts. Lives on the event loop."""

    def __init__(self) -> None:
        self._room, self._new_room = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE_NEW)
        self._answering: dict[str, None] = {}
        self._of_one: dict[str, tuple[asyncio.Semaphore, list[None]]] = {}

    @contextlib.asynccontextmanager
    async def seat(self, client: str, receiver: str) -> AsyncIterator[None]:
        """Wait for a seat for a post of ``client`` to ``receiver``; how it ends decides on the next ones."""
        good = receiver in self._answering
        key = f"client {client}" if good else f"receiver {receiver}"
        # Who waits is counted: a semaphore is forgotten when nobody holds it or waits for it.
        one, users = self._of_one.setdefault(key, (asyncio.Semaphore(AT_ONCE_OF_ONE if good else 1), []))
        users.append(None)
        try:
            async with one, self._room if good else self._new_room:
                try:
                    yield
                except BaseException:
                    self._answering.pop(receiver, None)
                    raise
                if len(self._answering) >= _KNOWN:
                    self._answering.clear()
                self._answering[receiver] = None
        finally:
            users.pop()
            if not users:
                self._of_one.pop(key, None)
