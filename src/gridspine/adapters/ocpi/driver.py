"""The OCPI `Adapter`: partners are Things; their charging points are, too; ours are shown to them."""

import asyncio
import logging

from gridspine.adapters.ocpi.desk import Desk
from gridspine.adapters.ocpi.partner_actions import PartnerActions
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.session import App
from gridspine.adapters.ocpi.settings import read_settings
from gridspine.things.adapter import AdapterContext

log = logging.getLogger(__name__)
_LOOK_S = 0.5


class OcpiAdapter:
    """OCPI 2.2.1 and 2.3.0, CPO and eMSP."""

    name = "ocpi"

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled; raises `Invalid` when the settings are wrong, `Unavailable` on an edge."""
        settings = read_settings(context.settings)
        roaming = Roaming(context, settings)
        await roaming.book.load()
        actions = PartnerActions(roaming)
        app = App(context, settings, roaming.book, roaming.registration, {}, roaming.here)
        roaming.look()
        host, port = await context.serve("http", app)
        if not roaming.registration.base:
            scheme = "https" if settings.http.get("tls") else "http"
            roaming.registration.base = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_follow_bindings(roaming, actions))
                group.create_task(Desk(context, actions.table).run())
        finally:
            await roaming.client.close()


async def _follow_bindings(roaming: Roaming, actions: PartnerActions) -> None:
    said: set[str] = set()
    known: frozenset[str] = frozenset()
    while True:
        roaming.look()
        for problem in roaming.things.problems:
            if problem not in said:
                log.error("binding left out: %s", problem)
        said = set(roaming.things.problems)
        for thing in roaming.things.partners.keys() - known:
            await actions.tell(thing)
        known = frozenset(roaming.things.partners)
        await roaming.context.bindings_changed()
        await roaming.clock.sleep(_LOOK_S)
