"""One connection of the node to an external broker: used once, never reconnected.

::

    broker ─ PUBLISH, PUBLISH, … ─► read ─► run ─► (link) ─► acknowledge, when durable, in order ─► PUBACK, PUBACK, …
    broker ◄─ PUBLISH (an order) ── publish                  taken ◄─ PUBACK
"""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence

from gridspine.adapters.mqtt import client_wire as wire
from gridspine.adapters.mqtt.frames import Frame, Run, Splitter
from gridspine.adapters.mqtt.settings import Settings
from gridspine.adapters.mqtt.shown import show_packet, show_written
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.kernel.time import US
from gridspine.things.adapter import Order, WireTrace

ORDERS_IN_FLIGHT = 64
_CHUNK_BYTES = 1 << 20
_MAX_PACKET_BYTES = 268_435_455
"""What MQTT allows (§2.2.3): an MQTT 3.1.1 client cannot say less, and a large message must not stop those behind."""
_MAX_CONNACK_BYTES = 65_536
_UNANSWERED = 1.5
"""Keep-alives without a word after which a broker is gone."""


class LinkLost(Exception):
    """The connection to the broker is over."""


class Connection:
    """A session with a broker, agreed by CONNECT and CONNACK; see `open_connection`."""

    def __init__(
        self,
        clock: Clock,
        settings: Settings,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        agreed: wire.Connack,
        trace: WireTrace,
    ) -> None:
        self.session_present = agreed.session_present
        self.granted = asyncio.Event()
        self.filters: set[str] = set()
        self.window = asyncio.Semaphore(min(ORDERS_IN_FLIGHT, agreed.receive_maximum))
        self.taken: asyncio.Queue[tuple[Order, int]] = asyncio.Queue()
        self._acks: asyncio.Queue[tuple[Sequence[asyncio.Future[None]], bytes]] = asyncio.Queue()
        self._clock = clock
        self._trace = trace
        self._peer = f"{settings.host}:{settings.port}"
        self._five = settings.protocol == "5"
        self._keep_alive_s = settings.keep_alive_s if agreed.keep_alive_s is None else agreed.keep_alive_s
        self._reader = reader
        self._writer = writer
        self._sent: dict[int, Order] = {}
        self._packet_ids = itertools.cycle(range(1, 65_536))
        self._reading_since_us: int | None = None
        self._writing_since_us: int | None = None

    # -- broker → node ----------------------------------------------------------------------------------------

    async def read(self, take: Callable[[Run], Awaitable[None]]) -> None:
        """Hand runs of messages to ``take``, for ever; nothing more is read until it returns. Raises `LinkLost`."""
        splitter = Splitter(_MAX_PACKET_BYTES, five=self._five)
        while True:
            self._reading_since_us = self._clock.monotonic_us()
            chunk = await self._reader.read(_CHUNK_BYTES)
            self._reading_since_us = None
            if not chunk:
                raise LinkLost("the broker closed the connection")
            try:
                for packet in splitter.feed(chunk):
                    if self._trace.on:
                        show_packet(self._trace, packet, self._peer)
                    if isinstance(packet, Run):
                        await take(packet)
                    else:
                        self._handle(packet)
            except (Invalid, TooLarge) as error:
                raise LinkLost(f"the broker broke the protocol: {error.detail}") from error

    def acknowledge(self, taken: Sequence[asyncio.Future[None]], pubacks: bytes) -> None:
        """Send ``pubacks`` when all of ``taken`` and what was handed in before are done; the caller bounds how much."""
        self._acks.put_nowait((taken, pubacks))

    async def send_acknowledgements(self) -> None:
        """Acknowledge, for ever, in the order of arrival (MQTT 3.1.1 §4.6); raise what ``taken`` fails with."""
        while True:
            taken, pubacks = await self._acks.get()
            for future in taken:
                if future.done():
                    future.result()
                else:
                    await asyncio.shield(future)
            await self._write(pubacks)

    def _handle(self, packet: Frame) -> None:
        kind = packet.first & 0xF0
        if kind == wire.PUBACK:
            packet_id, code = wire.decode_puback(packet.body)
            order = self._sent.pop(packet_id, None)
            if order is not None:
                self.taken.put_nowait((order, code))
        elif kind == wire.SUBACK:
            codes = wire.decode_suback(packet.body, five=self._five)
            if any(code >= wire.FAILED for code in codes):
                raise LinkLost(f"the broker refused a subscription: {codes}")
            self.granted.set()
        elif kind == wire.DISCONNECT:
            raise LinkLost(f"the broker says good-bye, reason {packet.body[0] if packet.body else 0:#x}")
        elif kind not in {wire.PINGRESP, wire.UNSUBACK}:
            raise Invalid(f"packet type {packet.first >> 4} is not for this client")

    # -- node → broker ----------------------------------------------------------------------------------------

    def subscribe(self, filters: Sequence[str]) -> None:
        """Ask for ``filters``; `granted` tells of the first answer, `read` fails when one is refused."""
        self._send(wire.subscribe(next(self._packet_ids), filters, five=self._five))

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Leave ``filters``."""
        self._send(wire.unsubscribe(next(self._packet_ids), filters, five=self._five))

    async def publish(self, order: Order, topic: str, body: bytes, expiry_s: int | None) -> None:
        """Send an order, for which the caller holds a place in `window`; the broker's answer comes by `taken`."""
        packet_id = next(one for one in self._packet_ids if one not in self._sent)
        self._sent[packet_id] = order
        await self._write(wire.publish(topic, body, packet_id, five=self._five, expiry_s=expiry_s))

    async def keep_alive(self) -> None:
        """Tell the broker that the node is there, for ever; raise `LinkLost` when the broker is not."""
        if not self._keep_alive_s:
            await asyncio.get_running_loop().create_future()
        while True:
            await self._clock.sleep(self._keep_alive_s / 2)
            now_us, patience_us = self._clock.monotonic_us(), _UNANSWERED * self._keep_alive_s * US
            for since_us in (self._reading_since_us, self._writing_since_us):
                if since_us is not None and now_us - since_us > patience_us:
                    raise LinkLost(f"nothing from the broker for {_UNANSWERED * self._keep_alive_s:.0f} s")
            self._send(wire.PING)

    async def close(self) -> None:
        """Say good-bye and close."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write(wire.GOODBYE)
            self._writer.close()
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Close without another word."""
        self._writer.transport.abort()

    def _send(self, data: bytes) -> None:
        if self._trace.on:
            show_written(self._trace, data, self._peer, five=self._five)
        self._writer.write(data)

    async def _write(self, data: bytes) -> None:
        with self._writing():
            self._send(data)
            await self._writer.drain()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._writing_since_us is None:
            self._writing_since_us = self._clock.monotonic_us()
        try:
            yield
        finally:
            self._writing_since_us = None


async def open_connection(clock: Clock, settings: Settings, password: str | None, trace: WireTrace) -> Connection:
    """Connect and introduce the node; raise `LinkLost` when the broker turns it away, `OSError` when none is there."""
    reader, writer = await asyncio.open_connection(
        settings.host, settings.port, ssl=tls_of(settings), limit=_CHUNK_BYTES
    )
    try:
        five = settings.protocol == "5"
        writer.write(
            wire.connect(
                five=five,
                client_id=settings.client_id,
                username=settings.username,
                password=password,
                keep_alive_s=settings.keep_alive_s,
                receive_maximum=settings.receive_maximum,
                max_packet_bytes=settings.max_packet_bytes + 1024,
            )
        )
        agreed = wire.decode_connack(await _read_connack(reader), five=five)
        if agreed.code:
            raise LinkLost(
                f"the broker does not let the node in: code {agreed.code:#x} (username, password, access list?)"
            )
        return Connection(clock, settings, reader, writer, agreed, trace)
    except BaseException:
        writer.transport.abort()
        raise


async def _read_connack(reader: asyncio.StreamReader) -> bytes:
    splitter = Splitter(_MAX_CONNACK_BYTES)
    try:
        while True:
            # byte by byte, so that nothing of what follows is taken
            for packet in splitter.feed(await reader.readexactly(1)):
                if isinstance(packet, Frame) and packet.first == wire.CONNACK:
                    return packet.body
                raise Invalid("the broker's first packet is not CONNACK")
    except asyncio.IncompleteReadError as error:
        raise LinkLost("the broker closed the connection before it answered") from error
    except (Invalid, TooLarge) as error:
        raise LinkLost(f"no MQTT broker answers there: {error.detail}") from error


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of ``settings``, or None when they name no authority."""
    if not settings.ca_file:
        return None
    tls = ssl.create_default_context(cafile=settings.ca_file)
    if settings.certificate_file:
        tls.load_cert_chain(settings.certificate_file, settings.key_file or None)
    return tls
