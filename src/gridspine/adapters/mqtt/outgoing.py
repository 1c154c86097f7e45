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
        """Send what is enqueued and still the client's to obey, for ever."""
        while True:
            await self._wake.wait()
            await self._window.acquire()
            if not self._outbox:
                self._wake.clear()
                self._window.release()
                continue
            order = self._outbox.pop(next(iter(self._outbox)))
            address = self._host.address(state, order)
            if address is None:
                self._window.release()
                continue
            topic, qos = address
            self._told[(order.thing, order.point)] = order
            packet_id = next(i for i in self._packet_ids if i not in self._unacknowledged) if qos else None
            if packet_id is not None:
                self._unacknowledged[packet_id] = order
            await self._write(packets.publish(topic, encode_command(order), qos=qos, packet_id=packet_id))
            if packet_id is None:
                self._window.release()
                await self._host.delivered(order)

    async def taken(self, packet_id: int) -> None:
        """Note a PUBACK of the device."""
        order = self._unacknowledged.pop(packet_id, None)
        if order is not None:
            self._window.release()
            await self._host.delivered(order)
