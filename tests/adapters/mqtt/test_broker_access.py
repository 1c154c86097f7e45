"""Who may do what at the embedded broker, and what becomes of those who break its rules."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from mqtt_authority import Authority
from mqtt_device import OTHER, PASSWORD, THING, Packet, Raw, device, pack, raw, topic
from mqtt_serving import binding, make_node, serving

from gridspine.infra.runtime.clock import VirtualClock

PUBACK, PUBREC, PUBREL, PUBCOMP, PINGRESP = 4, 5, 6, 7, 13


async def test_publishing_for_another_thing_ends_the_connection_and_counts_against_the_session() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.publish(topic(OTHER), pack(OTHER, power=1.0))
        assert await meter.receive() is None
        assert node.stored == []
        [(source, problem)] = node.problems
        assert source.session == f"session:{THING}"
        assert problem.reason == "not-yours"


async def test_subscriptions_are_to_own_commands_only() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        refused = ["#", "+/+/commands", "gridspine/+/commands", topic(OTHER, "commands"), topic(THING), "$SYS/#"]
        assert await meter.subscribe(*refused) == [0x80] * len(refused)
        assert await meter.subscribe(topic(THING, "commands")) == [1]
        assert await meter.subscribe(topic(THING, "commands"), qos=0) == [0]


async def test_nobody_comes_in_without_being_known() -> None:
    node = make_node()
    async with serving(node):
        for username, password in (("", ""), (THING, "wrong"), ("stranger", PASSWORD)):
            async with raw(node.address["mqtt"]) as stranger:
                assert await stranger.connect(username, password) == (False, 5)
                assert await stranger.receive() is None


async def test_mqtt_5_is_answered_that_3_1_1_is_spoken() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as newer:
        assert await newer.connect(level=5) == (False, 1)


async def test_passwords_stay_out_of_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    node = make_node()
    async with serving(node):
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect()
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect(password="mistyped secret")
    assert "connected: principal=" in caplog.text
    assert PASSWORD not in caplog.text
    assert "mistyped secret" not in caplog.text


async def test_in_flight_is_bounded_over_all_connections_of_a_principal() -> None:
    node = make_node(settings={"max_in_flight": 5})
    node.gate.clear()
    together: list[int] = []
    node.before_intake = lambda readings: together.append(len(readings))
    async with serving(node) as adapter:
        assert adapter.counters is not None
        taken = adapter.counters.of(THING)
        for attempt in range(3):
            async with raw(node.address["mqtt"]) as meter:
                await meter.connect(client_id=f"attempt-{attempt}")
                for number in range(20):
                    await meter.publish(topic(THING), pack(power=1.0), packet_id=number + 1)
                await node.until(lambda: taken.received == 5)
                await meter.ping()
                await asyncio.sleep(0.1)
        assert taken.received == 5
        node.gate.set()
        await node.until(lambda: taken.stored == 5)
        assert sum(together) == 5


async def test_in_flight_is_bounded_in_bytes() -> None:
    body = pack(power=1.0)
    node = make_node(settings={"max_in_flight_bytes": 3 * len(body)})
    node.gate.clear()
    async with serving(node) as adapter, raw(node.address["mqtt"]) as meter:
        assert adapter.counters is not None
        taken = adapter.counters.of(THING)
        await meter.connect()
        large = pack(power=2.0) + b" " * (4 * len(body))  # more than there ever is room for: it goes alone
        for number, one in enumerate([body] * 10 + [large, body]):
            await meter.publish(topic(THING), one, packet_id=number + 1)
        await node.until(lambda: taken.received == 3)
        await asyncio.sleep(0.1)
        assert taken.received == 3
        node.gate.set()
        for number in range(12):
            assert await meter.receive() == Packet(PUBACK, 0, bytes((0, number + 1)))
        assert [one.value for one in node.stored] == [1.0] * 10 + [2.0, 1.0]


async def test_connections_of_a_principal_are_bounded() -> None:
    node = make_node(settings={"max_connections_per_principal": 2})
    async with serving(node), contextlib.AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(raw(node.address["mqtt"])) for _ in range(3)]
        answers = [await meter.connect(client_id=str(number)) for number, meter in enumerate(devices)]
        assert answers == [(False, 0), (False, 0), (False, 3)]


async def test_a_session_belongs_to_its_principal() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as mine, raw(node.address["mqtt"]) as theirs:
        await mine.connect(client_id="same")
        await theirs.connect(OTHER, client_id="same")
        await mine.ping()
        assert await mine.receive() == Packet(PINGRESP, 0, b"")
        async with raw(node.address["mqtt"]) as again:
            assert await again.connect(client_id="same") == (False, 0)
            assert await mine.receive() is None  # taken over by its own principal


async def test_a_packet_beyond_the_limit_ends_the_connection() -> None:
    node = make_node(settings={"max_packet_bytes": 1000})
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        meter.writer.write(b"\x32\xff\xff\xff\x7f")  # 256 MB announced
        assert await meter.receive() is None


@pytest.mark.parametrize(
    "packet",
    [
        b"\x00\x00",
        b"\xf0\x00",
        b"\x10\x00",
        b"\x36\x05\x00\x01a\x00\x01",  # QoS 3
        b"\x32\x05\x00\x01a\x00\x00",  # packet identifier 0
        b"\x32\x03\x00\x09a",  # a topic longer than its packet
        b"\x80\x05\x00\x01\x00\x00\x00",  # SUBSCRIBE with wrong flags
        b"\x82\x02\x00\x01",  # SUBSCRIBE without a filter
        b"\x32\x08\x00\x04\xff\xfe\xfd\xfc\x00\x01",
        b"\x20\x02\x00\x00",  # CONNACK, to a broker
        b"\xff\xff\xff\xff\xff",
    ],
)
async def test_what_breaks_the_protocol_ends_its_own_connection_only(packet: bytes) -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as good, raw(node.address["mqtt"]) as bad:
        await good.connect(OTHER)
        await bad.connect()
        bad.writer.write(packet)
        assert await bad.receive() is None
        await good.publish(topic(OTHER), pack(OTHER, power=1.0))
        answer = await good.receive()
        assert answer is not None
        assert answer.kind == PUBACK


async def test_a_mapped_topic_is_its_things_alone() -> None:
    node = make_node()
    node.set_bindings([binding(THING), binding(OTHER, topics={"power": {"topic": "home2/power"}})])
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.publish("home2/power", b"1")
        assert await meter.receive() is None


async def test_new_bindings_are_served_and_old_ones_cut() -> None:
    node = make_node(settings={"hold_off_s": 0.0})
    node.set_bindings([binding(OTHER)])
    async with serving(node):
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect()
            await meter.publish(topic(THING), pack(power=1.0))
            assert await meter.receive() is None
        async with raw(node.address["mqtt"]) as other:
            await other.connect(OTHER)
            node.set_bindings([binding(THING)])
            assert await other.receive() is None
        await asyncio.sleep(1.1)  # an offender is turned away for a second at least
        async with raw(node.address["mqtt"]) as meter:
            assert await meter.connect() == (False, 0)
            await meter.publish(topic(THING), pack(power=1.0))
            answer = await meter.receive()
            assert answer is not None
            assert answer.kind == PUBACK


async def test_a_silent_device_is_let_go() -> None:
    clock = VirtualClock()
    node = make_node(clock=clock)
    async with serving(node), raw(node.address["mqtt"]) as meter:
        assert await meter.connect(keep_alive_s=10) == (False, 0)
        await _advance_until(clock, lambda: meter.reader.at_eof(), meter)
        assert 15 < clock.monotonic_us() / 1e6 <= 25


async def test_a_connection_that_says_nothing_is_let_go() -> None:
    clock = VirtualClock()
    node = make_node(clock=clock)
    async with serving(node), raw(node.address["mqtt"]) as silent:
        await _advance_until(clock, lambda: silent.reader.at_eof(), silent)
        assert clock.monotonic_us() / 1e6 <= 25


async def _advance_until(clock: VirtualClock, condition: Callable[[], bool], watched: Raw) -> None:
    closing = asyncio.ensure_future(watched.receive())
    for _ in range(200):
        await clock.advance(1.0)
        await asyncio.wait([closing], timeout=0.02)
        if closing.done():
            break
    assert closing.result() is None
    assert condition()


async def test_a_client_certificate_is_an_identity(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    node = make_node(tls=authority.server_context())
    mine = authority.context("anything", "meter")
    pem = (tmp_path / "meter.pem").read_bytes()
    node.certificates[x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)] = THING
    async with serving(node):
        address = ("localhost", node.address["mqtt"][1])
        with device(address, username="", tls=mine) as meter:
            sent = meter.publish(topic(THING), pack(power=1.0))
            await node.until(lambda: sent in meter.acknowledged)
        assert node.stored[0].source.principal == THING
        for tls in (authority.context("anything", "other"), ssl.create_default_context(cafile=authority.path)):
            async with raw(address, tls=tls) as stranger:
                assert await stranger.connect(username="") == (False, 5)
