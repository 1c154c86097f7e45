"""Leases on partners' EVSEs: told as charging profiles of our session there, and confirmed by what then limits it."""

import asyncio
import contextlib
import itertools
import logging

from gridspine.adapters.ocpi.desk import Refused
from gridspine.adapters.ocpi.emsp_commands import EmspCommands
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.infra.runtime.waiting import back_off_s
from gridspine.kernel.errors import GridspineError, Unavailable
from gridspine.things.adapter import Order
from gridspine.things.adapter_orders import OrdersInForce

POINT = "currentLimit"
AT_ONCE = 32
AGAIN_S = 30.0
"""How long it is waited at most before an operator that cannot be reached is tried again [s]."""
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
        """Tell an order until the operator took or refused it; one that cannot be reached is tried again meanwhile."""
        clock = self._roaming.clock
        for attempt in itertools.count():
            async with self._turns.setdefault(order.thing, asyncio.Lock()), self._room:
                if not self._orders.is_current(order) or await self._try(order):
                    return
            await clock.sleep(back_off_s(clock, attempt, least_s=1.0, most_s=AGAIN_S))

    async def _try(self, order: Order) -> bool:
        """Tell an order once; False where nobody knows what became of it."""
        if order.point != POINT:
            await self._orders.progress(order, "rejected", f"OCPI has no order for {order.point}")
            return True
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
        except (Unavailable, TimeoutError) as error:
            said = error.detail if isinstance(error, Unavailable) else "the operator did not answer in time"
            log.info("%s is not told what was ordered, and will be: %s", order.thing, said)
            return False
        except GridspineError as error:
            await self._orders.progress(order, "failed", error.detail)
        except Exception:
            log.exception("an order could not be told")
            await self._orders.progress(order, "failed", "it failed inside the node; its log says why")
        return True

    async def _confirm(self, order: Order) -> None:
        """Ask what now limits the session, and take that in as a reading: only it confirms."""
        with contextlib.suppress(Refused, GridspineError, TimeoutError):
            value = await self._commands.active(order.thing)
            if value is not None:
                await self._roaming.readings(order.thing, [(POINT, "A", value)], self._roaming.now_us)
