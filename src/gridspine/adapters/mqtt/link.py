"""The node as client of an external broker (MQTT 3.1.1 or 5), with gmqtt.

The session is persistent under a fixed client identifier, so the broker queues for the node while it is away. A
message is acknowledged only after intake returned. What cannot be kept is not acknowledged: the link is dropped and
taken up again after a pause, and the broker sends its unacknowledged messages again.

gmqtt's own reconnecting is switched off: each connection is a new client, so that nothing of an old one, such as an
acknowledgement that comes late, can reach the wire of a new one.
"""

import asyncio
import logging
import math
from typing import Any

import gmqtt
from gmqtt.mqtt.handler import MQTTError

from gridspine.adapters.mqtt.commands import Commands
from gridspine.adapters.mqtt.connection import VERSIONS, Connection, LinkLost, tls_of
from gridspine.adapters.mqtt.inbound import Inbound, Published
from gridspine.adapters.mqtt.settings import Settings
from gridspine.adapters.mqtt.waiting import back_off_s, run_all, within
from gridspine.adapters.mqtt.wire import count_of_properties, encode_command
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Order

log = logging.getLogger(__name__)

_GOODBYE_S = 5.0


class BrokerLink:
    """Keeps the link to an external broker."""

    def __init__(self, context: AdapterContext, settings: Settings, inbound: Inbound, commands: Commands) -> None:
        if not settings.client_id.isascii():
            raise Invalid("client_id must be ASCII")
        self.ready = asyncio.Event()
        self._context = context
        self._settings = settings
        self._inbound = inbound
        self._commands = commands
        self._now: Connection | None = None
        self._outbox: dict[tuple[str, str], Order] = {}
        self._wake = asyncio.Event()
        self._taking: set[asyncio.Task[Any]] = set()
        self._known_session = False
        self._hold_s = 0.0

    async def run(self) -> None:
        """Connect, serve, and connect again, until cancelled."""
        attempt = 0
        settings, clock = self._settings, self._context.clock
        while True:
            try:
                await self._once()
            except (LinkLost, MQTTError, OSError, TimeoutError) as error:
                log.warning("link lost: broker=%s:%d %s", settings.host, settings.port, error)
            attempt = 0 if self.ready.is_set() else attempt + 1
            self.ready.clear()
            wait_s = back_off_s(clock, attempt, least_s=settings.reconnect_min_s, most_s=settings.reconnect_max_s)
            await clock.sleep(max(wait_s, self._hold_s))
            self._hold_s = 0.0

    async def deliver(self, order: Order) -> None:
        """Send an order when the link is up; when it is not, it is told once it is up again."""
        self._outbox[(order.thing, order.point)] = order
        self._wake.set()

    def recheck(self) -> None:
        """Subscribe to the topics of new bindings, and leave those of old ones."""
        if self._now is not None and self.ready.is_set():
            self._subscribe(self._now)

    async def _once(self) -> None:
        now = Connection(self._settings, self._context.secrets.get("password"), self._on_message)
        self._now = now
        try:
            await within(self._context.clock, self._settings.connect_timeout_s, self._connect(now))
            if self._known_session and not now.session_present:
                log.warning("the broker forgot our session: messages queued there while we were away are lost")
            self._known_session = True
            self._subscribe(now)
            await within(self._context.clock, self._settings.connect_timeout_s, now.granted())
            log.info("linked: broker=%s:%d", self._settings.host, self._settings.port)
            self.ready.set()
            self._outbox = {(order.thing, order.point): order for order in self._commands.undelivered()}
            self._wake.set()
            await run_all(_wait(now.lost), self._send(now), self._confirm(now))
        finally:
            self._now = None
            await self._close(now)

    async def _connect(self, now: Connection) -> None:
        settings = self._settings
        connecting = asyncio.ensure_future(
            now.client.connect(
                settings.host,
                settings.port,
                ssl=tls_of(settings) or False,
                keepalive=settings.keep_alive_s,
                version=VERSIONS[settings.protocol],
            )
        )
        try:
            await asyncio.wait((connecting, now.lost), return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()  # says more than a closed connection does
            else:
                now.lost.result()
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)

    async def _close(self, now: Connection) -> None:
        now.lose(LinkLost("closed"))
        now.lost.exception()
        try:
            await within(self._context.clock, _GOODBYE_S, now.client.disconnect())
        except (OSError, TimeoutError, AttributeError) as error:
            log.debug("good-bye not said: %r", error)
        for task in list(self._taking):
            task.cancel()
        await asyncio.gather(*self._taking, return_exceptions=True)

    def _subscribe(self, now: Connection) -> None:
        wanted = set(self._inbound.routes.inbound_filters())
        added, gone = sorted(wanted - now.filters), sorted(now.filters - wanted)
        if added:
            now.client.subscribe([gmqtt.Subscription(topic, qos=1) for topic in added])
        if gone:
            now.client.unsubscribe(gone)
        now.filters = wanted

    # -- broker → node ----------------------------------------------------------------------------------------

    async def _on_message(self, now: Connection, topic: str, body: bytes, qos: int, properties: dict[str, Any]) -> int:
        """Take a message in; gmqtt acknowledges when this returns, unless the connection is closed by then."""
        destination = self._inbound.routes.destination(topic)
        message = Published(
            client=destination.things[0] if destination else "unknown",
            topic=topic,
            body=bytes(body),
            again=bool(properties.get("dup")),
            kept=bool(properties.get("retain")),
            count=count_of_properties(properties.get("user_property", ())),
        )
        task = asyncio.current_task()
        assert task is not None
        self._taking.add(task)
        try:
            await self._inbound.take(message, None)
        except asyncio.CancelledError:
            await self._drop(now, LinkLost("the node stops"))
        except Exception as error:  # whatever it is, the message must not be acknowledged
            self._hold_s = float(error.retry_after_s) if isinstance(error, Overloaded) else self._settings.hold_off_s
            await self._drop(now, LinkLost(f"a message could not be kept: {type(error).__name__}: {error}"))
        finally:
            self._taking.discard(task)
        return 0

    async def _drop(self, now: Connection, error: LinkLost) -> None:
        """Close the connection before anything else can be acknowledged on it."""
        if now.lose(error):
            await now.client.disconnect()

    # -- node → broker ----------------------------------------------------------------------------------------

    async def _send(self, now: Connection) -> None:
        while True:
            await self._wake.wait()
            await now.window.acquire()
            if not self._outbox:
                self._wake.clear()
                now.window.release()
                continue
            order = self._outbox.pop(next(iter(self._outbox)))
            topic = self._inbound.routes.command_topic(order.thing)
            if topic is None or not self._commands.is_current(order):
                now.window.release()
                continue
            now.client.publish(topic, encode_command(order), qos=1, **self._expiry(order))
            now.sent[now.unacknowledged.last] = order

    def _expiry(self, order: Order) -> dict[str, int]:
        """MQTT 5.0 §3.3.2.3.3: a broker forgets an order that has ended; 3.1.1 devices look at ``until``."""
        if self._settings.protocol != "5" or order.value is None:
            return {}
        left_s = math.ceil((order.until_us - self._context.clock.now_us()) / US)
        return {"message_expiry_interval": min(max(1, left_s), 0xFFFF_FFFF)}

    async def _confirm(self, now: Connection) -> None:
        while True:
            order = now.sent.pop(await now.taken.get(), None)
            if order is not None:
                now.window.release()
                await self._commands.delivered(order)


async def _wait(lost: asyncio.Future[None]) -> None:
    await asyncio.shield(lost)
