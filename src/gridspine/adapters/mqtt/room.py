"""Room for messages that are on their way in: so many, of so many bytes, and who wants more waits."""

import asyncio
from collections.abc import Sequence


class Room:
    """At most ``messages`` of ``size`` [bytes] together; a single message larger than ``size`` goes in alone."""

    def __init__(self, messages: int, size: int) -> None:
        self._messages = messages
        self._size = size
        self._inside = 0
        self._inside_bytes = 0
        self._freed = asyncio.Event()

    async def enter(self, bodies: Sequence[bytes], at: int = 0) -> int:
        """Take in as many of ``bodies`` from ``at`` on as fit, one at least, waiting for it; return how many."""
        while True:
            free = min(self._messages - self._inside, len(bodies) - at)
            if free > 0 and (count := self._fitting(bodies, at, free)):
                self._inside += count
                return count
            self._freed.clear()
            await self._freed.wait()

    def leave(self, bodies: Sequence[bytes]) -> None:
        """Give back the room of ``bodies``."""
        self._inside -= len(bodies)
        self._inside_bytes -= sum(map(len, bodies))
        self._freed.set()

    def _fitting(self, bodies: Sequence[bytes], at: int, most: int) -> int:
        size = sum(map(len, bodies[at : at + most]))
        while self._inside_bytes + size > self._size:
            if most == 1:
                if self._inside:
                    return 0
                break
            most = (most + 1) // 2
            size = sum(map(len, bodies[at : at + most]))
        self._inside_bytes += size
        return most
