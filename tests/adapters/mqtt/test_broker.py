"""The embedded broker against real sockets: paho clients, and a raw one that sees each packet."""

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from adapter_node import DictStore, FakeNode
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from mqtt_authority import Authority
from mqtt_device import OTHER, PASSWORD, THING, Packet, Raw, device, pack, raw, topic

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import DiskFull, Overloaded
from gridspine.kernel.readings import Channel
from gridspine.things.adapter import Binding

PUBACK, PUBREC, PUBREL, PUBCOMP, PINGRESP = 4, 5, 6, 7, 13


def binding(thing: str, **connection: object) -> Binding:
    return Binding(thing, "Meter", "org", "urn:model", dict(connection))


def make_node(**options: object) -> FakeNode:
    node = FakeNode([binding(THING), binding(OTHER)], **options)  # type: ignore[arg-type]
    node.add_user(THING, PASSWORD, THING)
    node.add_user(OTHER, PASSWORD, OTHER)
    return node


@contextlib.asynccontextmanager
async def serving(node: FakeNode) -> AsyncIterator[MqttAdapter]:
    adapter = MqttAdapter()
    async with node.running(adapter):
        await node.until(lambda: "mqtt" in node.address)
        yield adapter


async def test_readings_are_stored_then_acknowledged() -> None:
    node = make_node()
    async with serving(node) as adapter:
        with device(node.address["mqtt"]) as meter:
            sent = [meter.publish(topic(THING), pack(power=float(n), energy=2.0)) for n in range(20)]
            await node.until(lambda: meter.acknowledged.issuperset(sent))
        assert [s.value for s in node.stored if s.point == f"{THING}/power"] == [float(n) for n in range(20)]
        first = node.stored[0]
        assert (first.unit, first.observed_us, first.channel) == ("W", 1_767_225_600_000_000, Channel.REPORTED)
        assert first.source.principal == THING
        assert adapter.counters is not None
        counts = adapter.counters.of(THING).as_dict()
        assert (counts["received"], counts["stored"], counts["readings"], counts["refused"]) == (20, 20, 40, 0)


@pytest.mark.parametrize(("qos", "answer"), [(1, PUBACK), (2, PUBREC)])
async def test_acknowledged_only_after_durable(qos: int, answer: int) -> None:
    node = make_node()
    node.gate.clear()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        assert await meter.connect() == (False, 0)
        await meter.publish(topic(THING), pack(power=1.0), qos=qos, packet_id=7)
        await node.until(lambda: node.waiting == 1)
        await meter.ping()
        assert await meter.receive() == Packet(PINGRESP, 0, b"")  # the broker answers, and has not acknowledged
        assert node.stored == []
        node.gate.set()
        assert await meter.receive() == Packet(answer, 0, b"\x00\x07")
        assert len(node.stored) == 1


async def test_acknowledgements_keep_the_order_of_messages() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        for packet_id in (5, 3, 9, 4):
            await meter.publish(topic(THING), pack(power=1.0), packet_id=packet_id)
        answers = [await meter.receive() for _ in range(4)]
        assert [answer.body[1] for answer in answers if answer] == [5, 3, 9, 4]


async def test_qos_2_is_taken_once() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        for again in (False, True):
            await meter.publish(topic(THING), pack(power=1.0), qos=2, packet_id=7, again=again)
            assert await meter.receive() == Packet(PUBREC, 0, b"\x00\x07")
        await meter.send(PUBREL, b"\x00\x07", flags=2)
        assert await meter.receive() == Packet(PUBCOMP, 0, b"\x00\x07")
        assert len(node.stored) == 1
        await meter.publish(topic(THING), pack(power=2.0), qos=2, packet_id=7)  # the identifier is free again
        assert await meter.receive() == Packet(PUBREC, 0, b"\x00\x07")
        assert [s.value for s in node.stored] == [1.0, 2.0]


async def test_qos_0_is_stored_and_counted() -> None:
    node = make_node()
    async with serving(node) as adapter, raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.publish(topic(THING), pack(power=1.0), qos=0)
        await node.until(lambda: node.stored)
        assert adapter.counters is not None
        assert adapter.counters.of(THING).stored == 1


async def test_a_node_killed_before_the_acknowledgement_gets_the_message_again() -> None:
    node = make_node()
    node.gate.clear()
    store = DictStore()
    with contextlib.ExitStack() as stack:
        async with serving(node):
            port = node.address["mqtt"][1]
            meter = stack.enter_context(device(node.address["mqtt"]))
            sent = meter.publish(topic(THING), pack(power=42.0))
            await node.until(lambda: node.waiting == 1)
        assert node.stored == []
        assert sent not in meter.acknowledged
        second = make_node(store=store, port=port)
        async with serving(second):
            await second.until(lambda: sent in meter.acknowledged)
            assert [s.value for s in second.stored] == [42.0]


@pytest.mark.parametrize("refusal", [Overloaded("busy"), DiskFull("full"), RuntimeError("a bug")])
async def test_what_cannot_be_kept_is_not_acknowledged_and_comes_again(
    refusal: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    node = make_node(settings={"hold_off_s": 0.5})
    node.refusal = refusal
    caplog.set_level(logging.WARNING, "gridspine.adapters.mqtt")
    async with serving(node) as adapter:
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect()
            await meter.publish(topic(THING), pack(power=1.0))
            assert await meter.receive() is None  # closed, and nothing acknowledged
        if not isinstance(refusal, RuntimeError):
            async with raw(node.address["mqtt"]) as meter:
                assert await meter.connect() == (False, 3)  # come back later
        assert str(refusal) in caplog.text
        with device(node.address["mqtt"]) as paho:
            sent = paho.publish(topic(THING), pack(power=1.0))
            await node.until(lambda: paho.refused or paho.disconnected)
            assert sent not in paho.acknowledged
            node.refusal = None
            await node.until(lambda: sent in paho.acknowledged)
        assert [s.value for s in node.stored] == [1.0]
        assert adapter.counters is not None
        counters = adapter.counters.of(THING)
        assert counters.stored == 1
        if not isinstance(refusal, RuntimeError):
            assert counters.turned_away >= 1


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


async def test_readings_named_beneath_another_thing_are_refused_one_by_one() -> None:
    node = make_node()
    body = json.dumps([{"n": f"{THING}/power", "v": 1}, {"n": f"{OTHER}/power", "v": 2}, {"n": "voltage", "v": 3}])
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.publish(topic(THING), body.encode())
        answer = await meter.receive()
        assert answer is not None
        assert answer.kind == PUBACK
        assert {s.point: s.value for s in node.stored} == {f"{THING}/power": 1.0, f"{THING}/voltage": 3.0}
        assert [(p.index, p.reason) for _, p in node.problems] == [(1, "not-yours")]


@pytest.mark.parametrize("body", [b"", b"hello", b"[1", b"\x9f\xa1", b'{"time": "yesterday", "power": 1}'])
async def test_an_unreadable_message_is_answered_counted_and_kept(body: bytes) -> None:
    node = make_node()
    async with serving(node) as adapter, raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.publish(topic(THING), body)
        answer = await meter.receive()
        assert answer is not None
        assert answer.kind == PUBACK  # sent again it would be no better
        assert [problem.reason for _, problem in node.problems] == ["unreadable"]
        assert adapter.counters is not None
        assert adapter.counters.of(THING).refused == 1


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
    async with serving(node):
        for attempt in range(3):
            async with raw(node.address["mqtt"]) as meter:
                await meter.connect(client_id=f"attempt-{attempt}")
                for number in range(20):
                    await meter.publish(topic(THING), pack(power=1.0), packet_id=number + 1)
                await node.until(lambda: node.waiting == 5)
        node.gate.set()
        await node.until(lambda: node.waiting == 0)
        assert node.most_waiting == 5


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


async def test_a_will_is_taken_when_a_device_falls_away_and_not_when_it_says_good_bye() -> None:
    node = make_node()
    will = (topic(THING), b'{"online": 0}')
    async with serving(node):
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect(will=will)
            await meter.send(14)
            assert await meter.receive() is None
        assert node.stored == []
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect(will=will)
        await node.until(lambda: node.stored)
        assert [(s.point, s.value) for s in node.stored] == [(f"{THING}/online", 0.0)]
        async with raw(node.address["mqtt"]) as meter:
            assert await meter.connect(will=(topic(OTHER), b"{}")) == (False, 5)


async def test_mapped_topics_carry_bare_numbers() -> None:
    node = make_node()
    topics = {
        "power": {"topic": "home1/meter/power", "unit": "kW"},
        "export": {"topic": "home1/meter/power", "unit": "kW", "scale": -1.0},
        "relay": {"topic": "home1/relay", "codes": {"ON": 1, "OFF": 0}},
        "voltage": {"topic": "home1/tele", "path": "ENERGY.Voltage", "unit": "V"},
    }
    node.set_bindings([binding(THING, topics=topics), binding(OTHER)])
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        tele = b'{"time": "2026-01-01T00:00:00Z", "ENERGY": {"Voltage": 231.5}}'
        for to, body in (("home1/meter/power", b"3.25"), ("home1/relay", b"ON"), ("home1/tele", tele)):
            await meter.publish(to, body)
            answer = await meter.receive()
            assert answer is not None
            assert answer.kind == PUBACK
        values = {s.point.rpartition("/")[2]: (s.value, s.unit) for s in node.stored}
        assert values == {"power": (3.25, "kW"), "export": (-3.25, "kW"), "relay": (1.0, ""), "voltage": (231.5, "V")}
        assert next(s for s in node.stored if s.unit == "V").observed_us == 1_767_225_600_000_000
        await meter.publish("home1/relay", b"MAYBE")
        await meter.receive()
        assert [problem.reason for _, problem in node.problems] == ["not-a-number"]


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


async def test_loss_is_counted_from_the_messages_own_count() -> None:
    node = make_node()
    async with serving(node) as adapter, raw(node.address["mqtt"]) as meter:
        await meter.connect()
        for seq in (1, 2, 5, 4, 5):
            await meter.publish(topic(THING), pack(power=1.0, seq=seq))
            await meter.receive()
        assert adapter.counters is not None
        assert adapter.counters.of(THING).lost == 1
        assert adapter.counters.of(THING).sent == 6


async def test_a_restart_remembers_the_count() -> None:
    store = DictStore()
    for seqs, lost in (((1, 2), 0), ((4, 5), 1)):
        node = make_node(store=store)
        async with serving(node) as adapter, raw(node.address["mqtt"]) as meter:
            await meter.connect()
            for seq in seqs:
                await meter.publish(topic(THING), pack(power=1.0, seq=seq))
                await meter.receive()
            assert adapter.counters is not None
            assert adapter.counters.of(THING).lost == lost


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
        assert clock.monotonic_us() / 1e6 <= 12


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


async def test_a_stopped_node_leaves_nothing_behind() -> None:
    node = make_node()
    node.gate.clear()
    before = asyncio.all_tasks()
    async with serving(node), raw(node.address["mqtt"]) as connected, raw(node.address["mqtt"]) as silent:
        await connected.connect()
        await connected.publish(topic(THING), pack(power=1.0))
        await node.until(lambda: node.waiting == 1)
        silent.writer.write(b"\x10")  # half a packet
    assert asyncio.all_tasks() == before
    assert node.stored == []


def test_the_adapter_comes_by_its_entry_point() -> None:
    from importlib.metadata import entry_points

    [entry] = [point for point in entry_points(group="gridspine.adapters") if point.name == "mqtt"]
    assert isinstance(entry.load()(), MqttAdapter)
