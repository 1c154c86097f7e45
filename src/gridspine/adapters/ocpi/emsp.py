"""All that we do as a provider for drivers, put together; and what is fetched of partners of either role."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from gridspine.adapters.ocpi.book import Partner
from gridspine.adapters.ocpi.call import Handlers
from gridspine.adapters.ocpi.desk import Action
from gridspine.adapters.ocpi.emsp_commands import EmspCommands
from gridspine.adapters.ocpi.emsp_objects import EmspObjects
from gridspine.adapters.ocpi.emsp_orders import EmspOrders
from gridspine.adapters.ocpi.emsp_things import EmspThings
from gridspine.adapters.ocpi.emsp_tokens import EmspTokens
from gridspine.adapters.ocpi.push import Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.infra.runtime.waiting import within
from gridspine.kernel.errors import Conflict, GridspineError
from gridspine.kernel.time import US

LOOK_S = 1.0
AT_ONCE, FETCH_S = 8, 3600.0
"""Of how many operators it is fetched at once, and how long of one at most [s]."""
FETCHED = ("locations", "tariffs", "sessions", "cdrs")
log = logging.getLogger(__name__)


class Emsp:
    """The provider."""

    def __init__(self, roaming: Roaming, pushes: Pushes) -> None:
        self._roaming = roaming
        self.things = EmspThings(roaming)
        self._objects = EmspObjects(roaming, self.things)
        self._tokens = EmspTokens(roaming, pushes)
        self._commands = EmspCommands(roaming, self._tokens)
        self._orders = EmspOrders(roaming, self._commands)
        self._fetched: dict[str, tuple[int, int]] = {}
        self._fetching: set[str] = set()
        self._room = asyncio.Semaphore(AT_ONCE)
        self.actions: Mapping[str, Action] = self._commands.actions | {"pull": self.pull}
        self.modules: dict[tuple[str, str], Handlers] = {
            ("receiver", "locations"): self._objects.locations,
            ("receiver", "sessions"): self._objects.sessions,
            ("receiver", "tariffs"): self._objects.tariffs,
            ("receiver", "cdrs"): self._objects.cdrs,
            ("sender", "tokens"): self._tokens.handlers,
            ("sender", "commands"): self._commands.handlers,
            ("sender", "chargingprofiles"): self._commands.handlers,
        }

    async def load(self) -> None:
        """Take up what is kept."""
        await self._tokens.load()

    async def pull(self, thing: str, given: Any) -> Any:
        """Fetch all that an operator has; return how many objects of each kind were kept.

        What one of its parties does not give keeps nothing of the others away: the first problem is raised at the end.
        """
        partner = self._roaming.book.partner(thing)
        kept: dict[str, int] = {}
        problems: list[GridspineError] = []
        for module in FETCHED:
            where = partner.endpoint(module, "SENDER")
            if where:
                kept[module] = 0
                for party in partner.acting_as("CPO"):
                    try:
                        async for page in self._roaming.client.pages(where, partner.token, to=party):
                            self._check_same(partner)
                            kept[module] += await self._objects.keep_all(partner, module, page)
                    except GridspineError as error:
                        self._check_same(partner)
                        log.info("%s of %s could not be fetched of %s: %s", module, party, thing, error)
                        problems.append(error)
        if problems:
            raise problems[0]
        return kept

    def _check_same(self, partner: Partner) -> None:
        """Raise `Conflict` where a partner is not what it was."""
        if self._roaming.book.partner(partner.thing).since_us != partner.since_us:
            raise Conflict("the partner registered anew, or left, while it was fetched from")

    async def run(self) -> None:
        """Fetch, push and tell orders, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._orders.run())
            group.create_task(self._fetch())

    async def _fetch(self) -> None:
        """Fetch of operators that have just registered, and every now and then of all."""
        every_us = round(self._roaming.settings.pull_s * US)
        async with asyncio.TaskGroup() as group:
            while True:
                self._tokens.tell()
                for partner in self._roaming.partners("CPO"):
                    since_us, due_us = self._fetched.get(partner.thing, (0, 0))
                    now_us = self._roaming.clock.monotonic_us()
                    if partner.thing in self._fetching or (since_us == partner.since_us and now_us < due_us):
                        continue
                    self._fetched[partner.thing] = partner.since_us, now_us + every_us
                    self._fetching.add(partner.thing)
                    group.create_task(self._fetch_of(partner, now_us + min(every_us, 300 * US)))
                await self._roaming.clock.sleep(LOOK_S)

    async def _fetch_of(self, partner: Partner, again_us: int) -> None:
        """Fetch of one operator, and if that fails again at ``again_us``; who takes its time keeps nobody waiting."""
        try:
            async with self._room:
                await within(self._roaming.clock, FETCH_S, self.pull(partner.thing, None))
        except (GridspineError, TimeoutError) as error:
            log.warning("not all could be fetched of %s: %s", partner.thing, error)
            self._fetched[partner.thing] = partner.since_us, again_us
        finally:
            self._fetching.discard(partner.thing)
