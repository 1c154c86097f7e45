"""Time and randomness, injected everywhere: production uses `SystemClock`, tests and simulations `VirtualClock`."""

import asyncio
import heapq
import os
import random
import time
from typing import Protocol

from gridspine.kernel.ids import uuid7
from gridspine.kernel.time import US

_ID_BYTES, _FETCHED = 10, 256
"""What `uuid7` asks for, and how many of them are fetched at once: each call lets another thread have its turn."""
_for_ids: list[bytes] = []
os.register_at_fork(after_in_child=_for_ids.clear)


class Clock(Protocol):
    """Where time and randomness come from."""

    def now_us(self) -> int:
        """Return the wall-clock time [µs since 1970 UTC]; it may jump."""
        ...

    def monotonic_us(self) -> int:
        """Return a time [µs] that never goes back; its zero means nothing."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` [s] of this clock."""
        ...

    def randbytes(self, n: int) -> bytes:
        """Return ``n`` random bytes, fit for keys and nonces in production."""
        ...


class SystemClock:
    """The machine's own clock and randomness."""

    def now_us(self) -> int:
        """Return the wall-clock time [µs since 1970 UTC]."""
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        """Return the monotonic time [µs]."""
        return time.monotonic_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        """Sleep ``seconds`` [s]."""
        await asyncio.sleep(seconds)

    def randbytes(self, n: int) -> bytes:
        """Return ``n`` bytes from the operating system; the few that an id takes were fetched with those of others."""
        if n != _ID_BYTES:
            return os.urandom(n)
        try:
            return _for_ids.pop()
        except IndexError:
            fetched = os.urandom(_FETCHED * _ID_BYTES)
            _for_ids.extend(fetched[at : at + _ID_BYTES] for at in range(_ID_BYTES, len(fetched), _ID_BYTES))
            return fetched[:_ID_BYTES]


class VirtualClock:
    """A clock that a test moves by hand: ``advance`` wakes sleepers in order; randomness comes from a seed."""

    def __init__(self, now_us: int = 1_767_225_600 * US, seed: int = 0) -> None:
        self._now_us = now_us
        self._monotonic_us = 0
        self._random = random.Random(seed)  # noqa: S311 - a simulation must repeat itself
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._sequence = 0

    def now_us(self) -> int:
        """Return the virtual wall-clock time [µs]."""
        return self._now_us

    def monotonic_us(self) -> int:
        """Return the virtual monotonic time [µs]."""
        return self._monotonic_us

    def randbytes(self, n: int) -> bytes:
        """Return ``n`` bytes of the seeded sequence."""
        return self._random.randbytes(n)

    async def sleep(self, seconds: float) -> None:
        """Wait until ``advance`` has moved the clock ``seconds`` [s] on."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sequence += 1
        heapq.heappush(self._sleepers, (self._monotonic_us + round(seconds * US), self._sequence, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time on by ``seconds`` [s], letting every sleeper that falls due run in its turn."""
        goal = self._monotonic_us + round(seconds * US)
        while self._sleepers and self._sleepers[0][0] <= goal:
            due, _, future = heapq.heappop(self._sleepers)
            self._move_to(due)
            if not future.done():
                future.set_result(None)
            for _ in range(10):
                await asyncio.sleep(0)
        self._move_to(goal)
        await asyncio.sleep(0)

    def step_wall(self, seconds: float) -> None:
        """Jump the wall clock by ``seconds`` [s] (either way) without moving monotonic time."""
        self._now_us += round(seconds * US)

    def _move_to(self, monotonic_us: int) -> None:
        self._now_us += monotonic_us - self._monotonic_us
        self._monotonic_us = monotonic_us


class Steps:
    """Notices when the wall clock was set: when it moves otherwise than monotonic time, by more than `LEAST_US`."""

    LEAST_US = 1_000_000

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked_us = clock.monotonic_us()
        self._offset_us = clock.now_us() - self._looked_us

    def take(self) -> tuple[int, int]:
        """Return by how much the clock was set since the last look [µs], 0 mostly, and how long ago that was [µs]."""
        now_us, looked_us = self._clock.monotonic_us(), self._looked_us
        step_us = self._clock.now_us() - now_us - self._offset_us
        self._offset_us += step_us
        self._looked_us = now_us
        return (step_us if abs(step_us) > self.LEAST_US else 0), now_us - looked_us

    @property
    def pending(self) -> bool:
        """Whether `take` would tell of a step now."""
        return abs(self._clock.now_us() - self._clock.monotonic_us() - self._offset_us) > self.LEAST_US


def new_id(clock: Clock) -> str:
    """Return a new time-ordered UUID (version 7) as text."""
    return str(uuid7(clock.now_us(), clock.randbytes))


def new_urn(clock: Clock) -> str:
    """Return a new ``urn:uuid:`` name."""
    return f"urn:uuid:{new_id(clock)}"
