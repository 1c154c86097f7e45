"""Many messages in one write to the embedded broker: taken together, and each one's own fate all the same."""

import asyncio
import struct
import threading
from collections.abc import Sequence

import pytest
from mqtt_device import OTHER, THING, Packet, Raw, pack, raw, topic
from mqtt_serving import make_node, serving

from gridspine.adapters.mqtt import inbound
from gridspine.adapters.mqtt.frames import encode_packet
from gridspine.adapters.mqtt.packs import Batch, Published, decode_batch
from gridspine.infra.runtime.clock import VirtualClock

PUBACK, PINGRESP = 4, 13
PING = b"\xc0\x00"


def published(body: bytes, packet_id: int, *, to: str = topic(THING), first: int = 0x32) -> bytes:
    identifier = struct.pack("!H", packet_id) if first & 6 else b""
    return encode_packet(first, struct.pack("!H", len(to)) + to.encode() + identifier + body)


async def answers(meter: Raw, count: int) -> list[tuple[int, int]]:
    got = []
    for _ in range(count):
        packet = await meter.receive()
        assert packet is not None
        got.append((packet.kind, int.from_bytes(packet.body, "big")))
    return got


async def test_what_comes_in_one_write_is_one_intake_and_acknowledged_in_order() -> None:
    node = make_node()
    sizes: list[int] = []
    node.before_intake = lambda readings: sizes.append(len(readings))
    async with serving(node) as adapter, raw(node.address["mqtt"]) as meter:
        await meter.connect()
        meter.writer.write(b"".join(published(pack(power=float(n), seq=n), n) for n in range(1, 101)))
        assert await answers(meter, 100) == [(PUBACK, n) for n in range(1, 101)]
        assert sum(sizes) == 100
        assert len(sizes) < 10
        assert [one.value for one in node.stored] == [float(n) for n in range(1, 101)]
        assert adapter.counters is not None
        counts = adapter.counters.of(THING).as_dict()
        assert (counts["received"], counts["stored"], counts["readings"], counts["lost"]) == (100, 100, 100, 0)


@pytest.mark.parametrize(("size", "on_loop"), [(0, False), (1 << 20, True)])
async def test_much_at_once_is_decoded_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, size: int, on_loop: bool
) -> None:
    threads: set[int] = set()

    def decode(messages: Sequence[Published]) -> Batch:
        threads.add(threading.get_ident())
        return decode_batch(messages)

    monkeypatch.setattr(inbound, "_AT_ONCE_BYTES", size)
    monkeypatch.setattr(inbound, "decode_batch", decode)
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        meter.writer.write(b"".join(published(pack(power=float(n)), n) for n in range(1, 11)))
        assert await answers(meter, 10) == [(PUBACK, n) for n in range(1, 11)]
        assert [one.value for one in node.stored] == [float(n) for n in range(1, 11)]
    assert (threading.get_ident() in threads) == on_loop


async def test_each_message_of_a_batch_is_counted_for_itself() -> None:
    node = make_node()
    foreign = b'[{"n":"power","v":1},{"n":"' + f"{OTHER}/power".encode() + b'","v":2}]'
    bodies = [pack(power=1.0), b"nonsense", foreign, b'{"power": 5}', b"[]", b"\xff\xfe", pack(power=2.0, voltage=3.0)]
    async with serving(node) as adapter, raw(node.address["mqtt"]) as meter:
        await meter.connect()
        meter.writer.write(b"".join(published(body, n + 1) for n, body in enumerate(bodies)))
        assert await answers(meter, len(bodies)) == [(PUBACK, n + 1) for n in range(len(bodies))]
        assert [one.value for one in node.stored] == [1.0, 1.0, 5.0, 2.0, 3.0]
        assert [problem.reason for _, problem in node.problems] == ["unreadable", "not-yours", "unreadable"]
        assert adapter.counters is not None
        counts = adapter.counters.of(THING).as_dict()
        assert (counts["received"], counts["stored"], counts["refused"]) == (7, 5, 2)
        assert (counts["readings"], counts["readings_refused"]) == (6, 1)


async def test_a_message_that_is_not_the_devices_ends_the_connection_after_those_before_it() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        stream = [published(pack(power=1.0), 1), published(pack(power=2.0), 2)]
        stream += [published(pack(OTHER, power=3.0), 3, to=topic(OTHER)), published(pack(power=4.0), 4)]
        meter.writer.write(b"".join(stream))
        assert await answers(meter, 2) == [(PUBACK, 1), (PUBACK, 2)]
        assert await meter.receive() is None
        assert [one.value for one in node.stored] == [1.0, 2.0]
        assert [problem.reason for _, problem in node.problems] == ["not-yours"]


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_however_the_stream_is_cut_the_same_is_taken(size: int) -> None:
    node = make_node()
    stream = b"".join(published(pack(power=float(n)), n) + PING for n in range(1, 6)) + published(b"{}", 0, first=0x30)
    async with serving(node) as adapter, raw(node.address["mqtt"]) as meter:
        await meter.connect()
        for at in range(0, len(stream), size):
            meter.writer.write(stream[at : at + size])
            await asyncio.sleep(0)
        got = await answers(meter, 10)
        assert [number for kind, number in got if kind == PUBACK] == [1, 2, 3, 4, 5]
        assert [kind for kind, _ in got].count(PINGRESP) == 5
        assert adapter.counters is not None
        taken = adapter.counters.of(THING)
        await node.until(lambda: taken.stored == 6)
        assert [one.value for one in node.stored] == [1.0, 2.0, 3.0, 4.0, 5.0]


async def test_what_waits_for_the_log_does_not_keep_other_clients_waiting() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as slow, raw(node.address["mqtt"]) as other:
        await slow.connect()
        await other.connect(OTHER)
        node.gate.clear()
        await slow.publish(topic(THING), pack(power=1.0))
        await node.until(lambda: node.waiting == 1)
        await other.publish(topic(OTHER), pack(OTHER, power=2.0))
        await node.until(lambda: node.waiting == 2)
        node.gate.set()
        assert await other.receive() == Packet(PUBACK, 0, b"\x00\x01")
        assert await slow.receive() == Packet(PUBACK, 0, b"\x00\x01")


async def test_half_a_packet_does_not_prolong_a_devices_patience() -> None:
    clock = VirtualClock()
    node = make_node(clock=clock)
    async with serving(node), raw(node.address["mqtt"]) as meter:
        assert await meter.connect(keep_alive_s=10) == (False, 0)
        stream = published(pack(power=1.0), 1)
        closing = asyncio.ensure_future(meter.receive())
        for at in range(len(stream) - 1):
            meter.writer.write(stream[at : at + 1])
            await clock.advance(1.0)
            await asyncio.wait([closing], timeout=0.02)
            if closing.done():
                break
        assert closing.result() is None
        assert clock.monotonic_us() / 1e6 <= 25
