"""The OCPI `Adapter`: partners are Things; their charging points are, too; ours are shown to them."""

import asyncio
import logging

from gridspine.adapters.ocpi.call import Handlers
from gridspine.adapters.ocpi.cpo import Cpo
from gridspine.adapters.ocpi.desk import Desk
from gridspine.adapters.ocpi.emsp import Emsp
from gridspine.adapters.ocpi.later import Later
from gridspine.adapters.ocpi.partner_actions import PartnerActions
from gridspine.adapters.ocpi.push import Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.session import App
from gridspine.adapters.ocpi.settings import read_settings
from gridspine.things.adapter import AdapterContext

log = logging.getLogger(__name__)
_LOOK_S = 0.5
_NO_EMSP = "the settings give us no role EMSP: nothing is ordered of partners"


class OcpiAdapter:
    """OCPI 2.2.1 and 2.3.0, CPO and eMSP."""

    name = "ocpi"

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled; raises `Invalid` when the settings are wrong, `Unavailable` on an edge."""
        settings = read_settings(context.settings)
        roaming = Roaming(context, settings)
        await roaming.book.load()
        await roaming.registration.load()
        actions, pushes, later = PartnerActions(roaming), Pushes(roaming), Later(roaming)
        cpo = Cpo(roaming, pushes, later) if "CPO" in settings.roles else None
        modules: dict[tuple[str, str], Handlers] = {}
        emsp = Emsp(roaming, pushes) if "EMSP" in settings.roles else None
        table = dict(actions.table)
        if cpo is not None:
            await cpo.load()
            modules |= cpo.modules
        if emsp is not None:
            await emsp.load()
            modules |= emsp.modules
            table |= emsp.actions
        app = App(context, settings, roaming.book, roaming.registration, modules, roaming.here)
        roaming.look()
        host, port = await context.serve("http", app)
        if not roaming.registration.base:
            scheme = "https" if settings.http.get("tls") else "http"
            roaming.registration.base = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_follow_bindings(roaming, actions, emsp))
                group.create_task(actions.run())
                group.create_task(_refuse_reads(context))
                group.create_task(Desk(context, table).run())
                group.create_task(pushes.run())
                if cpo is not None:
                    group.create_task(cpo.run())
                group.create_task(_refuse_orders(context) if emsp is None else emsp.run())
        finally:
            await later.close()
            await roaming.client.close()


async def _refuse_orders(context: AdapterContext) -> None:
    async for order in context.orders():
        await context.progress(order.command, "rejected", _NO_EMSP, sequence=order.sequence)


async def _refuse_reads(context: AdapterContext) -> None:
    async for request in context.reads():
        context.read_ended(request.id, "a partner is asked by its action pull")


async def _follow_bindings(roaming: Roaming, actions: PartnerActions, emsp: Emsp | None) -> None:
    said: set[str] = set()
    known: frozenset[str] = frozenset()
    evses: frozenset[str] = frozenset()
    while True:
        roaming.look()
        for problem in roaming.things.problems:
            if problem not in said:
                log.error("binding left out: %s", problem)
        said = set(roaming.things.problems)
        for partner in roaming.book.partners():
            if not roaming.here(partner.thing) and roaming.retired(partner.thing):
                await roaming.registration.retire(partner.thing)
        for thing in roaming.things.partners.keys() - known:
            await actions.tell(thing)
        known = frozenset(roaming.things.partners)
        if emsp is not None and roaming.things.evses.keys() - evses:
            await emsp.things.on_things()
        evses = frozenset(roaming.things.evses)
        await roaming.context.bindings_changed()
        await roaming.clock.sleep(_LOOK_S)
