"""Leases on partners' EVSEs: told as charging profiles of our session there, and confirmed by what then limits it."""

import asyncio
import contextlib
import logging

from gridspine.adapters.ocpi.desk import Refused
from gridspine.adapters.ocpi.emsp_commands import EmspCommands
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.kernel.errors import GridspineError
from gridspine.things.adapter import Order
from gridspine.things.adapter_orders import OrdersInForce

POINT = "currentLimit"
AT_ONCE = 32
log = logging.getLogger(__name__)


class EmspOrders:
    """Tells orders. `run` does the work, each order in a task of its own: an operator may take a minute to answer."""

    def __init__(self, roaming: Roaming, commands: EmspCommands) -> None:
        self._roaming, self._commands = roaming, commands
        self._orders = OrdersInForce(roaming.context, "the operator")
        self._room = asyncio.Semaphore(AT_ONCE)
        self._turns: dict[str, asyncio.Lock] = {}

    async def run(self) -> None:
        """Tell orders, until cancelled."""
        async with asyncio.TaskGroup() as group:

            async def deliver(order: Order) -> None:
                group.create_task(self._tell(order))

            group.create_task(self._orders.follow(deliver))
            group.create_task(self._orders.expire())

    async def _tell(self, order: Order) -> None:
        async with self._turns.setdefault(order.thing, asyncio.Lock()), self._room:
            if not self._orders.is_current(order):
                return
            if order.point != POINT:
                await self._orders.progress(order, "rejected", f"OCPI has no order for {order.point}")
                return
            try:
                await self._orders.progress(order, "sent")
                await self._commands.limit(order.thing, order.value, order.until_us)
                await self._orders.progress(order, "acknowledged")
                await self._confirm(order)
            except Refused as error:
                if order.value is None and not self._commands.running(order.thing):
                    await self._orders.progress(order, "acknowledged")  # a profile ends with its session
                else:
                    await self._orders.progress(order, "rejected", str(error))
            except (GridspineError, TimeoutError) as error:
                words = error.detail if isinstance(error, GridspineError) else "the operator did not answer in time"
                await self._orders.progress(order, "failed", words)
            except Exception:
                log.exception("an order could not be told")
                await self._orders.progress(order, "failed", "it failed inside the node; its log says why")

    async def _confirm(self, order: Order) -> None:
        """Ask what now limits the session, and take that in as a reading: only it confirms."""
        with contextlib.suppress(Refused, GridspineError, TimeoutError):
            value = await self._commands.active(order.thing)
            if value is not None:
                await self._roaming.readings(order.thing, [(POINT, "A", value)], self._roaming.now_us)
