"""The `Adapter`: a poller for each Thing, all through one session."""

import asyncio
import logging

from gridspine.adapters.wot_http.guard import Guard, Settings
from gridspine.adapters.wot_http.poller import Poller, read_connection
from gridspine.adapters.wot_http.session import Session
from gridspine.adapters.wot_http.shared import Shared
from gridspine.infra.runtime.guarded_http import log_no_addresses
from gridspine.infra.runtime.workers import Workers
from gridspine.kernel.errors import GridspineError, Invalid
from gridspine.things.adapter import AdapterContext, Binding, ReadRequest
from gridspine.things.adapter_settings import read_section

_LOG = logging.getLogger(__name__)
_READ_AT_ONCE = 50
"""Devices that are read at once because somebody asks."""
_ONLY_READS = "the wot_http adapter reads Things and commands none"


class WotHttpAdapter:
    """Polls described Things over HTTP."""

    name = "wot_http"

    def __init__(self) -> None:
        self._served = Workers[Binding, Poller]()

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled."""
        log_no_addresses()
        settings = read_section(self.name, context.settings, Settings)
        session = Session(
            Guard(settings, context.secrets), settings, context.clock, context.keyring, context.trace
        )  # fmt: skip
        shared = Shared(session, context.clock)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._refuse_orders(context))
                group.create_task(self._read_at_once(context))
                while True:
                    await self._sync(context, session, shared, group)
                    await context.bindings_changed()
        finally:
            self._served.clear()
            await session.close()

    async def _sync(
        self, context: AdapterContext, session: Session, shared: Shared, group: asyncio.TaskGroup
    ) -> None:  # fmt: skip
        wanted = {binding.thing: binding for binding in context.bindings()}
        await self._served.keep(wanted)
        for thing, binding in wanted.items():
            if thing in self._served:
                continue
            try:
                connection = read_connection(binding.connection)
            except Invalid as error:
                _LOG.warning("%s cannot be served: connection: %s", thing, error.detail)
                continue
            poller = Poller(context, session, shared, binding, connection)
            self._served.begin(group, thing, binding, poller, poller.run(), f"wot_http {thing}")

    async def _refuse_orders(self, context: AdapterContext) -> None:
        async for order in context.orders():
            await context.progress(order.command, "rejected", _ONLY_READS, sequence=order.sequence)

    async def _read_at_once(self, context: AdapterContext) -> None:
        """Read as is asked for, several devices at once: one that is slow keeps no other waiting."""
        room = asyncio.Semaphore(_READ_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            async for request in context.reads():
                await room.acquire()
                group.create_task(self._read(context, request, room))

    async def _read(self, context: AdapterContext, request: ReadRequest, room: asyncio.Semaphore) -> None:
        poller = self._served.get(request.thing)
        problem = "the wot_http adapter does not serve this Thing"
        try:
            if poller is not None:
                problem = await poller.poll(request.points)
        except GridspineError as error:
            problem = error.detail
        finally:
            room.release()
        context.read_ended(request.id, problem)
