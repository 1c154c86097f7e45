"""The node's clock in a simulation: virtual time, a wall clock that can be put wrong, randomness from a seed."""

import asyncio
import random

from gridspine.kernel.time import US

BEGIN_US = 1_767_225_600 * US
"""2026-01-01T00:00:00Z, when every simulation begins."""


class SimClock:
    """A `gridspine.infra.runtime.clock.Clock` on the loop's time. Each start of a node gets a new one.

    ``wall_us`` is how far the wall clock is off the true time [µs]; the monotonic clock begins at 0.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, dice: random.Random, wall_us: int) -> None:
        self._loop = loop
        self._dice = dice
        self._begun_s = loop.time()
        self.wall_us = wall_us

    def now_us(self) -> int:
        """Return the wall-clock time [µs since 1970 UTC]; it may jump."""
        return BEGIN_US + self.wall_us + round(self._loop.time() * US)

    def monotonic_us(self) -> int:
        """Return the time since the start [µs]."""
        return round((self._loop.time() - self._begun_s) * US)

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` [s] of virtual time."""
        await asyncio.sleep(seconds)

    def randbytes(self, n: int) -> bytes:
        """Return ``n`` bytes of the seed's sequence."""
        return self._dice.randbytes(n)
