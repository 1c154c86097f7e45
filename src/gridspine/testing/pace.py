"""Virtual time beside real sockets: it moves in small steps, and what is on its way arrives between them."""

import asyncio
import time
from collections.abc import Callable

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.testing.verdict import Failed

STEP_S = 0.25
_PAUSE_S = 0.001
_TURNS = 8


class Pace:
    """Moves ``clock``; a wait that fails gives real things ``patience_s`` [s] more while time stands still.

    ``look`` is called at every step, and raises what has gone wrong meanwhile.
    """

    def __init__(self, clock: VirtualClock, look: Callable[[], None], patience_s: float) -> None:
        self._clock, self._look, self.patience_s = clock, look, patience_s

    async def until(self, condition: Callable[[], object], what: str, within_s: float) -> None:
        """Return once ``condition()`` holds; raise `Failed` when ``within_s`` [s] of virtual time passed without."""
        passed_s = 0.0
        while not condition() and passed_s < within_s:
            await self._step()
            passed_s += STEP_S
        until = time.monotonic() + self.patience_s
        while not condition():
            if time.monotonic() > until:
                raise Failed(f"{what}: not within {within_s:g} s")
            self._look()
            await asyncio.sleep(0.01)

    async def passes(self, seconds: float) -> None:
        """Let ``seconds`` [s] of virtual time pass."""
        for _ in range(round(seconds / STEP_S)):
            await self._step()

    async def _step(self) -> None:
        self._look()
        await self._clock.advance(STEP_S)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        await asyncio.sleep(_PAUSE_S)
