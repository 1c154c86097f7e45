"""Devices for the tests: a paho client, and a raw one that sees every packet and acknowledges only when told."""

import asyncio
import contextlib
import json
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties

THING = "urn:dev:ops:32473-meter-1"
OTHER = "urn:dev:ops:32473-meter-2"
PASSWORD = "correct horse"


def topic(thing: str, kind: str = "readings") -> str:
    return f"gridspine/{thing}/{kind}"


def pack(thing: str = THING, *, time_s: float = 1_767_225_600.0, seq: int | None = None, **values: float) -> bytes:
    """A SenML pack of ``values`` in W."""
    records: list[dict[str, Any]] = [{"n": name, "u": "W", "v": value} for name, value in values.items()]
    records[0] |= {"bn": f"{thing}/", "bt": time_s} | ({} if seq is None else {"seq": seq})
    return json.dumps(records).encode()


@dataclass
class Device:
    """A paho client in its own thread."""

    client: paho.Client
    connected: int = 0
    refused: list[str] = field(default_factory=list)
    session_present: list[bool] = field(default_factory=list)
    disconnected: int = 0
    granted: list[int] = field(default_factory=list)
    got: list[tuple[str, bytes]] = field(default_factory=list)
    acknowledged: set[int] = field(default_factory=set)

    def publish(self, to: str, body: bytes, qos: int = 1, properties: Properties | None = None) -> int:
        """Send, or keep until connected; the answer is in ``acknowledged`` when the broker has said so."""
        return self.client.publish(to, body, qos=qos, properties=properties).mid


@contextlib.contextmanager
def device(
    address: tuple[str, int],
    username: str = THING,
    password: str = PASSWORD,
    *,
    client_id: str = "device",
    clean: bool = False,
    version: int = MQTTProtocolVersion.MQTTv311,
    tls: ssl.SSLContext | None = None,
    subscribe: tuple[str, ...] = (),
    qos: int = 1,
) -> Iterator[Device]:
    five = version == MQTTProtocolVersion.MQTTv5
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if five else clean,
        protocol=version,
    )
    if username:
        client.username_pw_set(username, password)
    if tls is not None:
        client.tls_set_context(tls)
    client.reconnect_delay_set(1, 1)
    client.max_inflight_messages_set(1000)
    it = Device(client)

    def on_connect(_: Any, __: Any, flags: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            it.refused.append(str(reason))
            return
        it.connected += 1
        it.session_present.append(bool(flags.session_present))
        if subscribe:
            client.subscribe([(name, qos) for name in subscribe])

    def on_subscribe(_: Any, __: Any, ___: Any, reasons: Any, ____: Any) -> None:
        it.granted += [reason.value for reason in reasons]

    def on_disconnect(*_: Any) -> None:
        it.disconnected += 1

    client.on_connect, client.on_disconnect, client.on_subscribe = on_connect, on_disconnect, on_subscribe
    client.on_publish = lambda _, __, mid, ___, ____: it.acknowledged.add(mid)
    client.on_message = lambda _, __, message: it.got.append((message.topic, message.payload))
    client.connect_async(*address, keepalive=30)
    client.loop_start()
    try:
        yield it
    finally:
        client.disconnect()
        client.loop_stop()


@dataclass
class Packet:
    kind: int
    flags: int
    body: bytes


class Raw:
    """A device written out by hand: what it sends and sees is the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, kind: int, body: bytes = b"", flags: int = 0) -> None:
        length, header = len(body), bytearray([kind << 4 | flags])
        while True:
            length, low = divmod(length, 128)
            header.append(low | (0x80 if length else 0))
            if not length:
                break
        self.writer.write(bytes(header) + body)
        await self.writer.drain()

    async def receive(self) -> Packet | None:
        """Return the next packet, or None when the broker closed the connection."""
        try:
            async with asyncio.timeout(60):
                first = (await self.reader.readexactly(1))[0]
                length, shift = 0, 0
                while True:
                    byte = (await self.reader.readexactly(1))[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if not byte & 0x80:
                        break
                return Packet(first >> 4, first & 0x0F, await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def connect(
        self,
        username: str = THING,
        password: str = PASSWORD,
        *,
        client_id: str = "raw",
        clean: bool = True,
        keep_alive_s: int = 0,
        level: int = 4,
        will: tuple[str, bytes] | None = None,
    ) -> tuple[bool, int] | None:
        """Introduce it; return (session present, return code), or None when the connection was closed."""
        flags = (0xC0 if username else 0) | (0x02 if clean else 0) | (0x04 if will else 0)
        body = _text("MQTT") + bytes([level, flags]) + struct.pack("!H", keep_alive_s)
        body += b"\x00" if level == 5 else b""
        body += _text(client_id)
        if will:
            body += _text(will[0]) + struct.pack("!H", len(will[1])) + will[1]
        body += (_text(username) + _text(password)) if username else b""
        await self.send(1, body)
        answer = await self.receive()
        return (bool(answer.body[0]), answer.body[1]) if answer else None

    async def publish(self, to: str, body: bytes, *, qos: int = 1, packet_id: int = 1, again: bool = False) -> None:
        identifier = struct.pack("!H", packet_id) if qos else b""
        await self.send(3, _text(to) + identifier + body, flags=qos << 1 | (0x08 if again else 0))

    async def subscribe(self, *filters: str, qos: int = 1) -> list[int]:
        await self.send(8, b"\x00\x09" + b"".join(_text(name) + bytes([qos]) for name in filters), flags=2)
        answer = await self.receive()
        assert answer is not None
        assert answer.kind == 9
        return list(answer.body[2:])

    async def ping(self) -> None:
        await self.send(12)


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text.encode())) + text.encode()


@contextlib.asynccontextmanager
async def raw(address: tuple[str, int], tls: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection(*address, ssl=tls)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
