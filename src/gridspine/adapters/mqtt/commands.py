"""Orders on their way to devices, and what devices say became of them.

The latest order of each point is kept while it is in force. A device that comes back is told again, so nothing is
queued behind an absent device and nothing stale is ever sent. An order that ends before its device took it has
*failed*, and says so.

::

    order ──→ in force ──→ delivered (the device's PUBACK) = sent ──→ acknowledged │ rejected │ failed
                  └──────→ its end comes first ──→ failed
"""

import heapq
import itertools
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from gridspine.adapters.mqtt.wire import Acknowledgement
from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import AdapterContext, Order

log = logging.getLogger(__name__)

MAX_KNOWN = 100_000
RELEASE_KEPT_US = 24 * 3600 * US
"""How long an absent device's release (an order without value) is kept for it; no lease lasts longer."""
_TICK_S = 1.0

Deliver = Callable[[Order], Awaitable[None]]


class Commands:
    """The orders of this adapter's Things; bounded by the number of their points."""

    def __init__(self, context: AdapterContext) -> None:
        self._context = context
        self.holds_schedules: Callable[[str], bool] = lambda _thing: False
        """Whether the device of a Thing takes what follows an order along with it."""
        self._latest: dict[str, dict[str, tuple[Order, int]]] = {}
        self._open: set[str] = set()
        self._thing_of: OrderedDict[str, str] = OrderedDict()
        self._ends: list[tuple[int, int, Order]] = []
        self._number = itertools.count()

    def in_force(self, thing: str) -> list[Order]:
        """Return the orders ``thing`` must now obey, one a point at most."""
        now_us = self._context.clock.now_us()
        return [order for order, end_us in self._latest.get(thing, {}).values() if end_us > now_us]

    def undelivered(self) -> list[Order]:
        """Return the orders in force that no device has taken yet."""
        return [order for thing in self._latest for order in self.in_force(thing) if order.command in self._open]

    def is_current(self, order: Order) -> bool:
        """Whether ``order`` still is the one its point must obey: not replaced, not past its end."""
        latest, end_us = self._latest.get(order.thing, {}).get(order.point, (None, 0))
        return latest == order and end_us > self._context.clock.now_us()

    async def follow(self, deliver: Deliver) -> None:
        """Hand every order that is still good to ``deliver``, for ever."""
        async for told in self._context.orders():
            order = told if not told.plan or self.holds_schedules(told.thing) else replace(told, plan=())
            if await self._accept(order):
                await deliver(order)

    async def expire(self) -> None:
        """Report, for ever, orders whose end came before a device took them; forget all that have ended."""
        while True:
            await self._context.clock.sleep(_TICK_S)
            now_us = self._context.clock.now_us()
            while self._ends and self._ends[0][0] <= now_us:
                await self._end(heapq.heappop(self._ends)[2])

    async def delivered(self, order: Order) -> None:
        """Note that the device (or the broker before it) has the order."""
        if order.command in self._open:
            self._open.discard(order.command)
            await self._context.progress(order.command, "sent", sequence=order.sequence)

    async def acknowledged(self, acknowledgement: Acknowledgement, thing: str) -> bool:
        """Pass on what ``thing`` says became of a command; False when it never had such a command."""
        if self._thing_of.get(acknowledgement.command) != thing:
            return False
        await self._context.progress(
            acknowledgement.command, acknowledgement.state, acknowledgement.reason[:256],
            sequence=acknowledgement.sequence,
        )  # fmt: skip
        return True

    async def _accept(self, order: Order) -> bool:
        now_us = self._context.clock.now_us()
        points = self._latest.setdefault(order.thing, {})
        latest = points[order.point][0] if order.point in points else None
        if latest is not None and latest.sequence > order.sequence:
            log.info("order %s ignored: %s has a later one", order.command, order.point)
            return False
        end_us = order.until_us if order.value is not None else max(order.until_us, now_us + RELEASE_KEPT_US)
        if end_us <= now_us:
            reason = f"it ended at {format_rfc3339(order.until_us)}"
            await self._context.progress(order.command, "failed", reason, sequence=order.sequence)
            return False
        points[order.point] = (order, end_us)
        self._open.add(order.command)
        self._thing_of[order.command] = order.thing
        heapq.heappush(self._ends, (end_us, next(self._number), order))
        while len(self._thing_of) > MAX_KNOWN:
            self._thing_of.popitem(last=False)
        if latest is not None and latest.command != order.command:
            self._open.discard(latest.command)  # whoever replaced it knows; its lease may still count elsewhere
        return True

    async def _end(self, order: Order) -> None:
        points = self._latest.get(order.thing, {})
        latest = points.get(order.point)
        if latest is None or latest[0] != order:
            return  # replaced or prolonged: the later entry ends it
        del points[order.point]
        if not points:
            del self._latest[order.thing]
        await self._fail(order, "it ended before the device took it")

    async def _fail(self, order: Order, reason: str) -> None:
        if order.command in self._open:
            self._open.discard(order.command)
            await self._context.progress(order.command, "failed", reason, sequence=order.sequence)
