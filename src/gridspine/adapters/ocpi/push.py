"""What is pushed to partners: the latest word of each thing, in turn, a few times; bounded for each partner.

::

    offer(partner, key, …) ─► one place a key ─► PUT, PATCH or POST ─► taken │ again, later │ lost: it can be fetched
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from gridspine.adapters.ocpi.book import Partner
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.wire import Party
from gridspine.infra.runtime.waiting import back_off_s
from gridspine.kernel.errors import GridspineError

MAX_WAITING, ATTEMPTS = 5_000, 4
log = logging.getLogger(__name__)
Taken = Callable[[], Awaitable[None]]


class Push(NamedTuple):
    """A request: below the address of a module's interface ``path``; ``taken`` is called when it was.

    It is for the party ``to`` of the partner; None: for each of its parties that are providers, or operators.
    """

    method: str
    module: str
    side: str
    path: str
    body: Any
    taken: Taken | None = None
    to: Party | None = None

    @property
    def role(self) -> str:
        """As what a party is told it."""
        return "EMSP" if self.side == "RECEIVER" and self.module != "tokens" else "CPO"


class Pushes:
    """All that waits to be pushed, for each party of a partner `MAX_WAITING`.

    `run` does the work, one request at a time for each partner.
    """

    def __init__(self, roaming: Roaming) -> None:
        self._roaming = roaming
        self._waiting: dict[str, dict[str, Push]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self.counts: Counter[str] = Counter()
        """Requests that were taken, and lost."""

    def offer(self, partner: Partner, key: str, push: Push) -> bool:
        """Let something be pushed; what waited under ``key`` is not said any more. Whether the partner has a place."""
        if not partner.endpoint(push.module, push.side):
            return False
        parties = partner.acting_as(push.role)
        waiting = self._waiting.setdefault(partner.thing, {})
        for to in parties if push.to is None else (push.to,):
            one = key if push.to is not None else f"{key} {to}"
            waiting.pop(one, None)
            if len(waiting) >= MAX_WAITING * max(1, len(parties)):
                waiting.pop(next(iter(waiting)))
                self.counts["lost"] += 1
            waiting[one] = push._replace(to=to)
        self._wake.set()
        return True

    async def run(self) -> None:
        """Push, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    for thing in list(self._waiting):
                        if thing not in self._workers:
                            self._workers[thing] = group.create_task(self._work(thing))
        finally:
            self._workers.clear()

    async def _work(self, thing: str) -> None:
        try:
            waiting = self._waiting[thing]
            while waiting:
                key = next(iter(waiting))
                await self._deliver(thing, key, waiting.pop(key))
        except Exception:  # what one partner does never ends the others'
            log.exception("what was to be pushed to %s could not be sent", thing)
            self.counts["lost"] += len(self._waiting[thing])
        finally:
            del self._waiting[thing], self._workers[thing]

    async def _deliver(self, thing: str, key: str, push: Push) -> None:
        clock = self._roaming.clock
        for attempt in range(ATTEMPTS):
            partner = self._roaming.book.partner(thing)
            where = partner.endpoint(push.module, push.side)
            if not partner.registered or not self._roaming.here(thing) or not where:
                return
            to = push.to if push.to is not None and partner.is_(push.to) else partner.party(push.role)
            try:
                url = where.rstrip("/") + push.path if push.path else where
                await self._roaming.client.call(push.method, url, partner.token, push.body, to=to)
            except GridspineError as error:
                self._roaming.context.trace("note", f"not taken: {error.detail[:200]}", peer=thing)
            else:
                self.counts["taken"] += 1
                if push.taken is not None:
                    await push.taken()
                return
            if key in self._waiting.get(thing, {}):
                return  # there is a later word
            if attempt + 1 < ATTEMPTS:
                await clock.sleep(back_off_s(clock, attempt, least_s=1.0, most_s=60.0))
        self.counts["lost"] += 1
        log.warning("%s: %s %s%s was not taken in %d attempts", thing, push.method, push.module, push.path, ATTEMPTS)
