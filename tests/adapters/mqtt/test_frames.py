"""However a stream is cut, and whatever is in it, the splitter finds what the careful codec finds."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gridspine.adapters.mqtt import packets
from gridspine.adapters.mqtt.frames import (
    PUBLISH_HOT,
    Frame,
    Run,
    Splitter,
    encode_length,
    encode_packet,
    pubacks,
    topic_of,
    variable_integer,
)
from gridspine.kernel.errors import GridspineError, Invalid, TooLarge

MOST = 40_000


def text(value: bytes) -> bytes:
    return struct.pack("!H", len(value)) + value


def found(chunks: Sequence[bytes], *, five: bool = False) -> list[Any]:
    """What the splitter makes of ``chunks``: messages as tuples, other packets as they are, at the end the fault."""
    splitter, out = Splitter(MOST, five=five), []
    try:
        for chunk in chunks:
            for packet in splitter.feed(chunk):
                if isinstance(packet, Frame):
                    out.append(packet)
                    continue
                for row in zip(
                    packet.firsts, packet.topics, packet.packet_ids, packet.properties, packet.bodies, strict=True
                ):
                    topic_of(row[1])
                    out.append(row)
    except (Invalid, TooLarge) as error:
        out.append(type(error))
    return out


def careful(stream: bytes) -> list[Any]:
    """The same, by amqtt's codec, a packet at a time (MQTT 3.1.1)."""
    out: list[Any] = []
    at = 0
    try:
        while at + 1 < len(stream):
            ends = [i for i in range(at + 1, min(at + 5, len(stream))) if stream[i] < 128]
            if not ends:
                if len(stream) > at + 4:
                    raise Invalid("length")
                return out
            length = sum((stream[i] & 127) << 7 * n for n, i in enumerate(range(at + 1, ends[0] + 1)))
            start = ends[0] + 1
            if length > MOST:
                raise TooLarge("packet")
            if start + length > len(stream):
                return out
            frame = Frame(stream[at], stream[start : start + length])
            if frame.first not in PUBLISH_HOT:
                out.append(frame)
            else:
                packet = asyncio.run(packets.decode_packet(frame))
                topic_of(frame.body[2 : 2 + int.from_bytes(frame.body[:2], "big")])  # amqtt lets pass what is not UTF-8
                identifier = b"" if packet.packet_id is None else struct.pack("!H", packet.packet_id)
                out.append((frame.first, packet.topic_name.encode(), identifier, b"", packet.data or b""))
            at = start + length
    except GridspineError as error:
        out.append(type(error))
    return out


def cut(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(stream[at : at + size])
        at += size
    return [*chunks, stream[at:]]


topics = st.one_of(st.sampled_from([b"a/b", b"", b"gridspine/urn:x/readings"]), st.binary(max_size=6))
publishes = st.builds(
    lambda first, topic, packet_id, body: encode_packet(
        first, text(topic) + (struct.pack("!H", packet_id) if first & 6 else b"") + body
    ),
    st.sampled_from(sorted(PUBLISH_HOT)),
    topics,
    st.integers(0, 65_535),
    st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 120, b"x" * 127, b"x" * 200, b"x" * 17_000])),
)
others = st.builds(encode_packet, st.integers(0, 255), st.binary(max_size=8))
streams = st.lists(st.one_of(publishes, publishes, others, st.binary(max_size=6)), max_size=8).map(b"".join)


@given(streams, st.lists(st.integers(0, 300), max_size=20))
@example(b"\x30\x00", [])
@example(b"\x30\x01\x00", [1])
@example(b"\x30\x02\x00\x00\xc0\x00", [3])
@example(b"\x32\xff\xff\xff\x7f", [2, 1])
@example(b"\x32\xff\xff\xff\xff\x01", [2, 1])
@example(b"\x32\x05\x00\x01a\x00\x00", [])
@example(b"\x32\x03\x00\x09a", [])
@example(b"\x32\x85\x80\x00\x00\x01a\x00\x01", [])
def test_any_stream_gives_what_the_careful_codec_gives_however_it_is_cut(stream: bytes, sizes: list[int]) -> None:
    expected = careful(stream)
    assert found([stream]) == expected
    assert found(cut(stream, sizes)) == expected
    assert found([stream[i : i + 1] for i in range(min(len(stream), 600))] + [stream[600:]]) == expected


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=6), st.integers(1, 50))
def test_properties_of_mqtt_5_stand_before_the_body(messages: list[tuple[bytes, bytes]], size: int) -> None:
    stream = b"".join(
        encode_packet(0x32, text(b"t") + b"\x00\x07" + encode_length(len(raw)) + raw + body) for raw, body in messages
    )
    expected = [(0x32, b"t", b"\x00\x07", raw, body) for raw, body in messages]
    assert found([stream], five=True) == expected
    assert found(cut(stream, [size] * 20), five=True) == expected


@given(st.binary(max_size=60))
def test_any_bytes_of_mqtt_5_are_packets_or_a_fault(stream: bytes) -> None:
    assert found([stream], five=True) == found([stream[i : i + 1] for i in range(len(stream))], five=True)


def test_what_comes_before_a_fault_is_handed_out_before_it() -> None:
    good = encode_packet(0x32, text(b"t") + b"\x00\x01body")
    splitter = Splitter(MOST)
    handed = splitter.feed(good + b"\x32\x05\x00\x01a\x00\x00")
    first = next(handed)
    assert isinstance(first, Run)
    assert first.bodies == [b"body"]
    with pytest.raises(Invalid):
        next(handed)


def test_a_large_packet_byte_by_byte_is_not_copied_for_each_of_them() -> None:
    splitter = Splitter(MOST)
    stream = encode_packet(0x32, text(b"t") + b"\x00\x01" + bytes(30_000))
    copies = 0

    class Counting(bytearray):
        def __bytes__(self) -> bytes:
            nonlocal copies
            copies += 1
            return bytes(memoryview(self))

    splitter._kept = Counting()
    runs = [run for i in range(len(stream)) for run in splitter.feed(stream[i : i + 1])]
    assert len(runs) == 1
    assert copies < 10


@given(st.integers(0, 268_435_455))
def test_lengths_come_back(length: int) -> None:
    raw = encode_length(length)
    assert variable_integer(raw, 0) == (length, len(raw))


def test_only_qos_1_is_acknowledged_and_in_order() -> None:
    assert pubacks([b"\x00\x07", b"", b"\x01\x02"]) == b"\x40\x02\x00\x07\x40\x02\x01\x02"
