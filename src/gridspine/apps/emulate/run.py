"""Runs a fleet against a node: registers its Things, goes on step by step by an accelerated clock, tells orders."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Literal

import httpx
import numpy as np

from gridspine.apps.emulate.sheet import Sheets
from gridspine.energy.emulators.failure import Failing
from gridspine.energy.emulators.fleet import Fleet
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.kernel.readings import Float64Array
from gridspine.kernel.time import US, parse_rfc3339

ARROW = "application/vnd.apache.arrow.stream"
AT_ONCE = 10_000
"""Things in one request."""
_POSTS_AT_ONCE = 4
_LOOK_S = 1.0
OUTCOMES = ("received", "accepted", "suppressed", "duplicate", "refused")
Channel = Literal["emulated", "reported"]


@dataclass(slots=True)
class Total:
    """What was sent and became of it: ``steps``, ``outcome`` by name, the first ``problem``, ``orders`` taken."""

    steps: int = 0
    outcome: Counter[str] = field(default_factory=Counter)
    problem: str = ""
    orders: int = 0
    emulated_us: int = 0


class Run:
    """A fleet and the node it reports to, as ``http``, an authenticated client of it.

    ``prefix`` begins the ids of its Things; ``check`` returns an answer that went well and raises for another;
    ``failures`` are put over what is sent.
    """

    def __init__(
        self,
        fleet: Fleet,
        http: httpx.AsyncClient,
        check: Callable[[httpx.Response], httpx.Response],
        clock: Clock,
        *,
        prefix: str,
        channel: Channel = "emulated",
        seed: int = 0,
        failures: Sequence[Failing] = (),
    ) -> None:
        self._fleet, self._http, self._check, self._clock = fleet, http, check, clock
        self._prefix, self._channel, self._seed = prefix, channel, seed
        self._failures = failures
        self._sheets = Sheets(fleet.layout.names(prefix))
        self._told: dict[int, tuple[float, int]] = {}
        self._news: list[dict[str, Any]] | None = None
        self.total = Total()

    async def prepare(self) -> int:
        """Register the Things that the node does not know, and let what is emulated be so; return how many are new."""
        new = 0
        for batch in _batches(self._fleet.layout.things(self._prefix)):
            things = [{"id": id_, "title": _title(id_), "model": block.model} for id_, block in batch]
            answer = self._check(await self._http.post("/things/batch", json=things)).json()
            new += answer["registered"]
            for problem in answer["problems"]:
                if problem["reason"] != "conflict":
                    raise Invalid(f"{problem['id']}: {problem['detail']}")
        if self._channel == "emulated":
            for batch in _batches(self._fleet.layout.things(self._prefix)):
                await self._emulate([id_ for id_, _ in batch])
        return new

    async def run(self, step_s: float, steps: int | None, *, speed: float = 0.0) -> Total:
        """Go on by ``steps`` steps of ``step_s`` [s], or for ever, ``speed`` times as fast as the clock.

        A ``speed`` of 0 is as fast as it goes. A step that ends in the clock's future waits for it: once a fleet that
        began in the past has caught up, it is live.
        """
        began_us, start_us = self._clock.monotonic_us(), self._fleet.now_us
        looking = asyncio.create_task(self._look())
        sending: asyncio.Task[None] | None = None
        try:
            for number in count(1) if steps is None else range(1, steps + 1):
                self._instruct_news()
                values = await asyncio.to_thread(self._fleet.step, step_s)
                now_us = self._fleet.now_us
                if sending is not None:
                    await sending
                if looking.done():
                    looking.result()
                due_us = began_us + round((now_us - start_us) / speed) if speed else 0
                ahead_us = max(due_us - self._clock.monotonic_us(), now_us - self._clock.now_us())
                if ahead_us > 0:
                    await self._clock.sleep(ahead_us / US)
                sending = asyncio.create_task(self._send(values, now_us))
                self.total.steps, self.total.emulated_us = number, now_us - start_us
            if sending is not None:
                await sending
        finally:
            tasks = [looking] if sending is None else [looking, sending]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self.total

    # -- inside -------------------------------------------------------------------------------------------------

    async def _emulate(self, ids: list[str]) -> None:
        wanted = {"form": "emulator", "external": True, "seed": self._seed, "things": ids}
        views = self._check(await self._http.post("/things/form", json=wanted)).json()
        for view in views:
            if view["form"] != "emulator":
                raise Invalid(f"{view['thing']} cannot be emulated: {view['problem']}")

    async def _send(self, values: Float64Array, observed_us: int) -> None:
        """Send a step: some bodies at once, and all of them before the next step's."""
        present = np.ones(len(values), np.bool_)
        for failing in self._failures:
            values, here = failing.apply(values, observed_us)
            present &= here
        bodies = self._sheets.bodies(values, observed_us, present)
        while part := list(islice(bodies, _POSTS_AT_ONCE)):
            await asyncio.gather(*(self._post(body) for body in part))

    async def _post(self, body: bytes) -> None:
        headers = {"content-type": ARROW} | ({"channel": self._channel} if self._channel != "reported" else {})
        try:
            answer = await self._http.post("/readings", content=body, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(f"the node did not answer: {error or type(error).__name__}") from error
        outcome = self._check(answer).json()
        self.total.outcome.update({name: outcome[name] for name in OUTCOMES})
        if outcome["problems"] and not self.total.problem:
            first = outcome["problems"][0]
            self.total.problem = f"{first.get('name', '')}: {first['detail']}"

    async def _look(self) -> None:
        """Tell the fleet, again and again, what is in force at the node."""
        if self._channel != "emulated":
            return
        while True:
            self._news = [order async for order in self._orders()]
            await self._clock.sleep(_LOOK_S)

    async def _orders(self) -> AsyncIterator[dict[str, Any]]:
        after = ""
        while True:
            page = self._check(await self._http.get("/emulated/orders", params={"after": after})).json()
            for order in page["orders"]:
                yield order
            after = page["next"]
            if not after:
                return

    def _instruct_news(self) -> None:
        """Between two steps, for a step runs in a thread of its own."""
        if self._news is not None:
            self.instruct(self._news)
            self._news = None

    def instruct(self, orders: Iterable[dict[str, Any]]) -> None:
        """Let the fleet do what is in force, and nothing that is no more.

        A lease ends by the node's clock; the fleet's may be another. So an order holds in the fleet until the node
        says otherwise, or the lease's own end has come by the fleet's clock too.
        """
        wanted: dict[int, tuple[float, int]] = {}
        for order in orders:
            place = self._fleet.layout.place(self._prefix, order["thing"], order["point"])
            if place is not None and order["value"] is not None:
                wanted[place] = order["value"], parse_rfc3339(order["until"])
        changed = {place: told for place, told in wanted.items() if self._told.get(place) != told}
        ended = dict.fromkeys(self._told.keys() - wanted.keys(), (float("nan"), 0))
        news = changed | ended
        if news:
            value, until_us = (np.array(column) for column in zip(*news.values(), strict=True))
            places = np.fromiter(news, np.int32, len(news))
            self._fleet.order(places, value.astype(np.float64), until_us.astype(np.int64))
            self.total.orders += len(changed)
        self._told = wanted


def _batches(things: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(things, AT_ONCE)):
        yield batch


_SHORT = {"chp", "ev", "hvac", "pmu", "pv", "v2x"}
"""Words in ids that are written in capitals."""


def _title(id_: str) -> str:
    words = id_.rpartition(":")[2].split("-")
    title = " ".join(word.upper() if word in _SHORT else word for word in words)
    return title[:1].upper() + title[1:]
