"""Orders in force, of all Things of one adapter: what each must obey now, and what nobody has told it yet.

The latest order of each point is kept while it is in force. A device that comes back is told again, so nothing is
queued behind an absent device and nothing stale is ever sent. An order that ends before its device took it has
*failed*, and says so.

::

    order ──→ in force ──→ sent ──→ acknowledged │ rejected │ failed
                  ├──────→ its end comes first ──→ failed
                  └──────→ replaced: forgotten, whoever replaced it knows
"""

import heapq
import itertools
from collections.abc import Awaitable, Callable

from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import AdapterContext, Order, ProgressState

RELEASE_KEPT_US = 24 * 3600 * US
"""How long an absent device's release (an order without value) is kept for it; no lease lasts longer."""
_TICK_S = 1.0

Deliver = Callable[[Order], Awaitable[None]]


class OrdersInForce:
    """The orders of an adapter's Things; bounded by the number of their points. ``device`` is what reasons call one."""

    def __init__(self, context: AdapterContext, device: str = "the device") -> None:
        self._context = context
        self._device = device
        self._latest: dict[str, dict[str, tuple[Order, int]]] = {}
        self._open: dict[str, bool] = {}
        """Commands that are not settled, and whether they were sent."""
        self._ends: list[tuple[int, int, Order]] = []
        self._number = itertools.count()

    def in_force(self, thing: str) -> list[Order]:
        """Return the orders ``thing`` must now obey, one a point at most."""
        now_us = self._context.clock.now_us()
        return [order for order, end_us in self._latest.get(thing, {}).values() if end_us > now_us]

    def unsettled(self) -> list[Order]:
        """Return the orders in force that no device has taken yet."""
        return [order for thing in self._latest for order in self.in_force(thing) if order.command in self._open]

    def is_current(self, order: Order) -> bool:
        """Whether ``order`` still is the one its point must obey: not replaced, not past its end."""
        latest, end_us = self._latest.get(order.thing, {}).get(order.point, (None, 0))
        return latest == order and end_us > self._context.clock.now_us()

    async def follow(self, deliver: Deliver, as_held: Callable[[Order], Order] = lambda order: order) -> None:
        """Hand every order that is still good to ``deliver``, for ever; ``as_held`` makes it what the device holds."""
        async for told in self._context.orders():
            order = as_held(told)
            if await self._accept(order):
                await deliver(order)

    async def expire(self, ended: Callable[[Order], None] = lambda _order: None) -> None:
        """Report, for ever, orders whose end came before a device took them; forget all that have ended.

        ``ended`` is called with each, but for those that were replaced.
        """
        while True:
            await self._context.clock.sleep(_TICK_S)
            now_us = self._context.clock.now_us()
            while self._ends and self._ends[0][0] <= now_us:
                order = heapq.heappop(self._ends)[2]
                if await self._end(order):
                    ended(order)

    async def progress(
        self, order: Order, state: ProgressState, reason: str = "", *, settles: bool | None = None
    ) -> None:
        """Report how far an order got, once; nothing is said of it after a word that ``settles`` it.

        All but *sent* do, where nothing else is said: *sent* does where the device says itself what became of it.
        """
        sent = self._open.get(order.command)
        if sent is None or (sent and state == "sent"):
            return
        if state != "sent" if settles is None else settles:
            del self._open[order.command]
        else:
            self._open[order.command] = True
        await self._context.progress(order.command, state, reason[:256], sequence=order.sequence)

    async def _accept(self, order: Order) -> bool:
        now_us = self._context.clock.now_us()
        points = self._latest.setdefault(order.thing, {})
        latest = points[order.point][0] if order.point in points else None
        if latest is not None and latest.sequence > order.sequence:
            return False
        end_us = order.until_us if order.value is not None else max(order.until_us, now_us + RELEASE_KEPT_US)
        if end_us <= now_us:
            reason = f"it ended at {format_rfc3339(order.until_us)}"
            await self._context.progress(order.command, "failed", reason, sequence=order.sequence)
            return False
        points[order.point] = (order, end_us)
        self._open[order.command] = False
        heapq.heappush(self._ends, (end_us, next(self._number), order))
        if latest is not None and latest.command != order.command:
            self._open.pop(latest.command, None)  # whoever replaced it knows; its lease may still count elsewhere
        return True

    async def _end(self, order: Order) -> bool:
        points = self._latest.get(order.thing, {})
        latest = points.get(order.point)
        if latest is None or latest[0] != order:
            return False  # replaced or prolonged: the later entry ends it
        del points[order.point]
        if not points:
            del self._latest[order.thing]
        await self.progress(order, "failed", f"it ended before {self._device} took it")
        return True
