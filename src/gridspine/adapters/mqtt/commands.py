"""Orders on their way to devices, and what devices say became of them.

::

    order ──→ in force ──→ delivered (the device's PUBACK) = sent ──→ acknowledged │ rejected │ failed
                  └──────→ its end comes first ──→ failed
"""

from collections import OrderedDict
from collections.abc import Callable

from msgspec.structs import replace

from gridspine.adapters.mqtt.wire import Acknowledgement
from gridspine.things.adapter import AdapterContext, Order
from gridspine.things.adapter_orders import Deliver, OrdersInForce

MAX_KNOWN = 100_000


class Commands:
    """The orders of this adapter's Things, and whose they were: devices say what became of them by the command's id."""

    def __init__(self, context: AdapterContext) -> None:
        self.holds_schedules: Callable[[str], bool] = lambda _thing: False
        """Whether the device of a Thing takes what follows an order along with it."""
        self.orders = OrdersInForce(context)
        self._context = context
        self._thing_of: OrderedDict[str, str] = OrderedDict()

    async def follow(self, deliver: Deliver) -> None:
        """Hand every order that is still good to ``deliver``, for ever."""

        async def note(order: Order) -> None:
            self._thing_of[order.command] = order.thing
            while len(self._thing_of) > MAX_KNOWN:
                self._thing_of.popitem(last=False)
            await deliver(order)

        await self.orders.follow(note, self._as_held)

    async def delivered(self, order: Order) -> None:
        """Note that the device (or the broker before it) has the order."""
        await self.orders.progress(order, "sent", settles=True)

    async def acknowledged(self, acknowledgement: Acknowledgement, thing: str) -> bool:
        """Pass on what ``thing`` says became of a command; False when it never had such a command."""
        if self._thing_of.get(acknowledgement.command) != thing:
            return False
        await self._context.progress(
            acknowledgement.command, acknowledgement.state, acknowledgement.reason[:256],
            sequence=acknowledgement.sequence,
        )  # fmt: skip
        return True

    def _as_held(self, order: Order) -> Order:
        return order if not order.plan or self.holds_schedules(order.thing) else replace(order, plan=())
