"""The order desk: hands orders to whoever carries them out, an adapter or the emulator, and bounds what waits."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

import structlog

from gridspine.apps.node.journey import Journeys
from gridspine.infra.runtime.takers import Takers
from gridspine.kernel.errors import NotFound
from gridspine.things.adapter import Order
from gridspine.things.adapter_host import ORDERS_WAITING
from gridspine.things.directory import Directory
from gridspine.things.form import Forms

log = structlog.get_logger(__name__)


class OrderDesk:
    """A queue of orders for each taker; ``in_force`` gives those a taker that begins must be told.

    ``owed`` gives those that adapters must be told before, of twins that went on in another form.
    """

    def __init__(
        self,
        directory: Directory,
        forms: Forms,
        journeys: Journeys,
        in_force: Callable[[], Iterable[Order]],
        owed: Callable[[], Iterable[Order]],
    ) -> None:
        self._directory = directory
        self._forms = forms
        self._journeys = journeys
        self._in_force, self._owed = in_force, owed
        self._takers: Takers[Order] = Takers(ORDERS_WAITING)

    def orders(self, adapter: str) -> AsyncGenerator[Order, None]:
        """Yield the orders for Things of ``adapter``: those in force first, then each new one."""
        return self._takers.taken(adapter, lambda: self._begin(adapter))

    def send(self, order: Order) -> None:
        """Hand an order to its adapter; one that cannot take it now begins again with the orders in force."""
        try:
            taker = self._taker(order)
        except NotFound:
            return
        if not self._takers.runs(taker):
            return  # it is told of orders in force when it starts
        if not self._takers.put(taker, self._journeys.order(order)):
            log.error("an adapter does not take its orders; it is told those in force again", thing=order.thing)
            self._takers.begin_again(taker)

    def _begin(self, adapter: str) -> Iterator[Order]:
        for order in self._owed():  # made for a wire, whatever became of the twin since
            if self._directory.get(order.thing).adapter == adapter:
                yield order
        for order in self._in_force():
            if self._taker(order) == adapter:
                yield order

    def _taker(self, order: Order) -> str:
        """Return who carries an order out: its Thing's adapter, or the emulator."""
        return self._forms.taker(order, self._directory.get(order.thing).adapter)
