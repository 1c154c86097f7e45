"""Devices as processes, polled over real connections: units, signs, qualities, absences, and coming back."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from adapter_node import FakeNode, Stored
from modbus_bench import THING, binding, order, relaying

from gridspine.adapters.modbus import adapter
from gridspine.energy.models import load_models
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.readings import Channel
from gridspine.things.adapter import ReadRequest

SETTINGS = {"maxBackoffS": 0.5}


def latest(node: FakeNode, point: str, thing: str = THING) -> Stored | None:
    return next((stored for stored in reversed(node.stored) if stored.point == f"{thing}/{point}"), None)


def reads(node: FakeNode, point: str, test: Callable[[float], bool]) -> Callable[[], bool]:
    def check() -> bool:
        found = latest(node, point)
        return found is not None and test(found.value)

    return check


@pytest.mark.parametrize("legacy", [(), ("--legacy",)], ids=["701", "103"])
async def test_an_inverter_at_noon_generates_which_is_negative(start_device: Any, legacy: tuple[str, ...]):
    device = start_device("inverter", "--hour", "12", "--seed", "5", *legacy)
    node = FakeNode([binding("inverter", device.port)], settings=SETTINGS)
    before_us = SystemClock().now_us()
    async with node.running(adapter()):
        await node.until(lambda: latest(node, "activePowerLimit"))
    model = load_models()["pv_inverter"]
    found = {stored.point.partition("/")[2]: stored for stored in node.stored}
    assert set(found) == {point.name for point in model.points}
    assert -6000 <= found["activePower"].value < -500
    assert 220 < found["voltage"].value < 245
    assert 49.5 < found["frequency"].value < 50.5
    assert found["activeEnergyExport"].value > 1e6
    assert found["operatingState"].value == 3
    assert found["activePowerLimit"].value == 6000
    for stored in node.stored:
        assert stored.unit == model.point(stored.point.partition("/")[2]).reading_type.unit
        assert stored.channel is Channel.REPORTED
        assert stored.quality == 0
        assert before_us <= stored.observed_us <= SystemClock().now_us()
        assert stored.source == node.source_of(THING)


async def test_where_a_stranger_s_description_leads_is_looked_at_first(start_device: Any):
    """A mapped model needs no registers to be guarded: what the description says of the place is as strange."""
    device = start_device("inverter", "--hour", "12")
    described = binding("inverter", device.port)
    described = msgspec.structs.replace(described, connection={**described.connection, "guarded": True})
    node = FakeNode([described], settings=SETTINGS)
    async with node.running(adapter()):
        node.reading.put_nowait(ReadRequest("now", THING))
        await node.until(lambda: node.read)
    assert "adapters.settings.modbus.allow" in node.read["now"]
    assert node.stored == []
    allowing = FakeNode([described], settings={**SETTINGS, "allow": ["127.0.0.0/8"]})
    async with allowing.running(adapter()):
        await allowing.until(lambda: latest(allowing, "activePower"))


@pytest.mark.parametrize("legacy", [(), ("--legacy",)], ids=["701", "103"])
async def test_a_battery_says_what_it_holds(start_device: Any, legacy: tuple[str, ...]):
    device = start_device("battery", "--soc", "42", *legacy)
    node = FakeNode([binding("battery", device.port)], settings=SETTINGS)
    async with node.running(adapter()):
        await node.until(lambda: latest(node, "activePowerSetpoint"))
    found = {stored.point.partition("/")[2]: stored.value for stored in node.stored}
    assert found["stateOfCharge"] == 42.0
    assert found["activePower"] == 0.0
    assert found["operatingState"] == 6
    assert found["activePowerSetpoint"] == 0.0
    assert ("activeEnergyImport" in found) == (not legacy), "103 does not tell import from export: absent, not 0"


async def test_a_reversed_sign_shows_as_power_that_cannot_be(start_device: Any):
    device = start_device("inverter", "--hour", "12", "--fault", "reversed-sign")
    node = FakeNode([binding("inverter", device.port)], settings=SETTINGS)
    async with node.running(adapter()):
        await node.until(lambda: latest(node, "activePower"))
    possible_max = load_models()["pv_inverter"].point("activePower").screen.possible_max
    assert possible_max is not None
    assert node.stored[0].value > possible_max, "the node's screen refuses it: a generator does not take kilowatts"


async def test_a_device_killed_and_started_again_is_polled_again(start_device: Any):
    device = start_device("inverter", "--hour", "12")
    node = FakeNode([binding("inverter", device.port)], settings=SETTINGS)
    async with node.running(adapter()):
        await node.until(lambda: latest(node, "activePower"))
        device.kill()
        await asyncio.sleep(0.5)
        count = len(node.stored)
        await asyncio.sleep(0.5)
        assert len(node.stored) == count, "a device that is away gives no readings"
        start_device("inverter", "--hour", "12", "--port", str(device.port))
        await node.until(lambda: len(node.stored) > count)


async def test_units_behind_a_gateway_share_one_connection_and_one_being_away_leaves_the_rest(start_device: Any):
    ports = {1: start_device("inverter", "--hour", "12").port, 2: start_device("battery", "--unit", "2").port}
    things = [f"urn:dev:ops:32473-unit-{unit}" for unit in (1, 2, 3)]
    async with relaying(ports) as relay:
        bound = [
            binding("inverter", relay.port, things[0], unit=1),
            binding("battery", relay.port, things[1], unit=2),
            binding("battery", relay.port, things[2], unit=3),
        ]
        node = FakeNode(bound, settings=SETTINGS)
        async with node.running(adapter()):
            await node.until(lambda: latest(node, "activePower", things[0]) and latest(node, "activePower", things[1]))
            count = len(node.stored)
            await node.until(lambda: len(node.stored) > count + 30)
            assert latest(node, "activePower", things[2]) is None
        assert relay.connections == 1
        assert relay.overlaps == 0


async def test_another_device_at_the_same_address_is_not_read(start_device: Any):
    device = start_device("inverter", "--seed", "8")
    node = FakeNode([binding("inverter", device.port, serialNumber="GS-PV-000007")], settings=SETTINGS)
    async with node.running(adapter()):
        await asyncio.sleep(0.8)
        assert node.stored == []
        node.set_bindings([binding("inverter", device.port, serialNumber="GS-PV-000008")])
        await node.until(lambda: node.stored)


async def test_things_come_and_go_while_it_runs(start_device: Any):
    device = start_device("inverter")
    node = FakeNode([], settings=SETTINGS)
    async with node.running(adapter()):
        node.set_bindings([binding("inverter", device.port)])
        await node.until(lambda: node.stored)
        node.set_bindings([])
        await asyncio.sleep(0.3)
        count = len(node.stored)
        await asyncio.sleep(0.5)
        assert len(node.stored) == count


async def test_only_the_points_that_are_served_are_read(start_device: Any):
    device = start_device("inverter")
    whole = binding("inverter", device.port)
    node = FakeNode([type(whole)(whole.thing, "", "org", whole.model, whole.connection, ("voltage",))])
    async with node.running(adapter()):
        await node.until(lambda: len(node.stored) > 2)
    assert {stored.point for stored in node.stored} == {f"{THING}/voltage"}


async def test_a_full_node_is_waited_for_and_the_next_poll_is_taken(start_device: Any):
    device = start_device("inverter")
    node = FakeNode([binding("inverter", device.port)], settings=SETTINGS)
    node.refusal = Overloaded("full", retry_after_s=1)
    offered: list[int] = []
    node.before_intake = lambda readings: offered.append(len(readings))
    async with node.running(adapter()):
        await node.until(lambda: offered)
        node.refusal = None
        await node.until(lambda: node.stored)


async def test_a_wrong_connection_rejects_orders_and_leaves_the_others_alone(start_device: Any):
    device = start_device("inverter")
    other = "urn:dev:ops:32473-other"
    node = FakeNode([binding("inverter", device.port, other, unit="x"), binding("inverter", device.port)])
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
        node.order(order(node.clock.now_us(), "activePowerLimit", 0.0, 60, thing=other))
        node.order(order(node.clock.now_us(), "activePowerLimit", 0.0, 60, thing="urn:dev:ops:32473-no", command="c2"))
        await node.until(lambda: len(node.progressed) == 2)
    assert node.progressed[0][:2] == ("c1", "rejected")
    assert "connection" in node.progressed[0][2]
    assert node.progressed[1][:2] == ("c2", "rejected")


async def test_a_device_is_read_at_once_when_asked(start_device: Any):
    device = start_device("battery", "--soc", "42")
    node = FakeNode([binding("battery", device.port, intervalS=3600)], settings=SETTINGS)
    async with node.running(adapter()):
        await node.until(lambda: latest(node, "stateOfCharge"))
        stored = len(node.stored)
        node.reading.put_nowait(ReadRequest("now", THING))
        await node.until(lambda: "now" in node.read)
        assert node.read["now"] == ""
        assert len(node.stored) > stored, "it was read before its time"
        node.reading.put_nowait(ReadRequest("elsewhere", "urn:x:elsewhere"))
        await node.until(lambda: "elsewhere" in node.read)
        assert "does not serve" in node.read["elsewhere"]
        device.process.kill()
        device.process.wait()
        node.reading.put_nowait(ReadRequest("away", THING))
        await node.until(lambda: "away" in node.read)
        assert node.read["away"]
