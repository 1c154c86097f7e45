"""The orders of one device that wait for their moment: to be looked at, renewed or ended."""

from collections.abc import Iterator

from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.time import US
from gridspine.things.adapter import Order

_GRACE_US = 2 * US
"""How long after a lease's end the fallback is left to who ordered it, and to the device's timer [µs]."""
_NEVER_US = 1 << 62


class Waiting:
    """The newest order for each point. What was settled is looked at again when the device has come back.

    A device counts in ``epoch`` how often it was found anew; an order is settled in the epoch it was looked at in.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders: dict[str, Order] = {}
        self._settled: dict[str, int] = {}
        self._renew_us: dict[str, int] = {}

    def __iter__(self) -> Iterator[Order]:
        return iter(list(self._orders.values()))

    def submit(self, order: Order) -> None:
        """Take an order; one with a lower sequence than the last for its point is ignored."""
        last = self._orders.get(order.point)
        if last is None or order.sequence >= last.sequence:
            self._orders[order.point] = order
            self._settled.pop(order.point, None)
            self._renew_us.pop(order.point, None)

    def settle(self, order: Order, epoch: int, renew_us: int | None = None) -> None:
        """Leave ``order`` until its end, or until ``renew_us`` [µs since 1970], unless a newer one has come."""
        if self._orders.get(order.point) is not order:
            return
        self._settled[order.point] = epoch
        if renew_us is None:
            self._renew_us.pop(order.point, None)
        else:
            self._renew_us[order.point] = renew_us

    def drop(self, order: Order) -> None:
        """Forget ``order``, unless a newer one has come."""
        if self._orders.get(order.point) is order:
            del self._orders[order.point]

    def due_us(self, epoch: int) -> int | None:
        """Return when [µs since 1970] something must be done next, or None."""
        return min((self._due_us(order, epoch) for order in self._orders.values()), default=None)

    def is_due(self, order: Order, epoch: int) -> bool:
        """Whether something must be done for ``order`` now."""
        return self._due_us(order, epoch) <= self._clock.now_us()

    def renews(self, order: Order) -> bool:
        """Whether the device's timer is to be set anew now."""
        return self._renew_us.get(order.point, _NEVER_US) <= self._clock.now_us()

    def _due_us(self, order: Order, epoch: int) -> int:
        if self._settled.get(order.point) != epoch:
            return 0
        return min(order.until_us + _GRACE_US, self._renew_us.get(order.point, _NEVER_US))
