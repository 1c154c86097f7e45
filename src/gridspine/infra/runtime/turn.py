"""Long work on the event loop, in turns: others are served in between."""

import asyncio

from gridspine.infra.runtime.clock import Clock

TURN_US = 5_000
"""How long one turn lasts, but for its last piece [µs]."""
MOST_PIECES = 200
"""Pieces of one turn at most, whatever the clock says."""


class Turn:
    """Work that is done piece by piece. Lives on the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_us = clock.monotonic_us()
        self._pieces = 0

    async def piece_done(self) -> None:
        """Let others have their turn when this one has lasted long enough; call it after each piece."""
        self._pieces += 1
        if self._pieces >= MOST_PIECES or self._clock.monotonic_us() - self._since_us >= TURN_US:
            await asyncio.sleep(0)
            self._pieces, self._since_us = 0, self._clock.monotonic_us()
