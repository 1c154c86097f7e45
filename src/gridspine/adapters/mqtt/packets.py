"""MQTT 3.1.1 packets from and to a stream, with amqtt's codecs, bounded before anything is read.

Source: MQTT 3.1.1 §2.2 (fixed header), §3 (control packets). amqtt reads packets from a stream as long as their
header says; here the whole packet is first bounded and read, then given to amqtt as a buffer it cannot leave.
"""

import asyncio
from typing import Any

from amqtt.adapters import BufferReader, StreamReaderAdapter
from amqtt.errors import AMQTTError, CodecError, MQTTError, NoDataError, ZeroLengthReadError
from amqtt.mqtt import packet_class
from amqtt.mqtt.connack import ConnackPacket
from amqtt.mqtt.connect import ConnectPacket, ConnectVariableHeader
from amqtt.mqtt.packet import CONNECT, PUBLISH, PUBREL, SUBSCRIBE, UNSUBSCRIBE, MQTTFixedHeader
from amqtt.mqtt.publish import PublishPacket

from gridspine.adapters.mqtt.frames import Frame
from gridspine.kernel.errors import Invalid, TooLarge

PROTOCOL_LEVEL = 4
"""MQTT 3.1.1 §3.1.2.2."""
MAX_CONNECT_BYTES = 65_536
_FLAGS_0010 = frozenset({PUBREL, SUBSCRIBE, UNSUBSCRIBE})
_ACCEPTED_QOS = frozenset({0, 1, 2})
_BROKEN = (AMQTTError, MQTTError, CodecError, NoDataError, ZeroLengthReadError, ValueError, IndexError, TypeError)

ACCEPTED, BAD_PROTOCOL, BAD_CLIENT_ID, UNAVAILABLE, NOT_AUTHORISED = 0, 1, 2, 3, 5
"""CONNACK return codes, MQTT 3.1.1 §3.2.2.3."""


class EndOfStream(Exception):
    """The other side closed the connection."""


class WrongProtocol(Exception):
    """CONNECT names a protocol or level that is not MQTT 3.1.1."""


async def decode_packet(frame: Frame) -> Any:
    """Return a packet, an ``amqtt.mqtt`` one; raise `Invalid` when it breaks the protocol. It waits for nothing."""
    header = MQTTFixedHeader(frame.first >> 4, frame.first & 0x0F, len(frame.body))
    try:
        packet = await packet_class(header).from_stream(BufferReader(frame.body), fixed_header=header)
    except _BROKEN as error:
        raise Invalid(f"malformed packet of type {header.packet_type}: {error}") from error
    _check(packet, header)
    return packet


async def read_connect(reader: asyncio.StreamReader) -> ConnectPacket:
    """Return the CONNECT a connection must start with.

    Raises `EndOfStream`, `TooLarge`, `Invalid` when it breaks the protocol, and `WrongProtocol`; after any of them the
    connection cannot be used further.
    """
    header, body = await _read_raw(reader, MAX_CONNECT_BYTES)
    if header.packet_type != CONNECT:
        raise Invalid("the first packet is not CONNECT")
    buffer = BufferReader(body)
    try:
        variable = await ConnectVariableHeader.from_stream(buffer, header)
        if variable.proto_name not in {"MQTT", "MQIsdp"}:
            raise Invalid("not MQTT")
        if variable.proto_name != "MQTT" or variable.proto_level != PROTOCOL_LEVEL:
            raise WrongProtocol(f"MQTT level {variable.proto_level}; this broker speaks 3.1.1 (level 4)")
        if variable.reserved_flag:
            raise Invalid("the reserved flag of CONNECT is set")
        packet = await ConnectPacket.from_stream(buffer, fixed_header=header, variable_header=variable)
    except _BROKEN as error:
        raise Invalid(f"malformed CONNECT: {error}") from error
    return packet


def connack(code: int, *, session_present: bool = False) -> bytes:
    """Return a CONNACK."""
    return bytes(ConnackPacket.build(int(session_present), code).to_bytes())


def publish(topic: str, body: bytes, *, qos: int, packet_id: int | None) -> bytes:
    """Return a PUBLISH; ``packet_id`` is None exactly when ``qos`` is 0."""
    return bytes(PublishPacket.build(topic, body, packet_id, False, qos, False).to_bytes())


async def _read_raw(reader: asyncio.StreamReader, max_bytes: int) -> tuple[MQTTFixedHeader, bytes]:
    try:
        header = await MQTTFixedHeader.from_stream(StreamReaderAdapter(reader))
        if header is None:
            raise EndOfStream
        if header.remaining_length > max_bytes:
            raise TooLarge(f"a packet of {header.remaining_length} bytes; {max_bytes} are allowed")
        return header, await reader.readexactly(header.remaining_length)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise EndOfStream from error
    except MQTTError as error:
        raise Invalid(f"malformed header: {error}") from error


def _check(packet: Any, header: MQTTFixedHeader) -> None:
    """Check what amqtt does not: flags (§2.2.2) and packet identifiers (§2.3.1)."""
    if header.packet_type in _FLAGS_0010 and header.flags != 2:
        raise Invalid("reserved flags are wrong")
    if header.packet_type == PUBLISH:
        if packet.qos not in _ACCEPTED_QOS:
            raise Invalid("QoS 3 does not exist")
        if packet.qos and not packet.packet_id:
            raise Invalid("packet identifier 0")
