"""What a device's connection needs of the broker that holds it, and how a connection ends or is refused."""

import asyncio
from typing import Protocol

from amqtt.mqtt.connect import ConnectPacket

from gridspine.adapters.mqtt.clients import ClientState, Session
from gridspine.adapters.mqtt.packs import Published
from gridspine.adapters.mqtt.settings import Settings
from gridspine.adapters.mqtt.topics import Destination
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import GridspineError
from gridspine.things.adapter import Order, WireTrace

REFUSED_FILTER = 0x80
"""SUBACK return code *failure*, MQTT 3.1.1 §3.9.3."""


class Ended(Exception):
    """The connection is over: ``clean`` when the device said good-bye, ``abort`` when it no longer reads."""

    def __init__(self, reason: str, *, clean: bool = False, abort: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.clean = clean
        self.abort = abort


class Refused(Exception):
    """The connection is refused with a CONNACK ``code`` and a reason for the log."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Host(Protocol):
    """What a session needs of its broker."""

    clock: Clock
    settings: Settings
    trace: WireTrace

    async def admit(
        self, connect: ConnectPacket, certificate_der: bytes | None, session: Session
    ) -> tuple[ClientState, bool, Published | None]:
        """Return the client's state, whether its session is resumed, and its will; raise `Refused`."""
        ...

    def destination(self, state: ClientState, topic: bytes) -> Destination | None:
        """Return where ``topic`` leads, None when the client may not publish there; raise `Invalid` for no topic."""
        ...

    def take(self, state: ClientState, messages: list[Published]) -> asyncio.Future[None]:
        """Start taking messages in; that goes on when the connection ends."""
        ...

    def forbid(self, state: ClientState, topic: bytes) -> asyncio.Task[None]:
        """Start refusing a message on a topic that is not the client's; the task raises `Forbidden`."""
        ...

    async def subscribe(self, state: ClientState, topic_filter: str, qos: int) -> int:
        """Return the QoS granted, or `REFUSED_FILTER`."""
        ...

    async def unsubscribe(self, state: ClientState, filters: list[str]) -> None:
        """Forget subscriptions."""
        ...

    def orders_for(self, state: ClientState) -> list[Order]:
        """Return the orders in force on the topics the client subscribed to."""
        ...

    def address(self, state: ClientState, order: Order) -> tuple[str, int] | None:
        """Return topic and QoS for an order that is still to be sent, else None."""
        ...

    async def delivered(self, order: Order) -> None:
        """Note that the device has an order."""
        ...

    def hold_off(self, state: ClientState, error: GridspineError) -> None:
        """Turn the principal away for a while."""
        ...
