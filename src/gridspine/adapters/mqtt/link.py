"""The node as client of an external broker (MQTT 3.1.1 or 5).

The session is persistent under a fixed client identifier, so the broker queues for the node while it is away. A
message is acknowledged only after intake returned. What cannot be kept is not acknowledged: the link is dropped and
taken up again after a pause, and the broker sends its unacknowledged messages again.

Nothing of an old connection, such as an acknowledgement that comes late, can reach the wire of a new one: each is an
object of its own. While there is no room for more messages none are read, and TCP holds the broker back.
"""

import asyncio
import logging
import math

from gridspine.adapters.mqtt.client_wire import FAILED, user_properties
from gridspine.adapters.mqtt.commands import Commands
from gridspine.adapters.mqtt.connection import Connection, LinkLost, open_connection
from gridspine.adapters.mqtt.frames import DUP, RETAIN, Run, pubacks
from gridspine.adapters.mqtt.inbound import Inbound
from gridspine.adapters.mqtt.packs import Published
from gridspine.adapters.mqtt.room import Room
from gridspine.adapters.mqtt.settings import Settings
from gridspine.adapters.mqtt.wire import count_of_properties, encode_command
from gridspine.infra.runtime.waiting import back_off_s, first_to_end, within
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Order

log = logging.getLogger(__name__)

_GOODBYE_S = 5.0
_ROOM_BYTES = 33_554_432
"""Bodies of messages that are on their way in, together."""


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
        self._room = Room(settings.receive_maximum, _ROOM_BYTES)
        self._known_session = False
        self._hold_s = 0.0

    async def run(self) -> None:
        """Connect, serve, and connect again, until cancelled; what is then under way is not acknowledged."""
        try:
            await self._keep_linked()
        finally:
            await self._inbound.close()

    async def _keep_linked(self) -> None:
        attempt = 0
        settings, clock = self._settings, self._context.clock
        while True:
            try:
                await self._once()
            except (LinkLost, OSError, TimeoutError) as error:
                log.warning("link lost: broker=%s:%d %s", settings.host, settings.port, error)
                self._context.trace("note", f"link lost: {error}", peer=f"{settings.host}:{settings.port}")
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
        settings, clock = self._settings, self._context.clock
        opening = open_connection(clock, settings, self._context.secrets.get("password"), self._context.trace)
        now = await within(clock, settings.connect_timeout_s, opening)
        try:
            if self._known_session and not now.session_present:
                log.warning("the broker forgot our session: messages queued there while we were away are lost")
            self._known_session = True
            self._now = now
            self._subscribe(now)
            await first_to_end(
                now.read(lambda run: self._on_run(now, run)),
                self._acknowledge(now),
                now.keep_alive(),
                self._send(now),
                self._confirm(now),
                self._get_ready(now),
            )
        finally:
            self._now = None
            await self._close(now)

    async def _get_ready(self, now: Connection) -> None:
        """Wait for the subscriptions; from then on orders go out."""
        try:
            await within(self._context.clock, self._settings.connect_timeout_s, now.granted.wait())
        except TimeoutError as error:
            raise LinkLost("the broker does not answer the subscription") from error
        log.info("linked: broker=%s:%d", self._settings.host, self._settings.port)
        self.ready.set()
        self._outbox = {(order.thing, order.point): order for order in self._commands.orders.unsettled()}
        self._wake.set()
        await asyncio.get_running_loop().create_future()

    async def _close(self, now: Connection) -> None:
        """Let go of the connection. What it brought is taken in all the same: the broker may not have it any more."""
        try:
            await within(self._context.clock, _GOODBYE_S, now.close())
        except TimeoutError:
            now.abort()

    def _subscribe(self, now: Connection) -> None:
        wanted = set(self._inbound.routes.inbound_filters())
        added, gone = sorted(wanted - now.filters), sorted(now.filters - wanted)
        if added:
            now.subscribe(added)
        if gone:
            now.unsubscribe(gone)
        now.filters = wanted

    # -- broker → node ----------------------------------------------------------------------------------------

    async def _on_run(self, now: Connection, run: Run) -> None:
        """Take in the messages of a run, as many at a time as there is room for."""
        at = 0
        while at < len(run):
            end = at + await self._room.enter(run.bodies, at)
            now.acknowledge(self._take(run, at, end), pubacks(run.packet_ids[at:end]))
            at = end

    def _take(self, run: Run, at: int, end: int) -> list[asyncio.Future[None]]:
        """Start taking in some messages of a run, each client's together; the room is given back as that is done."""
        routes, now_us, limit = (
            self._inbound.routes.by_wire,
            self._context.clock.now_us(),
            self._settings.max_packet_bytes,
        )
        clients: dict[str, list[Published]] = {}
        for n in range(at, end):
            destination, body, first = routes.get(run.topics[n]), run.bodies[n], run.firsts[n]
            if destination is None or len(body) > limit:
                client = "unknown" if destination is None else destination.things[0]
                self._inbound.refuse(client, run.topics[n].decode(errors="replace"))
                self._room.leave([body])
                continue
            properties = run.properties[n]
            count = count_of_properties(user_properties(properties)) if properties else None
            message = Published(destination, body, now_us, first & DUP != 0, first & RETAIN != 0, count)
            clients.setdefault(destination.things[0], []).append(message)
        return [self._hand_in(client, messages) for client, messages in clients.items()]

    def _hand_in(self, client: str, messages: list[Published]) -> asyncio.Future[None]:
        taken = self._inbound.take(client, messages, self._context.source_of(client))
        bodies = [message.body for message in messages]
        taken.add_done_callback(lambda _: self._room.leave(bodies))
        return taken

    async def _acknowledge(self, now: Connection) -> None:
        """Acknowledge what is durable; at the first message that cannot be kept the link is dropped instead."""
        try:
            await now.send_acknowledgements()
        except (LinkLost, OSError):
            raise
        except Exception as error:  # whatever it is, the message must not be acknowledged
            self._hold_s = float(error.retry_after_s) if isinstance(error, Overloaded) else self._settings.hold_off_s
            raise LinkLost(f"a message could not be kept: {type(error).__name__}: {error}") from error

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
            if topic is None or not self._commands.orders.is_current(order):
                now.window.release()
                continue
            await now.publish(order, topic, encode_command(order), self._expiry_s(order))

    def _expiry_s(self, order: Order) -> int | None:
        """A broker of MQTT 5 forgets an order that has ended; 3.1.1 devices look at ``until``."""
        if order.value is None:
            return None
        left_s = math.ceil((order.until_us - self._context.clock.now_us()) / US)
        return min(max(1, left_s), 0xFFFF_FFFF)

    async def _confirm(self, now: Connection) -> None:
        while True:
            order, code = await now.taken.get()
            now.window.release()
            if code < FAILED:
                await self._commands.delivered(order)
            else:  # it stays open, and fails when it ends
                log.warning("the broker refused order %s for %s: reason %#x", order.command, order.thing, code)
