"""The embedded broker: the node itself, for MQTT 3.1.1 devices.

It routes nothing between devices: what they publish goes to intake, and they may read their own orders, and notices of
other adapters for them, no more.
There is no anonymous access, no wildcard, no retained message. amqtt supplies the packets; its own broker is not used
because it acknowledges from memory, queues without bound and knows a session by its client identifier alone.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence

from amqtt.mqtt.connect import ConnectPacket

from gridspine.adapters.mqtt import packets
from gridspine.adapters.mqtt.clients import Clients, ClientState, Session
from gridspine.adapters.mqtt.commands import Commands
from gridspine.adapters.mqtt.frames import topic_of
from gridspine.adapters.mqtt.host import REFUSED_FILTER, Refused
from gridspine.adapters.mqtt.inbound import Inbound
from gridspine.adapters.mqtt.packs import Published
from gridspine.adapters.mqtt.session import DeviceSession
from gridspine.adapters.mqtt.settings import Settings
from gridspine.adapters.mqtt.topics import Destination
from gridspine.kernel.errors import Forbidden, GridspineError, Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Order, Source
from gridspine.things.adapter_notices import NoticeReader, notices_of, read_notice_topic

log = logging.getLogger(__name__)

LISTENER = "mqtt"
MAX_CLIENT_ID = 256
TOKEN_S = 3600.0
"""How long a connection lasts that was opened by a token [s]."""
MAX_SUBSCRIPTIONS = 2_000
"""Subscriptions of a client beyond which none to notices is granted: they are kept together."""
_WRONG_PASSWORD_S = 1.0
_MIN_TOKEN = 100


class EmbeddedBroker:
    """Serves the listener ``mqtt``."""

    def __init__(self, context: AdapterContext, settings: Settings, inbound: Inbound, commands: Commands) -> None:
        self.clock = context.clock
        self.settings = settings
        self.trace = context.trace
        self.ready = asyncio.Event()
        self.listens_at = ("", 0)
        self.tls = bool(context.settings.get(LISTENER, {}).get("tls"))
        self._notices = notices_of(context)
        self._context = context
        self._inbound = inbound
        self._commands = commands
        self._clients = Clients(
            context.store,
            per_principal=settings.max_connections_per_principal,
            max_in_flight=settings.max_in_flight,
            max_in_flight_bytes=settings.max_in_flight_bytes,
        )
        self._connections: dict[DeviceSession, asyncio.Task[None]] = {}
        self._away_until_us: dict[str, int] = {}
        self._refusing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Open the listener and serve until cancelled; what is then under way is not acknowledged."""
        host, port = self.listens_at = await self._context.listen(LISTENER, self._on_connection)
        log.info("listening: %s:%d", host, port)
        self.ready.set()
        try:
            with self._notices.serve(self):
                await asyncio.get_running_loop().create_future()
        finally:
            self.ready.clear()
            for session in self._connections:
                session.end("the node stops")
            if self._connections:
                await asyncio.wait(self._connections.values())
            for task in list(self._refusing):
                task.cancel()
            await asyncio.gather(*self._refusing, return_exceptions=True)
            await self._inbound.close()

    async def deliver(self, order: Order) -> None:
        """Hand an order to the connections of its Thing; an absent device is told when it is back."""
        topic = self._inbound.routes.command_topic(order.thing)
        for session in self._clients.subscribed(topic) if topic else ():
            session.enqueue(order)

    def recheck(self) -> None:
        """Cut the connections of those who may neither publish for any Thing nor read any notices any more."""
        for session, state in self._clients.connected():
            if any(map(read_notice_topic, state.subscriptions)) and self._notices.serves(state.source):
                continue  # that is found sooner than that it has no Thing
            publishes = any(self._context.may_publish(state.source, one) for one in self._inbound.routes.things)
            if not publishes and not self._notices.serves(state.source):
                session.end("no Thing here is the device's any more")

    def subjects(self, desk: str) -> Collection[str]:
        """Return the subjects of a desk's notices that anybody subscribed to."""
        return self._clients.index.subjects(desk)

    def readers(self, desk: str, subject: str, verb: str) -> Sequence[NoticeReader]:
        """Return who subscribed to ``verb`` of ``subject``."""
        return self._clients.index.readers(desk, subject, verb)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self.settings.max_connections:
            log.warning("connection refused: %d are the most", self.settings.max_connections)
            writer.close()
            return
        session = DeviceSession(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._connections[session] = task
        try:
            await session.run()
        finally:
            del self._connections[session]
            if session.state is not None:
                self._clients.disconnect(session.state, session)

    # -- what a session asks ----------------------------------------------------------------------------------

    async def admit(
        self, connect: ConnectPacket, certificate_der: bytes | None, session: Session
    ) -> tuple[ClientState, bool, Published | None]:
        """Authenticate a CONNECT; raise `Refused` when it is turned away."""
        clean = bool(connect.clean_session_flag)
        client_id = connect.client_id or ""
        if len(client_id) > MAX_CLIENT_ID or (connect.client_id_is_random and not clean):
            raise Refused(packets.BAD_CLIENT_ID, "client identifier missing or too long")
        if connect.client_id_is_random:
            client_id = f"unnamed-{self.clock.randbytes(8).hex()}"
        source = await self._authenticate(connect, certificate_der, session)
        if connect.will_flag and session.until_us is not None:
            raise Refused(packets.NOT_AUTHORISED, f"principal={source.principal} came by a token, which only reads")
        will = self._will(connect, source)
        try:
            state, present = await self._clients.connect(source, client_id, session, clean=clean)
        except Overloaded as error:
            raise Refused(packets.UNAVAILABLE, f"principal={source.principal} {error.detail}") from error
        if present:
            await self._resume(state)
        return state, present, will

    async def _resume(self, state: ClientState) -> None:
        """Let a session go on reading notices, as far as it may today."""
        topics = {one: topic for one in state.subscriptions if (topic := read_notice_topic(one)) is not None}
        for topic in topics.values():
            if self._notices.may_read(state.source, topic):
                self._clients.index.add(topic, state)
            else:
                self._clients.index.discard(str(topic), state)

    async def _authenticate(
        self, connect: ConnectPacket, certificate_der: bytes | None, session: Session
    ) -> Source:  # fmt: skip
        username, password = connect.username or "", connect.password or ""
        source = None
        if len(password) >= _MIN_TOKEN and password.count(".") == 2:  # as a JWT is (RFC 7519 §3), and no password here
            source = self._notices.proven(username, password)
        if source is not None:
            session.until_us = self.clock.monotonic_us() + round(TOKEN_S * US)
        elif username or certificate_der:
            source = await self._context.authorise(username, password, certificate_der)
        if source is None:
            await self.clock.sleep(_WRONG_PASSWORD_S)
            raise Refused(packets.NOT_AUTHORISED, f"not authenticated: username={username[:80]!r}")
        until_us = self._away_until_us.get(source.principal, 0)
        if self.clock.monotonic_us() < until_us:
            raise Refused(packets.UNAVAILABLE, f"principal={source.principal} is to come back later")
        self._away_until_us.pop(source.principal, None)
        return source

    def _will(self, connect: ConnectPacket, source: Source) -> Published | None:
        if not connect.will_flag:
            return None
        topic = connect.will_topic or ""
        destination = self._inbound.routes.destination(topic)
        if destination is None or not self._inbound.permitted(destination, source):
            raise Refused(packets.NOT_AUTHORISED, f"principal={source.principal} will on {topic[:120]!r}")
        return Published(destination, bytes(connect.will_message or b""), 0)

    def destination(self, state: ClientState, topic: bytes) -> Destination | None:
        """Return where ``topic`` leads, None when the client may not publish there; raise `Invalid` for no topic."""
        destination = self._inbound.routes.by_wire.get(topic)
        if destination is None:
            topic_of(topic)
            return None
        if _only_reads(state):
            return None
        return destination if self._inbound.permitted(destination, state.source) else None

    def take(self, state: ClientState, messages: list[Published]) -> asyncio.Future[None]:
        """Start taking messages in; that goes on when the connection ends, and is bounded by the client's room."""
        return self._inbound.take(state.source.principal, messages, state.source)

    def forbid(self, state: ClientState, topic: bytes) -> asyncio.Task[None]:
        """Start refusing a message on a topic that is not the client's; the task raises `Forbidden`."""
        task = asyncio.ensure_future(self._inbound.forbid(state.source.principal, topic_of(topic), state.source))
        self._refusing.add(task)
        task.add_done_callback(self._refusing.discard)
        return task

    async def subscribe(self, state: ClientState, topic_filter: str, qos: int) -> int:
        """Grant a subscription to notices for the client, or to orders of a Thing of its own; refuse any other."""
        notice = read_notice_topic(topic_filter)
        is_room = len(state.subscriptions) < MAX_SUBSCRIPTIONS or topic_filter in state.subscriptions
        if notice is not None and qos <= 2 and is_room and self._notices.may_read(state.source, notice):
            await self._clients.subscribe(state, topic_filter, min(qos, 1))
            self._clients.index.add(notice, state)
            return min(qos, 1)
        thing = self._inbound.routes.commanded_thing(topic_filter)
        if thing is None or qos > 2 or _only_reads(state) or not self._context.may_publish(state.source, thing):
            log.warning("subscription refused: principal=%s filter=%r", state.source.principal, topic_filter[:120])
            return REFUSED_FILTER
        granted = min(qos, 1)
        await self._clients.subscribe(state, topic_filter, granted)
        return granted

    async def unsubscribe(self, state: ClientState, filters: list[str]) -> None:
        """Forget subscriptions."""
        await self._clients.unsubscribe(state, filters)

    def orders_for(self, state: ClientState) -> list[Order]:
        """Return the orders in force on the client's subscriptions."""
        things = (self._inbound.routes.commanded_thing(topic_filter) for topic_filter in state.subscriptions)
        return [order for thing in things if thing is not None for order in self._commands.orders.in_force(thing)]

    def address(self, state: ClientState, order: Order) -> tuple[str, int] | None:
        """Return topic and QoS of an order; None when it was replaced, has ended, or is no longer the client's."""
        topic = self._inbound.routes.command_topic(order.thing)
        if topic is None or topic not in state.subscriptions or not self._commands.orders.is_current(order):
            return None
        if _only_reads(state) or not self._context.may_publish(state.source, order.thing):
            return None
        return topic, state.subscriptions[topic]

    async def delivered(self, order: Order) -> None:
        """Note that a device has an order."""
        await self._commands.delivered(order)

    def hold_off(self, state: ClientState, error: GridspineError) -> None:
        """Turn the principal away for a while: it is to send again, but not at once."""
        wait_s = self.settings.hold_off_s
        if isinstance(error, Overloaded):
            wait_s = float(error.retry_after_s)
        if isinstance(error, Forbidden):
            wait_s = max(wait_s, _WRONG_PASSWORD_S)
        self._away_until_us[state.source.principal] = self.clock.monotonic_us() + round(wait_s * US)


def _only_reads(state: ClientState) -> bool:
    """Whether who is connected came by a token: that is of another adapter's door, and good for its notices alone."""
    return state.session is not None and state.session.until_us is not None
