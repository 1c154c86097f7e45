"""Packets of an MQTT client, 3.1.1 and 5.0: what the node sends a broker, and what it reads of its answers. Pure.

Sources: MQTT 3.1.1 §3; MQTT 5.0 §3, §2.2.2 (properties). PUBLISH from a broker is read by
`gridspine.adapters.mqtt.frames`; this file reads its properties.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from gridspine.adapters.mqtt.frames import encode_packet, variable_integer
from gridspine.kernel.errors import Invalid

CONNACK, PUBACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 0x20, 0x40, 0x90, 0xB0, 0xD0, 0xE0
PING = b"\xc0\x00"
GOODBYE = b"\xe0\x00"
FAILED = 0x80
"""Reason and return codes from here on are failures (MQTT 5.0 §2.4; 3.1.1 §3.9.3)."""
SESSION_KEPT_S = 0xFFFF_FFFF
"""MQTT 5.0 §3.1.2.11.2: the session does not expire."""
_RECEIVE_MAXIMUM, _SERVER_KEEP_ALIVE, _TOPIC_ALIAS, _USER = 0x21, 0x13, 0x23, 0x26
_SESSION_EXPIRY, _MESSAGE_EXPIRY, _MAXIMUM_PACKET = 0x11, 0x02, 0x27
_BYTE, _TWO, _FOUR, _VARIABLE, _BINARY, _PAIR = range(6)
_KINDS = {
    0x01: _BYTE, 0x02: _FOUR, 0x03: _BINARY, 0x08: _BINARY, 0x09: _BINARY, 0x0B: _VARIABLE, 0x11: _FOUR,
    0x12: _BINARY, 0x13: _TWO, 0x15: _BINARY, 0x16: _BINARY, 0x17: _BYTE, 0x18: _FOUR, 0x19: _BYTE, 0x1A: _BINARY,
    0x1C: _BINARY, 0x1F: _BINARY, 0x21: _TWO, 0x22: _TWO, 0x23: _TWO, 0x24: _BYTE, 0x25: _BYTE, 0x26: _PAIR,
    0x27: _FOUR, 0x28: _BYTE, 0x29: _BYTE, 0x2A: _BYTE,
}  # fmt: skip
"""What each property holds, MQTT 5.0 table 2-4."""
_FIXED = {_BYTE: ">B", _TWO: ">H", _FOUR: ">I"}


class Connack(msgspec.Struct, frozen=True):
    """A broker's answer to CONNECT: ``code`` 0 lets the node in; the other fields are the broker's own limits."""

    code: int
    session_present: bool
    receive_maximum: int = 65_535
    keep_alive_s: int | None = None


def connect(
    *,
    five: bool,
    client_id: str,
    username: str,
    password: str | None,
    keep_alive_s: int,
    receive_maximum: int,
    max_packet_bytes: int,
) -> bytes:
    """Return a CONNECT for a session that is kept."""
    flags = (0x80 if username else 0) | (0x40 if username and password is not None else 0)
    head = _text("MQTT") + bytes((5 if five else 4, flags)) + struct.pack(">H", keep_alive_s)
    if five:
        limits = struct.pack(
            ">BIBHBI",
            _SESSION_EXPIRY, SESSION_KEPT_S, _RECEIVE_MAXIMUM, receive_maximum, _MAXIMUM_PACKET, max_packet_bytes,
        )  # fmt: skip
        head += _with_length(limits)
    who = _text(client_id)
    if username:
        who += _text(username) + (_text(password) if password is not None else b"")
    return encode_packet(0x10, head + who)


def decode_connack(body: bytes, *, five: bool) -> Connack:
    """Read a CONNACK; raise `Invalid` when it is none."""
    if len(body) < 2:
        raise Invalid("malformed CONNACK")
    found = dict(properties(_property_bytes(body, 2))) if five and len(body) > 2 else {}
    return Connack(
        code=body[1],
        session_present=bool(body[0] & 1),
        receive_maximum=found.get(_RECEIVE_MAXIMUM, 65_535),
        keep_alive_s=found.get(_SERVER_KEEP_ALIVE),
    )


def subscribe(packet_id: int, filters: Iterable[str], *, five: bool) -> bytes:
    """Return a SUBSCRIBE at QoS 1; retained messages come as the broker keeps them."""
    wanted = b"".join(_text(one) + b"\x01" for one in filters)
    return encode_packet(0x82, struct.pack(">H", packet_id) + (b"\0" if five else b"") + wanted)


def unsubscribe(packet_id: int, filters: Iterable[str], *, five: bool) -> bytes:
    """Return an UNSUBSCRIBE."""
    return encode_packet(
        0xA2, struct.pack(">H", packet_id) + (b"\0" if five else b"") + b"".join(_text(one) for one in filters)
    )


def decode_suback(body: bytes, *, five: bool) -> list[int]:
    """Return the codes in a SUBACK; raise `Invalid` when it is none."""
    if len(body) < 3:
        raise Invalid("malformed SUBACK")
    if not five:
        return list(body[2:])
    length, start = variable_integer(body, 2)
    return list(body[start + length :])


def publish(topic: str, body: bytes, packet_id: int, *, five: bool, expiry_s: int | None = None) -> bytes:
    """Return a PUBLISH at QoS 1; MQTT 5 brokers forget it after ``expiry_s`` [s] (MQTT 5.0 §3.3.2.3.3)."""
    more = b""
    if five:
        more = _with_length(b"" if expiry_s is None else struct.pack(">BI", _MESSAGE_EXPIRY, expiry_s))
    return encode_packet(0x32, _text(topic) + struct.pack(">H", packet_id) + more + body)


def decode_puback(body: bytes) -> tuple[int, int]:
    """Return packet identifier and reason code (0 where there is none) of a PUBACK; raise `Invalid` for none."""
    if len(body) < 2:
        raise Invalid("malformed PUBACK")
    return int.from_bytes(body[:2], "big"), body[2] if len(body) > 2 else 0


def user_properties(raw: bytes) -> list[tuple[str, str]]:
    """Return the user properties among a PUBLISH's; raise `Invalid` when they are malformed or hold a topic alias.

    The node takes no topic aliases (MQTT 5.0 §3.1.2.11.5), so a broker must not use any.
    """
    found = []
    for name, value in properties(raw):
        if name == _TOPIC_ALIAS:
            raise Invalid("a topic alias, and none was agreed")
        if name == _USER:
            found.append(value)
    return found


def properties(raw: bytes) -> Iterator[tuple[int, Any]]:
    """Yield identifier and value of each property; raise `Invalid` at the first that is malformed."""
    at = 0
    while at < len(raw):
        name, at = variable_integer(raw, at)
        kind = _KINDS.get(name)
        if kind is None:
            raise Invalid(f"property {name} is not of MQTT 5")
        value, at = _value(raw, at, kind)
        if at > len(raw):
            raise Invalid("malformed properties")
        yield name, value


def _value(raw: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == _VARIABLE:
        return variable_integer(raw, at)
    if kind == _BINARY:
        return _binary(raw, at)
    if kind == _PAIR:
        name, at = _binary(raw, at)
        value, at = _binary(raw, at)
        return (name.decode(errors="replace"), value.decode(errors="replace")), at
    size = struct.calcsize(_FIXED[kind])
    if at + size > len(raw):
        raise Invalid("malformed properties")
    return struct.unpack_from(_FIXED[kind], raw, at)[0], at + size


def _binary(raw: bytes, at: int) -> tuple[bytes, int]:
    length = int.from_bytes(raw[at : at + 2], "big")
    end = at + 2 + length
    if end > len(raw):
        raise Invalid("malformed properties")
    return raw[at + 2 : end], end


def _property_bytes(body: bytes, at: int) -> bytes:
    length, start = variable_integer(body, at)
    if start + length > len(body):
        raise Invalid("malformed properties")
    return body[start : start + length]


def _with_length(raw: bytes) -> bytes:
    return encode_packet(0, raw)[1:]


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 0xFFFF:
        raise Invalid("a text of more than 65,535 bytes does not fit into MQTT")
    return struct.pack(">H", len(raw)) + raw
