"""The MQTT adapter: the node as broker, or as client of a broker, and what both share."""

import asyncio
import logging
from typing import Protocol

from gridspine.adapters.mqtt.broker import EmbeddedBroker
from gridspine.adapters.mqtt.commands import Commands
from gridspine.adapters.mqtt.counters import Counters
from gridspine.adapters.mqtt.inbound import Inbound
from gridspine.adapters.mqtt.link import BrokerLink
from gridspine.adapters.mqtt.settings import Settings, read_settings
from gridspine.adapters.mqtt.topics import Routes
from gridspine.infra.runtime.waiting import first_to_end
from gridspine.things.adapter import AdapterContext, Order

log = logging.getLogger(__name__)


class Side(Protocol):
    """The embedded broker or the link to an external one; ``ready`` while devices can be heard."""

    ready: asyncio.Event

    async def run(self) -> None:
        """Serve until cancelled."""
        ...

    async def deliver(self, order: Order) -> None:
        """Bring an order to its device, or towards it."""
        ...

    def recheck(self) -> None:
        """Bindings changed: cut or add what follows from it."""
        ...


class MqttAdapter:
    """The adapter ``mqtt``; ``counters`` and ``side`` are the last run's, for whoever asks."""

    name = "mqtt"

    def __init__(self) -> None:
        self.counters: Counters | None = None
        self.side: Side | None = None

    @property
    def ready(self) -> bool:
        """Whether devices can be heard: the listener is open, or the subscriptions at the broker stand."""
        return self.side is not None and self.side.ready.is_set()

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled; raises `Invalid` when the settings are wrong."""
        settings = read_settings(context.settings)
        self.counters = counters = Counters(context.clock, context.store)
        await counters.load()
        await counters.save(clean=False)
        commands = Commands(context)
        inbound = Inbound(context, _routes(context), counters, commands)
        commands.holds_schedules = lambda thing: inbound.routes.holds_schedules(thing)  # noqa: PLW0108 - routes change
        side: Side = (
            EmbeddedBroker(context, settings, inbound, commands)
            if settings.mode == "embedded"
            else BrokerLink(context, settings, inbound, commands)
        )
        self.side = side
        try:
            await first_to_end(
                side.run(),
                commands.follow(side.deliver),
                commands.orders.expire(),
                _follow_bindings(context, inbound, side),
                _report(context, settings, counters),
            )
        finally:
            counters.report()
            await counters.save(clean=True)


def adapter() -> MqttAdapter:
    """Return the adapter, for the entry point group ``gridspine.adapters``."""
    return MqttAdapter()


def _routes(context: AdapterContext) -> Routes:
    routes = Routes(context.bindings())
    for problem in routes.problems:
        log.error("binding left out: %s", problem)
    return routes


async def _follow_bindings(context: AdapterContext, inbound: Inbound, side: Side) -> None:
    while True:
        inbound.routes = _routes(context)
        side.recheck()
        await context.bindings_changed()


async def _report(context: AdapterContext, settings: Settings, counters: Counters) -> None:
    while True:
        await context.clock.sleep(settings.report_s)
        counters.report()
        await counters.save(clean=False)
