"""The external mode against a real Mosquitto with the configuration we write."""

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapter_node import DictStore
from mqtt_brokering import BINDINGS, Broker, broker_in, linked, make_node, needs_mosquitto
from mqtt_device import OTHER, THING, device, pack, raw, topic
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gridspine.adapters.mqtt.mosquitto import MosquittoSettings, acl_lines, password_lines, write_mosquitto
from gridspine.adapters.mqtt.topics import Routes
from gridspine.adapters.mqtt.wire import decode_command
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import Binding, Order


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path) as it:
        yield it


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_readings_arrive_with_either_protocol_and_a_client_certificate(broker: Broker, protocol: str) -> None:
    await broker.start()
    node = make_node(broker, protocol)
    tls = broker.authority.context(THING, "meter")
    async with linked(node) as adapter:
        with device(broker.tls_address, username="", tls=tls, client_id="a") as meter:
            await node.until(lambda: meter.connected)  # paho sends what it kept until then after what comes just then
            sent = [meter.publish(topic(THING), pack(power=float(n), seq=n + 1)) for n in range(50)]
            sent.append(meter.publish("home1/power", b"3.5"))
            await node.until(lambda: meter.acknowledged.issuperset(sent) and len(node.stored) == 51)
        assert [s.value for s in node.stored[:50]] == [float(n) for n in range(50)]
        assert (node.stored[50].point, node.stored[50].value, node.stored[50].unit) == (f"{THING}/power", 3.5, "kW")
        assert node.stored[0].source == node.source_of(THING)
        assert adapter.counters is not None
        assert adapter.counters.of(THING).as_dict() == {
            "sent": 51, "lost": 0, "uncertain": 0, "received": 51, "stored": 51, "refused": 0,
            "turned_away": 0, "readings": 51, "readings_refused": 0,
        }  # fmt: skip


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_the_broker_keeps_what_intake_has_not_made_durable(broker: Broker, protocol: str) -> None:
    await broker.start()
    node = make_node(broker, protocol)
    node.gate.clear()
    async with linked(node):
        with device(broker.address, "meter-two", client_id="b") as meter:
            await node.until(lambda: meter.connected)
            sent = [meter.publish(topic(OTHER), pack(OTHER, power=float(n))) for n in range(30)]
            await node.until(lambda: node.waiting == 30 or (node.waiting and meter.acknowledged.issuperset(sent)))
    assert node.stored == []  # the node was stopped before anything was durable
    second = make_node(broker, protocol)
    async with linked(second):
        await second.until(lambda: len(second.stored) == 30)
        assert [s.value for s in second.stored] == [float(n) for n in range(30)]
    third = make_node(broker, protocol)
    async with linked(third) as adapter:
        with device(broker.address, "meter-two", client_id="b") as meter:
            meter.publish(topic(OTHER), pack(OTHER, power=99.0))
            await third.until(lambda: third.stored)
        assert [s.value for s in third.stored] == [99.0]  # nothing came twice: all had been acknowledged
        assert adapter.counters is not None
        assert adapter.counters.of(OTHER).stored == 1


@needs_mosquitto
async def test_overload_drops_the_link_and_the_messages_come_again(broker: Broker) -> None:
    await broker.start()
    node = make_node(broker)
    node.refusal = Overloaded("busy", retry_after_s=0)
    async with linked(node) as adapter:
        with device(broker.address, "meter-two", client_id="b") as meter:
            sent = [meter.publish(topic(OTHER), pack(OTHER, power=float(n))) for n in range(5)]
            await node.until(lambda: meter.acknowledged.issuperset(sent))  # by Mosquitto: its hop, its guarantee
            await node.until(lambda: adapter.counters is not None and adapter.counters.of(OTHER).turned_away >= 5)
            assert node.stored == []
            node.refusal = None
            await node.until(lambda: len(node.stored) == 5)
        assert [s.value for s in node.stored] == [0.0, 1.0, 2.0, 3.0, 4.0]


@needs_mosquitto
async def test_a_broker_that_goes_comes_back(broker: Broker) -> None:
    await broker.start()
    node = make_node(broker)
    async with linked(node):
        with device(broker.address, "meter-two", client_id="b") as meter:
            meter.publish(topic(OTHER), pack(OTHER, power=1.0))
            await node.until(lambda: len(node.stored) == 1)
            broker.stop()
            sent = meter.publish(topic(OTHER), pack(OTHER, power=2.0))
            await node.until(lambda: meter.disconnected)
            await broker.start()
            await node.until(lambda: sent in meter.acknowledged and {s.value for s in node.stored} == {1.0, 2.0})


@needs_mosquitto
async def test_loss_inside_the_broker_is_counted(broker: Broker) -> None:
    broker.write(max_queued_messages=10, max_inflight_messages=5)  # a configuration that drops
    await broker.start()
    store = DictStore()
    node = make_node(broker, store=store)
    async with linked(node) as adapter:
        with device(broker.address, "meter-two", client_id="b") as meter:
            meter.publish(topic(OTHER), pack(OTHER, power=0.0, seq=1))
            await node.until(lambda: len(node.stored) == 1)
    with device(broker.address, "meter-two", client_id="b") as meter:
        await node.until(lambda: meter.connected)
        sent = [meter.publish(topic(OTHER), pack(OTHER, power=1.0, seq=seq)) for seq in range(2, 101)]
        await node.until(lambda: meter.acknowledged.issuperset(sent))
    node = make_node(broker, store=store)
    async with linked(node) as adapter:
        with device(broker.address, "meter-two", client_id="b") as meter:
            await node.until(lambda: node.stored)
            meter.publish(topic(OTHER), pack(OTHER, power=2.0, seq=101))
            await node.until(lambda: any(s.value == 2.0 for s in node.stored))
        assert adapter.counters is not None
        counters = adapter.counters.of(OTHER)
        assert counters.lost > 50
        assert counters.lost + counters.stored == counters.sent == 100


@needs_mosquitto
async def test_the_shipped_configuration_does_not_drop_where_mosquittos_own_does(broker: Broker) -> None:
    await broker.start()
    node = make_node(broker)
    async with linked(node):
        pass  # from now on the broker keeps the node's messages
    with device(broker.address, "meter-two", client_id="b") as meter:
        await node.until(lambda: meter.connected)
        sent = [meter.publish(topic(OTHER), pack(OTHER, power=1.0, seq=seq)) for seq in range(1, 3001)]
        await node.until(lambda: meter.acknowledged.issuperset(sent))
    node = make_node(broker)
    async with linked(node) as adapter:
        await node.until(lambda: len(node.stored) == 3000)
        assert adapter.counters is not None
        assert adapter.counters.of(OTHER).lost == 0


@needs_mosquitto
async def test_mqtt_5_properties_count_bare_numbers(broker: Broker) -> None:
    await broker.start()
    node = make_node(broker)
    tls = broker.authority.context(THING, "meter")
    async with linked(node) as adapter:
        five = MQTTProtocolVersion.MQTTv5
        with device(broker.tls_address, username="", tls=tls, client_id="a", version=five) as meter:
            await node.until(lambda: meter.connected)
            for seq in (1, 2, 5):
                properties = Properties(PacketTypes.PUBLISH)
                properties.UserProperty = [("seq", str(seq)), ("run", "r")]
                meter.publish("home1/power", b"1", properties=properties)
            await node.until(lambda: len(node.stored) == 3)
        assert adapter.counters is not None
        assert adapter.counters.of(THING).lost == 2


@needs_mosquitto
async def test_a_retained_value_without_a_time_is_no_new_reading(broker: Broker) -> None:
    await broker.start()
    with device(broker.address, "meter-two", client_id="b") as meter:
        async with asyncio.timeout(60):
            while not meter.connected:
                await asyncio.sleep(0.02)
        kept = json.dumps({"power": 5}).encode()
        mid = meter.client.publish(topic(OTHER), kept, qos=1, retain=True).mid
        async with asyncio.timeout(60):
            while mid not in meter.acknowledged:
                await asyncio.sleep(0.02)
        node = make_node(broker)
        async with linked(node) as adapter:
            await node.until(lambda: adapter.counters is not None and adapter.counters.of(OTHER).stored == 1)
            assert node.stored == []
            meter.publish(topic(OTHER), kept)
            await node.until(lambda: node.stored)


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_orders_go_out_and_answers_come_in(broker: Broker, protocol: str) -> None:
    await broker.start()
    node = make_node(broker, protocol)
    until_us = node.clock.now_us() + 600 * US
    node.order(Order("before", OTHER, "limit", 1.0, until_us, 0.0, 1))
    async with linked(node):
        commands = topic(OTHER, "commands")
        with device(broker.address, "meter-two", client_id="b", subscribe=(commands,)) as inverter:
            await node.until(lambda: inverter.granted == [1])
            node.order(Order("now", OTHER, "other", 2.0, until_us, 0.0, 2))
            await node.until(lambda: inverter.got and ("now", "sent", "") in node.progressed)
            assert decode_command(inverter.got[-1][1]).value == 2.0
            answer = b'{"command": "now", "state": "acknowledged"}'
            inverter.publish(topic(OTHER, "acknowledgements"), answer)
            await node.until(lambda: ("now", "acknowledged", "") in node.progressed)
            assert ("before", "sent", "") in node.progressed


@needs_mosquitto
async def test_an_order_that_the_broker_refuses_does_not_count_as_sent(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.start()
    node = make_node(broker)
    node.set_bindings([Binding(OTHER, "Meter", "org", "m", {"username": "meter-two", "commands": "elsewhere/down"})])
    async with linked(node):
        node.order(Order("refused", OTHER, "limit", 1.0, node.clock.now_us() + 600 * US, 0.0, 1))
        await node.until(lambda: "the broker refused order refused" in caplog.text)
        assert node.progressed == []


@needs_mosquitto
async def test_the_access_list_keeps_devices_to_their_own_topics(broker: Broker) -> None:
    await broker.start()
    node = make_node(broker)
    tls = broker.authority.context(THING, "meter")
    async with linked(node):
        with (
            device(broker.tls_address, username="", tls=tls, client_id="a") as first,
            device(broker.address, "meter-two", client_id="b") as second,
            device(broker.address, "stranger", client_id="c") as stranger,
        ):
            for it in (first, second, stranger):
                await node.until(lambda it=it: it.connected)
            for to in (topic(OTHER), topic(OTHER, "acknowledgements"), topic(THING, "commands"), "home2/power"):
                first.publish(to, b'{"evil": 1}')
            for to in (topic(THING), "home1/power"):
                second.publish(to, b'{"evil": 1}')
                stranger.publish(to, b'{"evil": 1}')
            first.publish(topic(THING), pack(power=1.0))
            second.publish(topic(OTHER), pack(OTHER, power=2.0))
            stranger.publish(topic(OTHER), b'{"evil": 1}')
            await node.until(lambda: len(node.stored) == 2)
            assert {s.value for s in node.stored} == {1.0, 2.0}
    assert {s.point.rpartition("/")[2] for s in node.stored} == {"power"}


@needs_mosquitto
async def test_nobody_comes_in_without_a_certificate_or_password(broker: Broker) -> None:
    await broker.start()
    with device(broker.address, username="", client_id="x") as nobody:
        async with asyncio.timeout(60):
            while not nobody.refused:
                await asyncio.sleep(0.02)
    with device(broker.address, "meter-two", "wrong", client_id="y") as wrong:
        async with asyncio.timeout(60):
            while not wrong.refused:
                await asyncio.sleep(0.02)
    bare = ssl.create_default_context(cafile=broker.authority.path)
    async with raw(broker.tls_address, tls=bare) as unknown:
        with contextlib.suppress(ssl.SSLError, OSError):
            assert await unknown.connect(username="") is None


@needs_mosquitto
async def test_a_refused_node_says_so_and_tries_again(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    await broker.start()
    node = make_node(broker)
    node.secrets = {"password": "wrong"}
    async with linked(node, wait=False):
        await node.until(lambda: caplog.text.count("link lost") >= 2)
    assert "wrong" not in caplog.text.replace("wrong password", "")


def test_names_that_would_break_the_configuration_are_refused() -> None:
    with pytest.raises(Invalid):
        password_lines({"a:b": "x"}, os.urandom)
    with pytest.raises(Invalid):
        acl_lines(Routes([Binding(THING, "", "org", "m", {"username": "a\ntopic readwrite #"})]), "node")
    with pytest.raises(Invalid):
        acl_lines(Routes([]), "node\nuser other")


def test_secrets_are_hashed_and_for_their_owner_only(tmp_path: Path) -> None:
    settings = MosquittoSettings()
    path = write_mosquitto(tmp_path, settings, Routes(BINDINGS), passwords={"n": "in clear"}, randbytes=os.urandom)
    assert "in clear" not in (tmp_path / "passwords").read_text()
    assert (tmp_path / "passwords").stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "allow_anonymous false" in text
    assert f"listener {settings.password_port} 127.0.0.1" in text
