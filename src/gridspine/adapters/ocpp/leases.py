"""Orders in force, of all charge points: what each Thing must obey now, and what nobody has told it yet.

::

    node ─ order ─► latest of its point ─► charge point connected? ─► its `Told` ─► acknowledged or rejected
                    │ absent: waits, and fails when its end comes first
                    └ replaced, ended: forgotten
"""

import heapq
import itertools
import logging
from collections.abc import Callable

from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import AdapterContext, Order, ProgressState

log = logging.getLogger(__name__)

RELEASE_KEPT_US = 24 * 3600 * US
"""How long an absent charge point's release (an order without value) is kept for it; no lease lasts longer."""
_TICK_S = 1.0


class Leases:
    """The orders of this adapter's Things; bounded by the number of their points."""

    def __init__(self, context: AdapterContext, wake: Callable[[str], None]) -> None:
        """``wake`` is called with a Thing whose orders changed, or ended."""
        self._context = context
        self._wake = wake
        self._latest: dict[str, dict[str, tuple[Order, int]]] = {}
        self._open: dict[str, bool] = {}
        """Commands that nobody has answered, and whether they were sent."""
        self._ends: list[tuple[int, int, Order]] = []
        self._number = itertools.count()

    def in_force(self, thing: str) -> list[Order]:
        """Return the orders ``thing`` must now obey, one a point at most."""
        now_us = self._context.clock.now_us()
        return [order for order, end_us in self._latest.get(thing, {}).values() if end_us > now_us]

    def is_current(self, order: Order) -> bool:
        """Whether ``order`` still is the one its point must obey."""
        latest, end_us = self._latest.get(order.thing, {}).get(order.point, (None, 0))
        return latest == order and end_us > self._context.clock.now_us()

    async def follow(self) -> None:
        """Take orders, for ever."""
        async for order in self._context.orders():
            if await self._accept(order):
                self._wake(order.thing)

    async def expire(self) -> None:
        """Report, for ever, orders whose end came before a charge point took them; forget all that have ended."""
        while True:
            await self._context.clock.sleep(_TICK_S)
            now_us = self._context.clock.now_us()
            while self._ends and self._ends[0][0] <= now_us:
                await self._end(heapq.heappop(self._ends)[2])

    async def progress(self, order: Order, state: ProgressState, reason: str = "") -> None:
        """Report how far an order got, once; nothing is said of it after an answer that settles it."""
        sent = self._open.get(order.command)
        if sent is None or (sent and state == "sent"):
            return
        if state == "sent":
            self._open[order.command] = True
        else:
            del self._open[order.command]
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
            self._open.pop(latest.command, None)  # whoever replaced it knows
        return True

    async def _end(self, order: Order) -> None:
        points = self._latest.get(order.thing, {})
        latest = points.get(order.point)
        if latest is None or latest[0] != order:
            return  # replaced or prolonged: the later entry ends it
        del points[order.point]
        if not points:
            del self._latest[order.thing]
        await self.progress(order, "failed", "it ended before the charge point took it")
        self._wake(order.thing)
