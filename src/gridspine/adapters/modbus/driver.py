"""The Modbus `Adapter`: a worker for each Thing, a session for each connection, orders handed to their workers."""

import asyncio
import logging
from typing import Any

import msgspec

from gridspine.adapters.modbus.address import Address, Endpoint, parse_address
from gridspine.adapters.modbus.asked import Asked, NoActions
from gridspine.adapters.modbus.device import Device
from gridspine.adapters.modbus.keeper import Keeper
from gridspine.adapters.modbus.mapping import choose_mapping
from gridspine.adapters.modbus.plain_device import PlainDevice
from gridspine.adapters.modbus.plain_keeper import PlainKeeper
from gridspine.adapters.modbus.session import Session
from gridspine.adapters.modbus.worker import Asking, Keeping, Polled, Worker
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.workers import Workers
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import AdapterContext, Binding, Order
from gridspine.things.adapter_settings import read_section

_LOG = logging.getLogger(__name__)


class Settings(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The adapter's section of the node's settings.

    ``max_backoff_s`` [s] is the longest pause before an absent device is tried again. ``mappings`` are further
    mapping documents by name (see ``models/``): a device of another kind is data, no code. ``allow`` are networks in
    which devices of no standard, and those that a description leads to, may be besides those where they may by
    default; ``only``, when it is given, are all in which any device may be.
    """

    max_backoff_s: float = 30.0
    mappings: dict[str, Any] = {}
    allow: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def addresses(self, endpoint: Endpoint) -> AddressRule | None:
        """Return the rule for the addresses of a connection; raise `Invalid` for what is no network."""
        rule = AddressRule(self.allow, self.only, "adapters.settings.modbus")
        return rule if endpoint.guarded or self.only else None


class ModbusAdapter:
    """Polls SunSpec devices over Modbus TCP and RTU, and gives them leases that they end by themselves."""

    name = "modbus"

    def __init__(self) -> None:
        self._served = Workers[Binding, Worker]()
        self._endpoints: dict[str, Endpoint] = {}
        self._faulty: dict[str, tuple[Binding, str]] = {}
        self._sessions: dict[Endpoint, Session] = {}
        self._syncing = asyncio.Lock()

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled. A Thing whose connection is wrong is logged, and its orders are rejected."""
        # The library logs every lost answer with its frames; our sessions say the same once, as errors.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        settings = read_section(self.name, context.settings, Settings)
        settings.addresses(Endpoint("tcp"))
        try:
            async with asyncio.TaskGroup() as group:
                await self._sync(context, settings, group)
                group.create_task(self._take_orders(context, settings, group))
                group.create_task(self._take_reads(context))
                group.create_task(self._take_requests(context))
                while True:
                    await context.bindings_changed()
                    await self._sync(context, settings, group)
        finally:
            self._served.clear()
            for session in self._sessions.values():
                await session.close()
            self._sessions.clear()

    async def _take_orders(self, context: AdapterContext, settings: Settings, group: asyncio.TaskGroup) -> None:
        async for order in context.orders():
            if order.thing not in self._served:
                await self._sync(context, settings, group)
            await self._hand_over(context, order)

    async def _take_reads(self, context: AdapterContext) -> None:
        async for request in context.reads():
            worker = self._served.get(request.thing)
            if worker:
                worker.read(request)
            else:
                _, reason = self._faulty.get(request.thing, (None, "the Modbus adapter does not serve this Thing"))
                context.read_ended(request.id, reason)

    async def _take_requests(self, context: AdapterContext) -> None:
        async for request in context.requests():
            worker = self._served.get(request.thing)
            if worker:
                worker.request(request)
            else:
                _, reason = self._faulty.get(request.thing, (None, "the Modbus adapter does not serve this Thing"))
                context.request_ended(request.id, "failed", None, reason)

    async def _hand_over(self, context: AdapterContext, order: Order) -> None:
        worker = self._served.get(order.thing)
        if worker:
            worker.submit(order)
            return
        _, reason = self._faulty.get(order.thing, (None, "the Modbus adapter does not serve this Thing"))
        await context.progress(order.command, "rejected", reason, sequence=order.sequence)

    async def _sync(self, context: AdapterContext, settings: Settings, group: asyncio.TaskGroup) -> None:
        """Make workers of the bindings: stop those taken away or changed, start the new ones."""
        async with self._syncing:
            wanted = {binding.thing: binding for binding in context.bindings()}
            await self._stop_others(wanted)
            for thing, binding in wanted.items():
                if thing not in self._served and thing not in self._faulty:
                    self._start(context, settings, group, binding)

    async def _stop_others(self, wanted: dict[str, Binding]) -> None:
        await self._served.keep(wanted)
        self._endpoints = {thing: used for thing, used in self._endpoints.items() if thing in self._served}
        used = set(self._endpoints.values())
        for endpoint in [endpoint for endpoint in self._sessions if endpoint not in used]:
            await self._sessions.pop(endpoint).close()
        self._faulty = {thing: kept for thing, kept in self._faulty.items() if wanted.get(thing) == kept[0]}

    def _start(self, context: AdapterContext, settings: Settings, group: asyncio.TaskGroup, binding: Binding) -> None:
        try:
            address = parse_address(binding.connection)
            device, keeper, asking = self._device(context, settings, binding, address)
        except Invalid as problem:
            _LOG.warning("%s cannot be served: %s", binding.thing, problem.detail)
            self._faulty[binding.thing] = (binding, problem.detail)
            return
        worker = Worker(context, device, keeper, asking, max_backoff_s=settings.max_backoff_s)
        self._served.begin(group, binding.thing, binding, worker, worker.run(), f"modbus {binding.thing}")
        self._endpoints[binding.thing] = address.endpoint

    def _device(
        self, context: AdapterContext, settings: Settings, binding: Binding, address: Address
    ) -> tuple[Polled, Keeping, Asking]:
        if address.registers:
            plain = PlainDevice(binding, address, self._session(context, settings, address), context.clock)
            return plain, PlainKeeper(context, plain), NoActions()
        mapping = choose_mapping(binding.model, address.mapping, settings.mappings)
        device = Device(binding, address, mapping, self._session(context, settings, address), context.clock)
        return device, Keeper(context, device), Asked(device, context.clock)

    def _session(self, context: AdapterContext, settings: Settings, address: Address) -> Session:
        session = self._sessions.get(address.endpoint)
        if session is None:
            session = Session(
                address.endpoint, context.clock, timeout_s=address.timeout_s, max_backoff_s=settings.max_backoff_s,
                addresses=settings.addresses(address.endpoint), trace=context.trace,
            )  # fmt: skip
            self._sessions[address.endpoint] = session
        session.allow(address.timeout_s)
        return session
