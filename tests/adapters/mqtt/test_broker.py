"""What reaches the embedded broker: acknowledged when durable, taken once, counted, named."""

import asyncio
import contextlib
import json
import logging

import pytest
from adapter_node import DictStore
from mqtt_device import OTHER, THING, Packet, device, pack, raw, topic
from mqtt_serving import binding, make_node, serving

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.kernel.errors import DiskFull, Overloaded
from gridspine.kernel.readings import Channel

PUBACK, PUBREC, PUBREL, PUBCOMP, PINGRESP = 4, 5, 6, 7, 13


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
