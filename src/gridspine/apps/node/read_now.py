"""Read now: asks the adapter of a Thing to read it at once, and waits until what was read is durable.

One request for a Thing at a time; whoever asks meanwhile for the same waits for the same answer. Nothing is kept: a
request that the node does not live to see the end of is simply asked again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.infra.runtime.takers import Takers
from gridspine.kernel.errors import Conflict, Overloaded, Unavailable
from gridspine.things.adapter import ReadRequest
from gridspine.things.directory import Directory

MAX_WAITING = 1_000
"""Requests under way at most, over all adapters."""
TIMEOUT_S = 30.0
"""How long a device has to be read [s]."""


class Reads:
    """Requests to read devices, from callers to adapters."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._takers: Takers[ReadRequest] = Takers(MAX_WAITING)
        self._ends: dict[str, tuple[str, asyncio.Future[str]]] = {}
        """By request, the adapter that was asked, and the end that is waited for."""
        self._under_way: dict[tuple[str, tuple[str, ...]], str] = {}

    async def read(self, thing: str, points: Sequence[str] = ()) -> None:
        """Return when ``points`` (none: all) of ``thing`` were read and kept.

        Raises `Conflict` when it has no adapter that reads on request, `Unavailable` with the reason when the device
        could not be read, `Overloaded` when too many requests wait.
        """
        wanted = (thing, tuple(sorted(set(points))))
        known = self._under_way.get(wanted)
        end = self._ends[known][1] if known else self._ask(thing, wanted)
        problem = await asyncio.shield(end)
        if problem:
            raise Unavailable(problem)

    def requests(self, adapter: str) -> AsyncIterator[ReadRequest]:
        """Yield requests for Things of ``adapter``."""
        return self._takers.taken(adapter)

    def ended(self, id: str, problem: str = "", *, by: str = "") -> None:
        """Note that request ``id`` is over. Only the adapter that was asked may say it (``by``)."""
        asked, end = self._ends.get(id, ("", None))
        if end is not None and not end.done() and by in {"", asked}:
            end.set_result(problem)

    def _ask(self, thing: str, wanted: tuple[str, tuple[str, ...]]) -> "asyncio.Future[str]":
        adapter = self._directory.get(thing).adapter
        if not self._takers.runs(adapter):
            raise Conflict(f"{thing} cannot be read on request: it reports by itself, or its adapter does not run")
        request = ReadRequest(new_urn(self._clock), thing, wanted[1])
        if len(self._ends) >= MAX_WAITING or not self._takers.put(adapter, request):
            raise Overloaded(f"{MAX_WAITING} devices are being read: ask again later")
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ends[request.id], self._under_way[wanted] = (adapter, end), request.id
        forget = asyncio.ensure_future(self._forget(request.id, wanted, end))
        end.add_done_callback(lambda _: forget.cancel())
        return end

    async def _forget(self, id: str, wanted: tuple[str, tuple[str, ...]], end: "asyncio.Future[str]") -> None:
        """Forget a request when it is over, or its time is."""
        try:
            await self._clock.sleep(TIMEOUT_S)
            self.ended(id, f"the device was not read within {TIMEOUT_S:g} s")
        finally:
            self._ends.pop(id, None)
            self._under_way.pop(wanted, None)
