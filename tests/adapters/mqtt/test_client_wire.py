"""What the node says to a broker, and what it reads of its answers."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.mqtt import client_wire as wire
from gridspine.adapters.mqtt.frames import encode_length
from gridspine.kernel.errors import Invalid


def pair(name: str, value: str) -> bytes:
    raw = (name.encode(), value.encode())
    return b"\x26" + b"".join(struct.pack(">H", len(one)) + one for one in raw)


def test_connect_keeps_the_session_and_says_what_the_node_takes() -> None:
    packet = wire.connect(
        five=True, client_id="n", username="u", password="p", keep_alive_s=30, receive_maximum=10, max_packet_bytes=99
    )
    assert (
        packet
        == (
            b"\x10\x22\x00\x04MQTT\x05\xc0\x00\x1e\x0d\x11\xff\xff\xff\xff\x21\x00\x0a\x27\x00\x00\x00\x63"
            b"\x00\x01n\x00\x01u\x00\x01p"
        )[:1]
        + bytes([len(packet) - 2])
        + packet[2:]
    )
    assert packet[2:12] == b"\x00\x04MQTT\x05\xc0\x00\x1e"
    assert packet[12:26] == b"\x0d\x11\xff\xff\xff\xff\x21\x00\x0a\x27\x00\x00\x00\x63"
    assert packet[26:] == b"\x00\x01n\x00\x01u\x00\x01p"


def test_connack_brings_the_brokers_limits() -> None:
    found = wire.decode_connack(b"\x01\x00\x06\x21\x00\x05\x13\x00\x3c", five=True)
    assert found == wire.Connack(0, session_present=True, receive_maximum=5, keep_alive_s=60)
    assert wire.decode_connack(b"\x00\x05", five=False) == wire.Connack(5, session_present=False)


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=4))
def test_user_properties_come_back_beside_others(pairs: list[tuple[str, str]]) -> None:
    raw = b"\x01\x01" + b"".join(pair(*one) for one in pairs) + b"\x02\x00\x00\x00\x09\x03\x00\x01x\x0b\x80\x01"
    assert wire.user_properties(raw) == pairs


def test_a_topic_alias_was_never_agreed() -> None:
    with pytest.raises(Invalid, match="alias"):
        wire.user_properties(b"\x23\x00\x01")


@given(st.binary(max_size=30), st.booleans())
def test_any_bytes_are_an_answer_or_invalid(body: bytes, five: bool) -> None:
    for decode in (
        lambda: wire.decode_connack(body, five=five),
        lambda: wire.decode_suback(body, five=five),
        lambda: wire.decode_puback(body),
        lambda: wire.user_properties(body),
    ):
        try:
            decode()
        except Invalid as error:
            assert error.detail


def test_answers_tell_what_was_refused() -> None:
    assert wire.decode_suback(b"\x00\x01\x00\x01\x87", five=True) == [1, 0x87]
    assert wire.decode_suback(b"\x00\x01\x01\x80", five=False) == [1, 0x80]
    assert wire.decode_puback(b"\x00\x07") == (7, 0)
    assert wire.decode_puback(b"\x00\x07\x87") == (7, 0x87)


@given(st.text(max_size=40), st.binary(max_size=300), st.integers(1, 65_535), st.one_of(st.none(), st.integers(1, 9)))
def test_an_order_ends_with_its_expiry(topic: str, body: bytes, packet_id: int, expiry_s: int | None) -> None:
    head = struct.pack(">H", len(topic.encode())) + topic.encode() + struct.pack(">H", packet_id)
    more = b"\x00" if expiry_s is None else b"\x05\x02" + struct.pack(">I", expiry_s)
    rest = head + more + body
    packet = wire.publish(topic, body, packet_id, five=True, expiry_s=expiry_s)
    assert packet == b"\x32" + encode_length(len(rest)) + rest
    assert wire.publish(topic, body, packet_id, five=False, expiry_s=expiry_s).endswith(head + body)
