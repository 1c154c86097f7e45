"""One device's connection to the embedded broker (MQTT 3.1.1).

::

    device                         session                          node
      │ PUBLISH QoS 1 (ids 7, 8, 9)   │                               │
      ├──────────────────────────────→│ room in flight, else wait     │
      │                               ├── intake, together ──────────→│
      │                               │                    durable ───┤
      │        PUBACK (ids 7, 8, 9)   │←──────────────────────────────┤
      │←──────────────────────────────┤  in the order of PUBLISH      │

QoS 2 is method B of MQTT 3.1.1 §4.3.3: intake comes before PUBREC, because a sender may forget its message then. What
cannot be kept is never acknowledged: the connection is closed with a logged reason, and a 3.1.1 device sends its
unacknowledged messages again when it is back.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterator
from typing import Any

import msgspec
from amqtt.mqtt.packet import DISCONNECT, PINGREQ, PUBACK, PUBLISH, PUBREL, SUBSCRIBE, UNSUBSCRIBE
from amqtt.mqtt.pingresp import PingRespPacket
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.pubcomp import PubcompPacket
from amqtt.mqtt.pubrec import PubrecPacket
from amqtt.mqtt.suback import SubackPacket
from amqtt.mqtt.unsuback import UnsubackPacket

from gridspine.adapters.mqtt import packets
from gridspine.adapters.mqtt.clients import ClientState
from gridspine.adapters.mqtt.frames import DUP, Run, Splitter, pubacks
from gridspine.adapters.mqtt.host import Ended, Host, Refused
from gridspine.adapters.mqtt.notices import FIRST_PACKET_ID, send_notices
from gridspine.adapters.mqtt.outgoing import OutgoingOrders
from gridspine.adapters.mqtt.packs import Published
from gridspine.adapters.mqtt.shown import show_packet, show_written
from gridspine.adapters.mqtt.topics import Destination
from gridspine.infra.runtime.waiting import within
from gridspine.kernel.errors import DiskFull, Forbidden, GridspineError, Invalid, Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import Order

log = logging.getLogger(__name__)

MAX_FILTERS = 64
_CHUNK_BYTES = 262_144
_STALLED_WRITE_S = 60.0


class DeviceSession:
    """A connection from CONNECT to its end."""

    def __init__(self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer
        self.state: ClientState | None = None
        self.until_us: int | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._orders = OutgoingOrders(host, self._write)
        self._acks: asyncio.Queue[tuple[asyncio.Future[None] | None, bytes]] = asyncio.Queue(
            host.settings.max_in_flight
        )
        self._reading_since_us: int | None = None
        self._writing_since_us: int | None = None

    @property
    def peer(self) -> str:
        """The device's address, for logs."""
        host, port, *_ = self._writer.get_extra_info("peername") or ("?", 0)
        return f"{host}:{port}"

    @property
    def who(self) -> str:
        """Principal, client and address, for whoever looks at the wire."""
        return f"{self.state.source.principal} {self.state.client_id} {self.peer}" if self.state else self.peer

    def enqueue(self, order: Order) -> None:
        """Send ``order`` when there is room."""
        self._orders.enqueue(order)

    def end(self, reason: str) -> None:
        """Close the connection; `run` returns soon after."""
        if not self._ended.done():
            self._ended.set_exception(Ended(reason))

    async def run(self) -> None:
        """Serve the connection until it ends; never raises for what the device does."""
        introduction = asyncio.ensure_future(self._introduce())
        try:
            await asyncio.wait((introduction, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if introduction.done() and (admitted := introduction.result()) is not None:
                await self._serve(*admitted)
        finally:
            introduction.cancel()
            await asyncio.gather(introduction, return_exceptions=True)
            if not self._ended.cancel():
                self._ended.exception()  # asked for, so that the loop does not report it as forgotten
            self._writer.close()

    async def _introduce(self) -> tuple[ClientState, float, Published | None] | None:
        """Read CONNECT and answer it; None when the connection is refused."""
        try:
            connect = await within(
                self._host.clock, self._host.settings.connect_timeout_s, packets.read_connect(self._reader)
            )
            state, present, will = await self._host.admit(connect, self._certificate(), self)
            self.state = state
        except packets.WrongProtocol as error:
            await self._refuse(Refused(packets.BAD_PROTOCOL, str(error)))
        except Refused as refusal:
            await self._refuse(refusal)
        except (packets.EndOfStream, GridspineError, TimeoutError, OSError, ssl.SSLError) as error:
            log.info("connection dropped before CONNECT: peer=%s %s", self.peer, error or type(error).__name__)
        else:
            self.state = state
            log.info("connected: principal=%s client=%r peer=%s", state.source.principal, state.client_id, self.peer)
            self._host.trace("note", "connected", peer=self.who)
            self._writer.write(packets.connack(packets.ACCEPTED, session_present=present))
            return state, self._patience_s(connect.variable_header.keep_alive), will
        return None

    async def _refuse(self, refusal: Refused) -> None:
        log.warning("connection refused: peer=%s %s", self.peer, refusal.reason)
        self._host.trace("note", f"connection refused: {refusal.reason}", peer=self.peer)
        with contextlib.suppress(OSError, ssl.SSLError):
            self._writer.write(packets.connack(refusal.code))
            await self._writer.drain()

    async def _serve(self, state: ClientState, patience_s: float, will: Published | None) -> None:
        for order in self._host.orders_for(state):
            self.enqueue(order)
        sending = (self._orders.send(state), send_notices(state.notices, self._write))
        parts = (self._read(state), self._acknowledge(state), *sending, self._watch(patience_s))
        tasks: list[asyncio.Future[None]] = [asyncio.ensure_future(part) for part in parts]
        clean = False
        try:
            done, _ = await asyncio.wait([*tasks, self._ended], return_when=asyncio.FIRST_COMPLETED)
            first = self._ended if self._ended in done else next(iter(done))
            clean = self._log_end(state, None if first.cancelled() else first.exception())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if will is not None and not clean:
                self._host.take(state, [msgspec.structs.replace(will, now_us=self._host.clock.now_us())])

    def _log_end(self, state: ClientState, error: BaseException | None) -> bool:
        clean = isinstance(error, Ended) and error.clean
        if isinstance(error, Ended) and error.abort:
            self._writer.transport.abort()
        known = error is None or isinstance(error, (Ended, GridspineError, OSError, packets.EndOfStream))
        reason = "closed by the device" if isinstance(error, packets.EndOfStream) else error
        self._host.trace("note", f"connection ended: {reason}", peer=self.who)
        quiet = clean or isinstance(error, (packets.EndOfStream, OSError))
        log.log(
            logging.INFO if quiet else logging.WARNING if known else logging.ERROR,
            "connection ended: principal=%s client=%r reason=%s",
            state.source.principal, state.client_id, reason, exc_info=None if known else error,
        )  # fmt: skip
        return clean

    # -- device → node ----------------------------------------------------------------------------------------

    async def _read(self, state: ClientState) -> None:
        clock, splitter = self._host.clock, Splitter(self._host.settings.max_packet_bytes)
        trace = self._host.trace
        while True:
            if self._reading_since_us is None:
                self._reading_since_us = clock.monotonic_us()
            chunk = await self._reader.read(_CHUNK_BYTES)
            if not chunk:
                raise packets.EndOfStream
            for packet in splitter.feed(chunk):
                self._reading_since_us = None  # half a packet does not prolong a device's patience
                if trace.on:
                    show_packet(trace, packet, self.who)
                if isinstance(packet, Run):
                    await self._on_run(state, packet)
                else:
                    await self._handle(state, await packets.decode_packet(packet))

    async def _on_run(self, state: ClientState, run: Run) -> None:
        """Take in the messages of a run, as many at a time as there is room for."""
        messages = self._permitted(state, run)
        bodies = run.bodies[: len(messages)]
        at = 0
        while at < len(messages):
            end = at + await state.room.enter(bodies, at)
            taken = self._take(state, messages[at:end])
            await self._acks.put((taken, pubacks(run.packet_ids[at:end])))
            at = end
        if len(messages) < len(run):
            await self._forbid(state, run.topics[len(messages)])

    def _permitted(self, state: ClientState, run: Run) -> list[Published]:
        """Return the messages of a run up to the first that the client may not publish."""
        now_us = self._host.clock.now_us()
        known: dict[bytes, Destination | None] = {}
        messages: list[Published] = []
        for topic, body, first in zip(run.topics, run.bodies, run.firsts, strict=True):
            destination = known.get(topic)
            if destination is None:
                destination = known[topic] = self._destination(state, topic, messages)
            if destination is None:
                break
            messages.append(Published(destination, body, now_us, first & DUP != 0))
        return messages

    def _destination(self, state: ClientState, topic: bytes, before: list[Published]) -> Destination | None:
        try:
            return self._host.destination(state, topic)
        except Invalid:
            if before:
                return None  # those before it are taken in first
            raise

    def _take(self, state: ClientState, messages: list[Published]) -> asyncio.Future[None]:
        """Start taking in messages that have room, and give the room back when that is done."""
        taken = self._host.take(state, messages)
        bodies = [message.body for message in messages]
        taken.add_done_callback(lambda _: state.room.leave(bodies))
        return taken

    async def _forbid(self, state: ClientState, topic: bytes) -> None:
        """Refuse a message, and read no further: that it is refused ends the connection."""
        task = self._host.forbid(state, topic)
        await self._acks.put((task, b""))
        await asyncio.get_running_loop().create_future()

    async def _handle(self, state: ClientState, packet: Any) -> None:
        kind = packet.fixed_header.packet_type
        if kind == PUBLISH:
            await self._on_publish(state, packet)
        elif kind == PUBREL:
            state.receiving.discard(packet.packet_id)
            await self._acks.put((None, PubcompPacket.build(packet.packet_id).to_bytes()))
        elif kind == PUBACK:
            if packet.packet_id >= FIRST_PACKET_ID:
                state.notices.taken(packet.packet_id)
            else:
                await self._orders.taken(packet.packet_id)
        elif kind == PINGREQ:
            await self._write(PingRespPacket.build().to_bytes())
        elif kind == SUBSCRIBE:
            await self._on_subscribe(state, packet)
        elif kind == UNSUBSCRIBE:
            await self._host.unsubscribe(state, packet.payload.topics[:MAX_FILTERS])
            await self._write(UnsubackPacket.build(packet.variable_header.packet_id).to_bytes())
        elif kind == DISCONNECT:
            raise Ended("the device said good-bye", clean=True)
        else:
            raise Invalid(f"packet type {kind} is not for a broker")

    async def _on_publish(self, state: ClientState, packet: Any) -> None:
        if packet.qos == 2 and packet.packet_id in state.receiving:
            await self._acks.put((None, PubrecPacket.build(packet.packet_id).to_bytes()))
            return
        topic = packet.topic_name.encode()
        destination = self._host.destination(state, topic)
        if destination is None:
            await self._forbid(state, topic)
            return
        message = Published(destination, packet.data or b"", self._host.clock.now_us(), packet.dup_flag)
        await state.room.enter([message.body])
        task = self._take(state, [message])
        ack = b""
        if packet.qos == 1:
            ack = PubackPacket.build(packet.packet_id).to_bytes()
        elif packet.qos == 2:
            ack = PubrecPacket.build(packet.packet_id).to_bytes()
            task.add_done_callback(lambda t: _remember(state.receiving, packet.packet_id, t))
        await self._acks.put((task, ack))

    async def _acknowledge(self, state: ClientState) -> None:
        """Answer in the order of arrival (MQTT 3.1.1 §4.6), each only when its message is durable."""
        while True:
            task, ack = await self._acks.get()
            if task is not None:
                try:
                    await asyncio.shield(task)
                except (Overloaded, DiskFull, Forbidden) as error:
                    self._host.hold_off(state, error)
                    raise
            if ack and not self._writer.is_closing():
                self._show(ack)
                self._writer.write(ack)
            if self._acks.empty():
                await self._write(b"")

    async def _on_subscribe(self, state: ClientState, packet: Any) -> None:
        filters = packet.payload.topics
        if not filters or len(filters) > MAX_FILTERS:
            raise Invalid(f"SUBSCRIBE has 1 to {MAX_FILTERS} filters")
        codes = [await self._host.subscribe(state, topic_filter, qos) for topic_filter, qos in filters]
        await self._write(SubackPacket.build(packet.variable_header.packet_id, codes).to_bytes())
        for order in self._host.orders_for(state):
            self.enqueue(order)

    # -- the wire ---------------------------------------------------------------------------------------------

    async def _write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise packets.EndOfStream  # uvloop would say so by a RuntimeError
        self._show(data)
        with self._writing():
            self._writer.write(data)
            await self._writer.drain()

    def _show(self, data: bytes) -> None:
        if data and self._host.trace.on:
            show_written(self._host.trace, data, self.who)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._writing_since_us is None:
            self._writing_since_us = self._host.clock.monotonic_us()
        try:
            yield
        finally:
            self._writing_since_us = None

    async def _watch(self, patience_s: float) -> None:
        """End a connection that is silent, or that does not read what it is sent, for too long."""
        clock = self._host.clock
        while True:
            await clock.sleep(min(patience_s, _STALLED_WRITE_S) / 4)
            now_us = clock.monotonic_us()
            if self.until_us is not None and now_us > self.until_us:
                raise Ended("its time is over: who came by a token comes again with another")
            if self._reading_since_us is not None and now_us - self._reading_since_us > patience_s * US:
                raise Ended(f"silent for {patience_s:.0f} s", abort=True)
            if self._writing_since_us is not None and now_us - self._writing_since_us > _STALLED_WRITE_S * US:
                raise Ended("the device does not read", abort=True)

    def _patience_s(self, keep_alive_s: int) -> float:
        """How long a device may be silent: 1.5 times its keep-alive (MQTT 3.1.1 §3.1.2.10), within our limit."""
        idle_s = self._host.settings.idle_timeout_s
        return min(1.5 * keep_alive_s, idle_s) if keep_alive_s else idle_s

    def _certificate(self) -> bytes | None:
        tls = self._writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) if tls is not None else None


def _remember(receiving: set[int], packet_id: int, task: asyncio.Future[None]) -> None:
    if not task.cancelled() and task.exception() is None:
        receiving.add(packet_id)
