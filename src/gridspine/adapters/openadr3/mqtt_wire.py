"""The little of MQTT 3.1.1 that it takes to hear that something changed: packets ↔ bytes. Pure; no I/O.

Subscriptions are at QoS 0, and what a PUBLISH says is not looked at: it is believed no further than that all is read.
Source: MQTT 3.1.1 §2.2 (fixed header), §3.1 to §3.4, §3.8, §3.9, §3.12 to §3.14.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gridspine.kernel.errors import Invalid, TooLarge

CONNACK, PUBLISH, SUBACK, PINGRESP = 0x20, 0x30, 0x90, 0xD0
PING, GOODBYE = b"\xc0\x00", b"\xe0\x00"
MAX_PACKET_BYTES = 4 << 20
"""What a packet has at most: a notification is an object, and those have 2 MiB at most here."""
MAX_FILTERS = 60
"""Filters of one SUBSCRIBE."""
_REFUSED = 0x80
_CLEAN, _USER, _PASSWORD = 0x02, 0x80, 0x40


class Packet(NamedTuple):
    """A packet: the type in its upper half of the first byte, and what follows its header."""

    kind: int
    body: bytes


def connect(client_id: str, username: str, password: str, keep_alive_s: int) -> bytes:
    """Return a CONNECT with a clean session; without a ``username`` it is anonymous."""
    flags = _CLEAN | (_USER | _PASSWORD if username else 0)
    said = [client_id, username, password] if username else [client_id]
    head = _text("MQTT") + bytes((4, flags)) + keep_alive_s.to_bytes(2, "big")
    return _packet(0x10, head + b"".join(map(_text, said)))


def subscribe(packet_id: int, filters: Sequence[str]) -> bytes:
    """Return a SUBSCRIBE to ``filters``, `MAX_FILTERS` at most, at QoS 0."""
    return _packet(0x82, packet_id.to_bytes(2, "big") + b"".join(_text(one) + b"\0" for one in filters))


def check_connack(packet: Packet) -> None:
    """Raise `Invalid` unless a packet lets the client in."""
    if packet.kind != CONNACK or len(packet.body) != 2:
        raise Invalid("no MQTT broker answers there")
    if packet.body[1]:
        raise Invalid(f"the broker lets nobody in: code {packet.body[1]}")


def refused(packet: Packet) -> int:
    """Return how many filters a SUBACK refuses; raise `Invalid` where it is none."""
    if len(packet.body) < 3:
        raise Invalid("the broker's SUBACK says nothing")
    return sum(code >= _REFUSED for code in packet.body[2:])


class Splitter:
    """Cuts a stream into packets."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, chunk: bytes) -> list[Packet]:
        """Return the packets that ``chunk`` completes; raise `Invalid`, `TooLarge`: then the stream is of no use."""
        data, at, packets = self._kept + chunk, 0, list[Packet]()
        while (found := _header(data, at)) is not None and found[1] <= len(data):
            start, end = found
            packets.append(Packet(data[at] & 0xF0, data[start:end]))
            at = end
        self._kept = data[at:]
        return packets


def _header(data: bytes, at: int) -> tuple[int, int] | None:
    """Return where the body of the packet at ``at`` begins and ends, None while its header is not whole."""
    length = 0
    for number, byte in enumerate(data[at + 1 : at + 5]):
        length |= (byte & 127) << 7 * number
        if byte < 128:
            if length > MAX_PACKET_BYTES:
                raise TooLarge(f"a packet of the broker has {length} bytes")
            return at + 2 + number, at + 2 + number + length
    if len(data) >= at + 5:
        raise Invalid("a packet of the broker has no length")
    return None


def _packet(first: int, body: bytes) -> bytes:
    length, size = len(body), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes((first, *size, length)) + body


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) > 0xFFFF or "\0" in value:
        raise Invalid("a text is too long for MQTT, or has a null in it")
    return len(data).to_bytes(2, "big") + data
