"""The order desk: hands orders to whoever carries them out, an adapter or the emulator, and bounds what waits."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable

import structlog

from gridspine.apps.node.journey import Journeys
from gridspine.kernel.errors import NotFound
from gridspine.things.adapter import Order
from gridspine.things.directory import Directory
from gridspine.things.form import Forms

_ORDERS_WAITING = 10_000
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
        self._queues: dict[str, asyncio.Queue[Order | None]] = {}

    async def orders(self, adapter: str) -> AsyncGenerator[Order, None]:
        """Yield the orders for Things of ``adapter``: those in force first, then each new one."""
        queue: asyncio.Queue[Order | None] = asyncio.Queue(_ORDERS_WAITING)
        self._queues[adapter] = queue
        try:
            following: Order | None = None
            while True:
                if following is None:
                    for order in self._owed():  # made for a wire, whatever became of the twin since
                        if self._directory.get(order.thing).adapter == adapter:
                            yield order
                    for order in self._in_force():
                        if self._taker(order) == adapter:
                            yield order
                else:
                    yield following
                following = await queue.get()
        finally:
            if self._queues.get(adapter) is queue:
                del self._queues[adapter]

    def send(self, order: Order) -> None:
        """Hand an order to its adapter; one that cannot take it now begins again with the orders in force."""
        try:
            queue = self._queues.get(self._taker(order))
        except NotFound:
            return
        if queue is None:
            return  # no adapter runs: it is told of orders in force when it starts
        if queue.full():
            log.error("an adapter does not take its orders; it is told those in force again", thing=order.thing)
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)
        else:
            queue.put_nowait(self._journeys.order(order))

    def _taker(self, order: Order) -> str:
        """Return who carries an order out: its Thing's adapter, or the emulator."""
        return self._forms.taker(order, self._directory.get(order.thing).adapter)
