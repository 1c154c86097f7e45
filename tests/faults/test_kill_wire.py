"""``kill -9`` of what is at the other end of a wire: the broker beside the node, and the device itself."""

import asyncio
import json
import socket

import pytest
from adapter_node import DictStore, FakeNode
from killing import Moments
from mqtt_brokering import broker_in, linked, make_node, needs_mosquitto
from mqtt_device import OTHER, PASSWORD, THING, device, pack, topic

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.things.adapter import Binding
from tests.ports import free_port

T0_S = 1_767_225_600.0


async def kill_broker(folder, kills):
    """Messages go on all the while; after each kill the link is back, and what is sent then arrives."""
    moments, made = Moments(), 0
    with broker_in(folder) as broker:
        await broker.start()
        node = make_node(broker, settings={"reconnect_min_s": 0.05, "reconnect_max_s": 0.1})
        async with linked(node) as adapter:
            for at in range(kills):
                with device(broker.address, "meter-two", client_id=f"meter-{at}", clean=True) as meter:
                    await node.until(lambda meter=meter: meter.connected)
                    ends = asyncio.get_running_loop().time() + moments.within(0.2)
                    while asyncio.get_running_loop().time() < ends:
                        made += 1
                        meter.publish(topic(OTHER), pack(OTHER, time_s=T0_S + made, power=float(made)))
                        await asyncio.sleep(0.002)
                    broker.stop(kill=True)
                    await node.until(lambda: not adapter.ready)
                await broker.start()
                await node.until(lambda: adapter.ready)
                made += 1
                with device(broker.address, "meter-two", client_id=f"after-{at}", clean=True) as meter:
                    meter.publish(topic(OTHER), pack(OTHER, time_s=T0_S + made, power=float(made)))
                    await node.until(lambda last=made: node.stored and node.stored[-1].value == last)
            values = [stored.value for stored in node.stored]
            assert set(values) <= {float(value) for value in range(1, made + 1)}
            assert len(values) - len(set(values)) <= 1000 * kills  # at least once: never more than was in flight
    return len(values)


@needs_mosquitto
async def test_the_link_survives_kills_of_the_broker(tmp_path, tally):
    assert await kill_broker(tmp_path, 2) >= 2
    tally("kill -9", "broker beside the node", 2)


@needs_mosquitto
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_link_survives_many_kills_of_the_broker(tmp_path, tally):
    assert await kill_broker(tmp_path, 20) >= 20
    tally("kill -9", "broker beside the node", 20)


async def kill_meter(nursery, folder, kills):
    """The meter counts on from the state it kept: no count comes twice, and none that it acknowledged is lost."""
    moments, port, home = Moments(), free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    node = FakeNode([Binding(THING, "Meter", "org", "m", {})], port=port, store=DictStore())
    node.add_user(THING, PASSWORD, THING)
    adapter = MqttAdapter()
    arguments = ["--thing", THING, "--port", str(port), "--username", THING, "--interval-s", "0.02",
                 "--home-port", str(home), "--state", str(folder / "state")]  # fmt: skip
    stop = asyncio.Event()

    async def drive():
        """Another power each time, so that each look of the meter is worth a message."""
        power_w = -5000.0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inverter:
            while not stop.is_set():
                power_w -= 50.0
                inverter.sendto(json.dumps({"device": "pv", "power_w": power_w}).encode(), ("127.0.0.1", home))
                await asyncio.sleep(0.01)

    async with node.running(adapter):
        driving = asyncio.ensure_future(drive())
        for _ in range(kills):
            before = len(node.stored)
            meter = nursery.fork("meter", arguments=arguments, password=PASSWORD)
            await node.until(lambda before=before: len(node.stored) > before)
            await asyncio.sleep(moments.within(0.15))
            meter.kill()
        stop.set()
        await driving
        times = [stored.observed_us for stored in node.stored if stored.point == f"{THING}/activePower"]
        energy = [stored.value for stored in node.stored if stored.point == f"{THING}/activeEnergyExport"]
        # A kill costs what was made and not yet acknowledged, and the node knows of it: no more is lost than was made.
        assert adapter.counters is not None
        made = json.loads((folder / "state").read_text())["seq"]
        kept = adapter.counters.of(THING)
    assert len(times) == len(set(times)) >= kills
    assert energy == sorted(energy)  # the register never goes back
    assert kept.stored + kept.lost <= made + kills
    return kept.stored


async def test_the_node_survives_kills_of_a_device(nursery, tmp_path, tally):
    assert await kill_meter(nursery, tmp_path, 3) >= 3
    tally("kill -9", "simulated device", 3)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_node_survives_many_kills_of_a_device(nursery, tmp_path, tally):
    assert await kill_meter(nursery, tmp_path, 40) >= 40
    tally("kill -9", "simulated device", 40)
