"""The `Adapter`: a charging station management system (CSMS) for OCPP 1.6, 2.0.1 and 2.1 over WebSockets."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gridspine.adapters.ocpp import actions_certificates, actions_charging, actions_der, actions_upkeep, actions_v2x
from gridspine.adapters.ocpp.asked import Desk
from gridspine.adapters.ocpp.chargepoint import Common
from gridspine.adapters.ocpp.counters import Counters
from gridspine.adapters.ocpp.past import Past
from gridspine.adapters.ocpp.schema import schemas
from gridspine.adapters.ocpp.server import Server
from gridspine.adapters.ocpp.settings import read_settings
from gridspine.adapters.ocpp.station import Stations
from gridspine.adapters.ocpp.store_format import bring_up_to_date
from gridspine.infra.runtime.waiting import first_to_end
from gridspine.kernel.time import US
from gridspine.things.adapter import ActionRequest, AdapterContext, ReadRequest
from gridspine.things.adapter_requests import each_in_a_task

log = logging.getLogger(__name__)
ACTIONS = (
    actions_charging.ACTIONS | actions_upkeep.ACTIONS | actions_certificates.ACTIONS | actions_der.ACTIONS
    | actions_v2x.ACTIONS
)  # fmt: skip
"""What can be asked of a charge point, by the names of the models ``ev_charger`` and ``v2x_charger``."""
_LOOK_S = 0.5
"""How long a change of bindings may wait at most [s]; whom a message is taken from is asked each time."""
MAX_READS = 64
"""Devices read at once at somebody's request; more are told to ask again."""


class OcppAdapter:
    """The adapter ``ocpp``; ``counters`` and ``server`` are the last run's, for whoever asks."""

    name = "ocpp"

    def __init__(self) -> None:
        self.counters = Counters()
        self.server: Server | None = None

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled; raises `Invalid` for wrong settings, `Unavailable` without the extra ``ocpp``."""
        settings = read_settings(context.settings)
        for version in settings.versions:
            schemas(version)
        await bring_up_to_date(context.store, Stations(context.bindings()))
        common = Common(context, settings, self.counters)
        self.server = server = Server(common, Stations(()))
        await first_to_end(
            server.run(),
            server.orders.follow(server.deliver),
            server.orders.expire(lambda order: server.wake(order.thing)),
            _follow_bindings(context, server),
            _read_at_once(context, server),
            server.refresh(),
            Desk(context, server, ACTIONS, _past(common, server)).run(),
            _report(common),
        )


def adapter() -> OcppAdapter:
    """Return the adapter, for the entry point group ``gridspine.adapters``."""
    return OcppAdapter()


async def _follow_bindings(context: AdapterContext, server: Server) -> None:
    said: set[str] = set()
    clock = context.clock
    while True:
        began_us = clock.monotonic_us()
        stations = Stations(context.bindings(), server.stations)
        for problem in stations.problems:
            if problem not in said:
                log.error("binding left out: %s", problem)
        said = set(stations.problems)
        await server.rebind(stations)
        took_s = (clock.monotonic_us() - began_us) / US
        server.fresh.set()
        await context.bindings_changed()
        server.fresh.clear()
        # While a fleet is registered, one by one, no more than a tenth of the time goes into looking.
        await clock.sleep(min(_LOOK_S, 9 * took_s))


async def _read_at_once(context: AdapterContext, server: Server) -> None:
    def refuse(request: ReadRequest) -> None:
        context.read_ended(request.id, f"{MAX_READS} charge points are being read already: ask again")

    def name(request: ReadRequest) -> str:
        return f"ocpp read {request.thing}"

    await each_in_a_task(context.reads(), lambda one: _read(context, server, one), refuse, MAX_READS, name)


async def _read(context: AdapterContext, server: Server, request: ReadRequest) -> None:
    problem = "the node stops"
    try:
        found = server.told(request.thing)
        problem = "the charge point is not connected" if found is None else await found[0].read(found[1])
    finally:
        context.read_ended(request.id, problem)


async def _report(common: Common) -> None:
    while True:
        await common.context.clock.sleep(common.settings.report_s)
        common.counters.report()


def _past(common: Common, server: Server) -> Mapping[str, Callable[[ActionRequest], Awaitable[Any]]]:
    past = Past(common.book, lambda: server.stations)
    return {"transactions": past.transactions, "signedValues": past.signed_values, "station": past.station}
