"""Orders on their way to one device of the embedded broker: few at a time, each once a connection.

::

    enqueue ─► outbox (the latest of each point) ─► a place in the window ─► PUBLISH ─► PUBACK = delivered
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from gridspine.adapters.mqtt import packets
from gridspine.adapters.mqtt.clients import ClientState
from gridspine.adapters.mqtt.host import Host
from gridspine.adapters.mqtt.wire import encode_command
from gridspine.things.adapter import Order

ORDERS_IN_FLIGHT = 8


class OutgoingOrders:
    """The orders of one connection; ``write`` sends bytes to its device."""

    def __init__(self, host: Host, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._host = host
        self._write = write
        self._outbox: dict[tuple[str, str], Order] = {}
        self._wake = asyncio.Event()
        self._window = asyncio.Semaphore(ORDERS_IN_FLIGHT)
        self._unacknowledged: dict[int, Order] = {}
        self._told: dict[tuple[str, str], Order] = {}
        self._packet_ids = itertools.cycle(range(1, 65_536))

    def enqueue(self, order: Order) -> None:
        """Send ``order`` when there is room, once a connection; it replaces an unsent one for the same point."""
        key = (order.thing, order.point)
        if self._told.get(key) != order:
            self._outbox[key] = order
            self._wake.set()

    async def send(self, state: ClientState) -> None:
        """Send what is enqueued and still the client's to obey, for ever; what there is room for goes in one write."""
        while True:
            await self._wake.wait()
            await self._window.acquire()
            taken: list[bytes] = []
            untracked: list[Order] = []
            while self._outbox:
                order = self._outbox.pop(next(iter(self._outbox)))
                address = self._host.address(state, order)
                if address is None:
                    continue
                taken.append(self._packet(order, *address))
                if not address[1]:
                    untracked.append(order)
                elif self._window.locked():
                    break
                else:
                    await self._window.acquire()
            else:
                self._wake.clear()
                self._window.release()
            if taken:
                await self._write(b"".join(taken))
            for order in untracked:
                await self._host.delivered(order)

    def _packet(self, order: Order, topic: str, qos: int) -> bytes:
        """Return ``order`` as it is published; one that will be acknowledged has a place in the window already."""
        self._told[(order.thing, order.point)] = order
        packet_id = None
        if qos:
            packet_id = next(i for i in self._packet_ids if i not in self._unacknowledged)
            self._unacknowledged[packet_id] = order
        return packets.publish(topic, encode_command(order), qos=qos, packet_id=packet_id)

    async def taken(self, packet_id: int) -> None:
        """Note a PUBACK of the device."""
        order = self._unacknowledged.pop(packet_id, None)
        if order is not None:
            self._window.release()
            await self._host.delivered(order)
