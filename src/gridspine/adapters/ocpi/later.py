"""What is answered later, at an address that the asker names: never but where that partner already is."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from gridspine.adapters.ocpi.book import Partner
from gridspine.adapters.ocpi.call import Call
from gridspine.adapters.ocpi.client import origin_of
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.wire import Party, bad
from gridspine.kernel.errors import GridspineError, Invalid

MAX_EACH = 32
"""What is under way for one partner at most."""
TIMEOUT_S = 120
"""Within what time a result comes, as it is told [s]."""
log = logging.getLogger(__name__)


class Later:
    """Carries out and answers. `run` keeps what is under way, and ends it."""

    def __init__(self, roaming: Roaming) -> None:
        self._roaming = roaming
        self._tasks: set[asyncio.Task[None]] = set()
        self._each: Counter[str] = Counter()

    def check(self, call: Call, url: str) -> None:
        """Raise `OcpiError` for an address where the partner is not: our token is for it alone."""
        try:
            known = {origin_of(one.url) for one in call.partner.endpoints} | {origin_of(call.partner.url)}
            self._roaming.client.check(url)
            if origin_of(url) in known:
                return
        except Invalid as error:
            raise bad(f"response_url: {error.detail}") from error
        raise bad("response_url: it is not where your endpoints are")

    def begin(self, call: Call, url: str, work: Callable[[], Awaitable[Any]]) -> bool:
        """Have ``work`` done and its result posted to ``url``; False where too much is under way."""
        if self._each[call.partner.thing] >= MAX_EACH:
            return False
        self._each[call.partner.thing] += 1
        task = asyncio.create_task(self._do(call.partner, url, call.sender, work), name="ocpi result")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._each.subtract([call.partner.thing]))
        return True

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _do(self, partner: Partner, url: str, to: Party | None, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            result = await work()
            known = self._roaming.book.partner(partner.thing)
            if known.registered:
                await self._roaming.client.call("POST", url, known.token, result, to=to or known.party("EMSP"))
        except GridspineError as error:
            log.warning("%s did not take a result: %s", partner.thing, error.detail)
        except Exception:
            log.exception("a result for %s could not be made", partner.thing)
