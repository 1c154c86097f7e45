"""When a server that is followed is asked: at its own rate, at once when somebody says so, slower while it is away.

::

    ok ── poll_s ──► ok ── poll_s ──► no ─ 5 s ─► no ─ 10 s ─► no ─ … 10 min ─► ok ── poll_s ──►
         └ sooner: a report is due, `wake`      └ as it says where it says when

Whoever wakes it, a server among them that tells of many changes, does not make it ask without a rest: after an answer
for `REST_S`, after none for a few seconds, and where it is to be left alone for as long as that is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gridspine.infra.runtime.waiting import back_off_s, pause
from gridspine.kernel.errors import GridspineError, Overloaded
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding

LONGEST_S, _LEAST_S = 600.0, 5.0
"""How long one that does not answer is left alone, at most and at first [s]."""
REST_S = 0.5
"""How long one that answers is left alone at least [s]."""
_LOG = logging.getLogger(__name__)


class Pace:
    """The pace of one follower, which also says of its Thing whether the server answers, in its point *connected*."""

    def __init__(self, context: AdapterContext, binding: Binding, peer: str) -> None:
        self._context, self._binding, self._peer = context, binding, peer
        self._wake = asyncio.Event()
        self._said = ""

    def wake(self) -> None:
        """Ask at once, or as soon as it has rested."""
        self._wake.set()

    async def run(
        self, once: Callable[[], Awaitable[str]], poll_s: Callable[[], float], due_us: Callable[[], int]
    ) -> None:
        """Do ``once``, again and again until cancelled.

        It returns what of the server's words could not be kept, and raises what prevents all. ``poll_s`` returns how
        often the server is asked [s], ``due_us`` when something is to be done before [µs since 1970], 0 for never.
        """
        attempt = 0
        while True:
            self._wake.clear()
            try:
                problem = await once()
            except Overloaded as error:
                await self._tell(0, error.detail)
                pause_s = max(poll_s(), float(error.retry_after_s))
                rest_s = min(LONGEST_S, max(_LEAST_S, float(error.retry_after_s)))
            except GridspineError as error:
                await self._tell(0, error.detail)
                rest_s, most_s = min(_LEAST_S, poll_s()), max(poll_s(), LONGEST_S)
                pause_s = back_off_s(self._context.clock, attempt, least_s=rest_s, most_s=most_s)
                attempt += 1
            else:
                await self._tell(1, problem)
                attempt, pause_s, rest_s, at_us = 0, poll_s(), REST_S, due_us()
                if at_us:
                    pause_s = min(pause_s, max(1.0, (at_us - self._context.clock.now_us()) / US))
            await self._wait(pause_s, min(rest_s, pause_s))

    async def _wait(self, pause_s: float, rest_s: float) -> None:
        """Return after ``pause_s`` [s], or when somebody wakes it, but not before ``rest_s`` [s]."""
        clock = self._context.clock
        began_us = clock.monotonic_us()
        await clock.sleep(rest_s)
        await pause(clock, max(0.0, pause_s - (clock.monotonic_us() - began_us) / US), self._wake)

    async def _tell(self, connected: int, problem: str) -> None:
        """Report whether it answers, and log what is wrong once."""
        thing = self._binding.thing
        if problem != self._said:
            _LOG.warning("%s: %s", thing, problem or "the server answers, and all of it is kept")
            self._said = problem
        self._context.trace("note", problem or "read", peer=self._peer)
        if "connected" not in self._binding.points:
            return
        row = (point_id(thing, "connected"), "code", self._context.clock.now_us(), float(connected), 0)
        try:
            await self._context.intake(named_readings([row]), self._context.source_of(thing))
        except GridspineError as error:
            _LOG.warning("%s: that it is connected was not kept: %s", thing, error.detail)
