"""All that we do as an operator of charge points, put together."""

import asyncio
import logging

from gridspine.adapters.ocpi.bill import Bill
from gridspine.adapters.ocpi.book import Full
from gridspine.adapters.ocpi.call import Handlers
from gridspine.adapters.ocpi.cpo_cdrs import CpoCdrs
from gridspine.adapters.ocpi.cpo_commands import CpoCommands
from gridspine.adapters.ocpi.cpo_locations import CpoLocations
from gridspine.adapters.ocpi.cpo_profiles import CpoProfiles
from gridspine.adapters.ocpi.cpo_sessions import CpoSessions
from gridspine.adapters.ocpi.cpo_tariffs import CpoTariffs
from gridspine.adapters.ocpi.cpo_tokens import CpoTokens
from gridspine.adapters.ocpi.later import Later
from gridspine.adapters.ocpi.push import Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.energy.charging import ChargingSession
from gridspine.kernel.errors import Overloaded

TARIFFS_S = 2.0
log = logging.getLogger(__name__)


class Cpo:
    """The operator."""

    def __init__(self, roaming: Roaming, pushes: Pushes, later: Later) -> None:
        self._roaming, self._pushes = roaming, pushes
        self.locations = CpoLocations(roaming, pushes)
        self.tokens = CpoTokens(roaming, self.locations)
        self._bill = Bill(roaming.settings)
        self._cdrs = CpoCdrs(roaming, pushes, self._bill)
        self.sessions = CpoSessions(roaming, pushes, self.locations, self.tokens, self._bill, self._cdrs)
        self._tariffs = CpoTariffs(roaming, self._bill)
        commands = CpoCommands(roaming, later, self.locations, self.tokens, self.sessions)
        profiles = CpoProfiles(roaming, later, self.locations, self.sessions)
        roaming.registration.gone.append(self.tokens.forget)
        self.modules: dict[tuple[str, str], Handlers] = {
            ("sender", "locations"): self.locations.handlers,
            ("sender", "sessions"): self.sessions.handlers,
            ("sender", "cdrs"): self._cdrs.handlers,
            ("sender", "tariffs"): self._tariffs.handlers,
            ("receiver", "tokens"): self.tokens.handlers,
            ("receiver", "commands"): commands.handlers,
            ("receiver", "chargingprofiles"): profiles.handlers,
        }

    async def load(self) -> None:
        """Take up what is kept."""
        await self.locations.load()
        self._bill.since_us = await self._roaming.since("tariffs", self._roaming.settings.tariffs)
        await self.tokens.load()
        await self.sessions.load()

    async def run(self) -> None:
        """Hear of sessions, answer for tokens and tell partners, until cancelled."""
        end = self._roaming.charging.listen(self.sessions.on_session, self.tokens.on_token)
        try:
            for session in self._roaming.charging.recent():
                await self._catch_up(session)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.locations.run())
                group.create_task(self.sessions.run())
                group.create_task(self._cdrs.run())
                group.create_task(self._tell_tariffs())
        finally:
            end()

    async def _catch_up(self, session: ChargingSession) -> None:
        """Take in a session that was told of before we heard: nobody tells of it again."""
        while True:
            try:
                return await self.sessions.on_session(session)
            except Full as error:
                return log.error("a session at %s is not kept: %s", session.thing, error.detail)
            except Overloaded as error:
                await self._roaming.clock.sleep(error.retry_after_s)

    async def _tell_tariffs(self) -> None:
        while True:
            self._tariffs.tell(self._pushes)
            await self._roaming.clock.sleep(TARIFFS_S)
