"""What waits for those who carry it out: a bounded queue for each taker, by name."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Takers(Generic[T]):
    """Queues of up to ``most`` items. Two takers of one name: the later one gets what comes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queues: dict[str, asyncio.Queue[T | None]] = {}

    async def taken(self, name: str, begin: Callable[[], Iterable[T]] = tuple) -> AsyncGenerator[T, None]:
        """Yield what ``begin`` returns, then each new item; after `begin_again` the same from the beginning."""
        queue: asyncio.Queue[T | None] = asyncio.Queue(self._most)
        self._queues[name] = queue
        try:
            while True:
                for item in begin():
                    yield item
                while (following := await queue.get()) is not None:
                    yield following
        finally:
            if self._queues.get(name) is queue:
                del self._queues[name]

    def runs(self, name: str) -> bool:
        """Whether somebody takes what is put under ``name``."""
        return name in self._queues

    def put(self, name: str, item: T) -> bool:
        """Have ``item`` wait for its taker; False where none runs, or too much waits for it."""
        queue = self._queues.get(name)
        if queue is None or queue.full():
            return False
        queue.put_nowait(item)
        return True

    def begin_again(self, name: str) -> bool:
        """Give up what waits for a taker, which then begins anew; False where none runs."""
        queue = self._queues.get(name)
        if queue is None:
            return False
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)
        return True
