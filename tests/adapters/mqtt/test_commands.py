"""Orders to devices, and what devices say became of them, through the embedded broker."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator

from adapter_node import DictStore, FakeNode
from mqtt_device import OTHER, PASSWORD, THING, Raw, device, raw, topic
from msgspec import UNSET
from msgspec.structs import replace

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.adapters.mqtt.commands import Commands
from gridspine.adapters.mqtt.wire import decode_command, encode_command
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US, parse_rfc3339
from gridspine.things.adapter import Binding, Order, Planned

PUBLISH, PUBACK, PINGRESP = 3, 4, 13
COMMANDS = topic(THING, "commands")


def make_node(**options: object) -> FakeNode:
    node = FakeNode([Binding(t, "Inverter", "org", "m", {}) for t in (THING, OTHER)], **options)  # type: ignore[arg-type]
    node.add_user(THING, PASSWORD, THING)
    node.add_user(OTHER, PASSWORD, OTHER)
    return node


@contextlib.asynccontextmanager
async def serving(node: FakeNode) -> AsyncIterator[None]:
    async with node.running(MqttAdapter()):
        await node.until(lambda: "mqtt" in node.address)
        yield


def order(
    node: FakeNode, command: str = "c1", value: float | None = -3000.0, *, sequence: int = 1, lasts_s: int = 600
) -> Order:
    until_us = node.clock.now_us() + lasts_s * US
    return Order(command, THING, "activePowerLimit", value, until_us, 0.0, sequence)


async def next_command(meter: Raw, *, acknowledge: bool = True) -> dict[str, object]:
    packet = await meter.receive()
    assert packet is not None
    assert packet.kind == PUBLISH
    assert packet.flags == 0b0010, "QoS 1, not retained, not sent before"
    length = struct.unpack("!H", packet.body[:2])[0]
    assert packet.body[2 : 2 + length].decode() == COMMANDS
    if acknowledge:
        await meter.send(PUBACK, packet.body[2 + length : 4 + length])
    body = packet.body[4 + length :]
    decode_command(body)
    command: dict[str, object] = json.loads(body)
    return command


async def test_an_order_reaches_its_device_with_its_end_and_its_fallback() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        assert await meter.subscribe(COMMANDS) == [1]
        wanted = order(node)
        node.order(wanted)
        command = await next_command(meter, acknowledge=False)
        assert parse_rfc3339(str(command.pop("until"))) == wanted.until_us
        assert command == {
            "command": "c1", "point": "activePowerLimit", "value": -3000.0, "fallback": 0.0, "sequence": 1,
        }  # fmt: skip
        assert node.progressed == []  # written is not delivered
        await meter.send(PUBACK, b"\x00\x01")
        await node.until(lambda: node.progressed == [("c1", "sent", "")])


async def test_an_acknowledgement_is_progress_and_never_a_reading() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.subscribe(COMMANDS)
        node.order(order(node))
        await next_command(meter)
        body = b'{"command": "c1", "state": "rejected", "reason": "too warm"}'
        await meter.publish(topic(THING, "acknowledgements"), body)
        answer = await meter.receive()
        assert answer is not None
        assert answer.kind == PUBACK
        assert node.progressed == [("c1", "sent", ""), ("c1", "rejected", "too warm")]
        assert node.stored == []


async def test_nobody_answers_for_another_things_command() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as other:
        await other.connect(OTHER)
        node.order(order(node))
        for body in (b'{"command": "c1", "state": "acknowledged"}', b'{"command": "c1", "state": "sent"}', b"{"):
            await other.publish(topic(OTHER, "acknowledgements"), body)
            answer = await other.receive()
            assert answer is not None
            assert answer.kind == PUBACK
        assert node.progressed == []
        assert {problem.reason for _, problem in node.problems} == {"acknowledgement"}


async def test_a_device_that_comes_late_gets_the_latest_order_only() -> None:
    node = make_node()
    async with serving(node):
        await node.until(lambda: node.waiting_orders == 0)
        node.order(order(node, "c1", sequence=1))
        node.order(order(node, "c3", -1000.0, sequence=3))
        node.order(order(node, "c2", -2000.0, sequence=2))  # overtaken on the way
        await node.until(lambda: node.waiting_orders == 0)
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect()
            await meter.subscribe(COMMANDS)
            assert (await next_command(meter))["command"] == "c3"
            await meter.ping()
            answer = await meter.receive()
            assert answer is not None
            assert answer.kind == PINGRESP  # nothing else was sent
        await node.until(lambda: node.progressed)
        assert node.progressed == [("c3", "sent", "")]  # of the others their replacer knows


async def test_an_ended_order_is_never_sent() -> None:
    clock = VirtualClock()
    node = make_node(clock=clock)
    async with serving(node):
        node.order(order(node, "late", lasts_s=-1))
        node.order(order(node, "absent", sequence=2, lasts_s=5))
        for _ in range(8):
            await clock.advance(1.0)
        await node.until(lambda: len(node.progressed) == 2)
        assert [(command, state) for command, state, _ in node.progressed] == [("late", "failed"), ("absent", "failed")]
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect()
            await meter.subscribe(COMMANDS)
            await meter.ping()
            answer = await meter.receive()
            assert answer is not None
            assert answer.kind == PINGRESP


async def test_a_release_waits_for_an_absent_device() -> None:
    node = make_node()
    async with serving(node):
        node.order(order(node, "release", None, lasts_s=0))
        async with raw(node.address["mqtt"]) as meter:
            await meter.connect()
            await meter.subscribe(COMMANDS)
            assert (await next_command(meter))["value"] is None


async def test_a_device_that_lost_the_order_gets_it_again_when_it_reconnects() -> None:
    node = make_node()
    async with serving(node):
        node.order(order(node))
        for acknowledge in (False, True, True):
            async with raw(node.address["mqtt"]) as meter:
                await meter.connect()
                await meter.subscribe(COMMANDS)
                assert (await next_command(meter, acknowledge=acknowledge))["command"] == "c1"
        await node.until(lambda: node.progressed)
        assert node.progressed == [("c1", "sent", "")]


async def test_a_persistent_session_survives_a_restart_of_the_node() -> None:
    store = DictStore()
    first = make_node(store=store)
    async with serving(first), raw(first.address["mqtt"]) as meter:
        assert await meter.connect(clean=False) == (False, 0)
        await meter.subscribe(COMMANDS)
    second = make_node(store=store)
    second.order(order(second))  # in force already when the node starts
    async with serving(second), raw(second.address["mqtt"]) as meter:
        assert await meter.connect(clean=False) == (True, 0)
        assert (await next_command(meter))["command"] == "c1"  # without subscribing anew
        await meter.send(10, b"\x00\x05" + struct.pack("!H", len(COMMANDS)) + COMMANDS.encode(), flags=2)
        await meter.receive()
    async with serving(third := make_node(store=store)), raw(third.address["mqtt"]) as meter:
        assert await meter.connect(clean=False) == (True, 0)
        third.order(order(third))
        await meter.ping()
        answer = await meter.receive()
        assert answer is not None
        assert answer.kind == PINGRESP  # it had unsubscribed
    async with serving(fourth := make_node(store=store)), raw(fourth.address["mqtt"]) as meter:
        assert await meter.connect(clean=True) == (False, 0)
    assert not [key for key in store.content if key.startswith("sessions/")]


async def test_orders_in_flight_are_bounded_and_the_latest_wins() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.subscribe(COMMANDS)
        for number in range(50):
            node.order(order(node, f"c{number}", float(number), sequence=number))
            await asyncio.sleep(0)
        got = [await next_command(meter, acknowledge=False) for _ in range(8)]
        await meter.ping()
        answer = await meter.receive()
        assert answer is not None
        assert answer.kind == PINGRESP  # eight unacknowledged are the most
        await meter.send(PUBACK, b"\x00\x01")
        last = await next_command(meter)
        assert last["value"] == 49.0
        assert len({str(command["command"]) for command in [*got, last]}) == 9


async def test_paho_takes_orders() -> None:
    node = make_node()
    async with serving(node):
        with device(node.address["mqtt"], subscribe=(COMMANDS, topic(OTHER, "commands"))) as paho:
            await node.until(lambda: paho.granted == [1, 0x80])
            node.order(order(node))
            await node.until(lambda: paho.got and node.progressed)
            assert paho.got[0][0] == COMMANDS


async def test_replaced_orders_are_not_current() -> None:
    node = make_node()
    commands = Commands(node)
    delivered: list[Order] = []

    async def deliver(order: Order) -> None:
        delivered.append(order)

    follower = asyncio.ensure_future(commands.follow(deliver))
    first, second = order(node, "c1", sequence=1), order(node, "c2", sequence=2)
    node.order(first)
    await node.until(lambda: delivered == [first])
    assert commands.orders.is_current(first)
    node.order(second)
    await node.until(lambda: delivered == [first, second])
    follower.cancel()
    await asyncio.wait([follower])
    assert not commands.orders.is_current(first)
    assert commands.orders.is_current(second)
    assert commands.orders.in_force(THING) == [second]
    assert commands.orders.unsettled() == [second]


async def test_a_word_on_a_command_names_the_order_it_is_about() -> None:
    node = make_node()
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.subscribe(COMMANDS)
        node.order(order(node, "c1", sequence=4))
        await next_command(meter)
        await node.until(lambda: ("c1", "sent", "") in node.progressed)
        for words in ({"sequence": 4}, {}):
            await meter.publish(
                topic(THING, "acknowledgements"),
                json.dumps({"command": "c1", "state": "acknowledged"} | words).encode(),
            )
        await node.until(lambda: len(node.progressed) == 3)
    assert node.sequences == [4, 4, 0], "a device that does not say is taken to mean the order it has now"


async def test_a_schedule_goes_along_for_devices_that_hold_it() -> None:
    node = make_node()
    bindings = [Binding(t, "Inverter", "org", "m", {"schedules": t == THING}) for t in (THING, OTHER)]
    node.set_bindings(bindings)
    async with serving(node), raw(node.address["mqtt"]) as meter:
        await meter.connect()
        await meter.subscribe(COMMANDS)
        whole = replace(order(node), plan=(Planned(node.clock.now_us() + 60 * US, -500.0), Planned(1 << 51, None)))
        node.order(replace(whole, thing=OTHER))
        node.order(whole)
        told = await next_command(meter)
    schedule = told["schedule"]
    assert isinstance(schedule, list)
    assert [one["value"] for one in schedule] == [-500.0, None]
    assert decode_command(encode_command(replace(whole, plan=()))).schedule is UNSET
