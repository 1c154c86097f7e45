"""Grid support of SunSpec devices: reactive power, power factors, stored curves, local control, heartbeats, actions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from adapter_node import FakeNode
from modbus_bench import THING, Relay, binding, order, relaying

from gridspine.adapters.modbus import adapter
from gridspine.adapters.modbus.address import Endpoint
from gridspine.adapters.modbus.session import Session
from gridspine.adapters.modbus.sunspec import discover
from gridspine.adapters.modbus.view import View
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.quality import Quality
from gridspine.things.adapter import ActionRequest


async def raw(port: int, model: int, point: str) -> float | None:
    """Return a register of the device, read over a connection of the test's own."""
    session = Session(Endpoint("tcp", host="127.0.0.1", port=port), SystemClock())
    chain = await discover(lambda at, count: session.read(1, at, count))
    instance = chain.find(model)
    assert instance is not None
    words = await session.read(1, instance.address, min(125, instance.length + 2))
    await session.close()
    return View(chain, dict(enumerate(words, instance.address)), 0).raw(model, point)


def value(node: FakeNode, point: str) -> float | None:
    return next((s.value for s in reversed(node.stored) if s.point == f"{THING}/{point}"), None)


def states(node: FakeNode, command: str = "c1") -> list[str]:
    return [state for name, state, _ in node.progressed if name == command]


def reason(node: FakeNode) -> str:
    return node.progressed[-1][2]


@contextlib.asynccontextmanager
async def served(start_device: Any, *options: str, **connection: Any) -> AsyncIterator[tuple[FakeNode, Relay, Any]]:
    device = start_device("smart_inverter", "--hour", "12", *options)
    async with relaying({1: device.port}) as relay:
        node = FakeNode([binding("smart_inverter", relay.port, **connection)], settings={"maxBackoffS": 0.5})
        async with node.running(adapter()):
            await node.until(lambda: value(node, "activePower") is not None)
            yield node, relay, device


async def asked(node: FakeNode, action: str, given: Any, id: str = "r1") -> tuple[str, Any, str]:
    node.requesting.put_nowait(ActionRequest(id, THING, action, given, node.clock.now_us() + 30_000_000))
    await node.until(lambda: id in node.requested)
    return node.requested.pop(id)


@pytest.mark.slow
async def test_reactive_power_is_set_import_positive_and_ended_by_the_device(start_device: Any):
    async with served(start_device) as (node, _, device):
        assert value(node, "localControl") == 0.0
        assert value(node, "voltVarCurve") == 0.0
        node.order(order(node.clock.now_us(), "reactivePowerSetpoint", 1200.0, 3))
        await node.until(lambda: value(node, "reactivePower") == 1200.0)
        assert await raw(device.port, 704, "VarSet") == -1200, "SunSpec counts injection as positive"
        assert await raw(device.port, 704, "VarSetMod") == 4
        assert value(node, "reactivePowerSetpoint") == 1200.0
        await node.until(lambda: value(node, "reactivePower") == 0.0)
        assert states(node) == ["sent", "acknowledged"]


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "excitation", "sign"), [(0.9, 0, -1), (-0.95, 1, 1)])
async def test_a_power_factor_says_its_excitation(start_device: Any, factor: float, excitation: int, sign: int):
    async with served(start_device) as (node, _, device):
        node.order(order(node.clock.now_us(), "powerFactorExportSetpoint", factor, 60, fallback=1.0))
        await node.until(lambda: value(node, "powerFactorExportSetpoint") == factor)
        await node.until(lambda: abs(value(node, "reactivePower") or 0.0) > 100.0)
        assert (value(node, "reactivePower") or 0.0) * sign > 0, "over-excited gives reactive power, which is export"
        assert await raw(device.port, 704, "PFWInj.PF") == round(abs(factor) * 1000)
        assert await raw(device.port, 704, "PFWInj.Ext") == excitation
        node.order(order(node.clock.now_us(), "powerFactorExportSetpoint", None, 60, fallback=1.0, sequence=2))
        await node.until(lambda: value(node, "powerFactorExportSetpoint") == 1.0)


async def test_a_curve_is_written_adopted_followed_and_left_again_by_the_device(start_device: Any):
    async with served(start_device, "--network-v", "241.5") as (node, _, device):  # 105 % of nominal
        points = [{"x": 92.0, "y": 44.0}, {"x": 99.0, "y": 0.0}, {"x": 101.0, "y": 0.0}, {"x": 105.0, "y": -30.0}]
        given = {"function": "voltVar", "curve": 3, "points": points, "settings": {"RspTms": 7}}
        state, output, words = await asked(node, "writeCurve", given)
        assert (state, words) == ("done", "")
        assert output["points"] == points
        assert output["settings"]["RspTms"] == 7
        assert value(node, "voltVarCurve") == 0.0, "written is not adopted"
        node.order(order(node.clock.now_us(), "voltVarCurve", 3.0, 4, fallback=2.0))
        await node.until(lambda: value(node, "voltVarCurve") == 3.0)
        await node.until(lambda: (value(node, "reactivePower") or 0.0) == pytest.approx(0.3 * 0.44 * 6000, abs=2))
        assert (await asked(node, "readCurve", {"function": "voltVar", "curve": 1}))[1]["points"] == points
        await node.until(lambda: value(node, "voltVarCurve") == 2.0)
        assert states(node) == ["sent", "acknowledged"]
        assert await raw(device.port, 705, "Ena") == 1, "it goes back to its default curve, not to none"
        assert (await asked(node, "readCurve", {"function": "voltVar", "curve": 1}))[1]["points"] != points


async def test_a_curve_that_cannot_be_followed_is_rejected_in_words(start_device: Any):
    async with served(start_device) as (node, _, device):
        points = [{"x": 105.0, "y": 0.0}, {"x": 92.0, "y": 44.0}]
        assert (await asked(node, "writeCurve", {"function": "voltWatt", "curve": 2, "points": points}))[0] == "done"
        node.order(order(node.clock.now_us(), "voltWattCurve", 2.0, 60, fallback=3.0))
        await node.until(lambda: "rejected" in states(node))
        assert "AdptCrvRslt FAILED" in reason(node)
        assert await raw(device.port, 706, "Ena") == 0
        for number, words in ((1.0, "only shows"), (4.0, "it has 3")):
            name = f"n{number}"
            node.order(order(node.clock.now_us(), "voltWattCurve", number, 60, fallback=3.0, command=name, sequence=9))
            await node.until(lambda name=name: "rejected" in states(node, name))
            assert words in reason(node)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "model"), [("frequencyDroopCurve", 711), ("wattVarCurve", 712)])
async def test_the_other_functions_adopt_too_and_can_be_let_go(start_device: Any, point: str, model: int):
    async with served(start_device) as (node, _, device):
        node.order(order(node.clock.now_us(), point, 3.0, 60, fallback=2.0))
        await node.until(lambda: value(node, point) == 3.0)
        assert await raw(device.port, model, "RvrtTms") in range(50, 61)
        node.order(order(node.clock.now_us(), point, None, 60, fallback=2.0, sequence=2, command="c2"))
        await node.until(lambda: value(node, point) == 2.0)
        assert states(node, "c2") == ["sent", "acknowledged"]
        assert await raw(device.port, model, "RvrtTms") == 0


async def test_trips_are_kept_and_adopted_for_good_and_droop_has_settings(start_device: Any):
    async with served(start_device) as (node, _, device):
        points = [{"x": 45.0, "y": 0.16}, {"x": 88.0, "y": 3.0}]
        given = {"function": "lowVoltageTrip", "curve": 2, "zone": "MustTrip", "points": points}
        assert (await asked(node, "writeCurve", given))[1]["points"] == points
        assert (await asked(node, "adoptCurve", {"function": "lowVoltageTrip", "curve": 2}))[:2] == (
            "done",
            {"adopted": 2},
        )
        assert await raw(device.port, 707, "Ena") == 1
        droop = {"function": "frequencyDroop", "curve": 2, "settings": {"DbOf": 0.017, "KOf": 0.03}}
        settings = (await asked(node, "writeCurve", droop))[1]["settings"]
        assert (settings["DbOf"], settings["KOf"], settings["DbUf"]) == (0.017, 0.03, 0.036)
        for given, words in (
            ({"function": "voltVar", "curve": 1, "settings": {"RspTms": 1}}, "only be read"),
            ({"function": "voltVar", "curve": 9, "settings": {"RspTms": 1}}, "stores 3"),
            ({"function": "voltVar", "curve": 2, "points": [{"x": 1, "y": 1}] * 5}, "4 at most"),
            ({"function": "voltVar", "curve": 2, "points": [{"x": 1e9, "y": 1}]}, "does not fit"),
            ({"function": "voltVar", "curve": 2, "zone": "MustTrip", "settings": {"RspTms": 1}}, "zone"),
            ({"function": "lowVoltageTrip", "curve": 2, "points": points}, "zone"),
            ({"function": "highVoltageTrip", "curve": 2, "zone": "MustTrip", "points": points}, "no SunSpec 708"),
            ({"function": "nothing", "curve": 2, "settings": {"a": 1}}, "no function"),
            ({"function": "voltVar", "curve": 2}, "needed"),
        ):
            state, _, said = await asked(node, "writeCurve", given)
            assert state == "refused"
            assert words in said, (given, said)


async def test_it_is_stopped_and_started_its_alarms_reset_and_its_battery_kept(start_device: Any):
    async with served(start_device) as (node, _, device):
        assert (await asked(node, "operate", {"operation": "stop"}))[0] == "done"
        await node.until(lambda: value(node, "activePower") == 0.0)
        assert (await asked(node, "operate", {"operation": "start"}))[0] == "done"
        await node.until(lambda: value(node, "activePower") != 0.0)
        assert (await asked(node, "resetAlarms", None))[1] == {"reset": ["715.AlarmReset", "802.AlmRst"]}
        assert (await asked(node, "operateBattery", {"operation": "disconnect"}))[0] == "done"
        assert await raw(device.port, 802, "SetOp") == 2
        assert (await asked(node, "setReserve", {"minimum": 15, "maximum": 90}))[1] == {
            "minimum": 15.0,
            "maximum": 90.0,
        }
        assert await raw(device.port, 802, "SoCRsvMin") == 150
        assert (await asked(node, "setReserve", {"minimum": 80, "maximum": 20}))[0] == "refused"
        assert (await asked(node, "explode", None))[0] == "refused"


async def test_a_device_in_local_hands_is_not_commanded(start_device: Any):
    async with served(start_device, "--fault", "local") as (node, relay, _):
        assert value(node, "localControl") == 1.0
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 1000.0, 60))
        await node.until(lambda: states(node) == ["rejected"])
        assert "local control" in reason(node)
        assert "local control" in (await asked(node, "operate", {"operation": "stop"}))[2]
        assert relay.writes == 0


@pytest.mark.slow
async def test_both_hearts_beat_and_one_that_stands_makes_values_questionable(start_device: Any):
    async with served(start_device, heartbeat=True) as (node, relay, device):
        await node.until(lambda: relay.writes > 8)
        assert (await raw(device.port, 715, "ControllerHb") or 0) >= 1
        assert (await raw(device.port, 715, "DERHb") or 0) >= 1
        assert all(one.quality == 0 for one in node.stored)


def test_a_heart_that_stands_for_ten_seconds_is_said_of_the_values():
    from gridspine.adapters.modbus.heartbeat import Heartbeat
    from gridspine.infra.runtime.clock import VirtualClock

    async def live() -> None:
        clock = VirtualClock()
        heart = Heartbeat(clock)
        assert heart.stands(5) == Quality.GOOD
        await clock.advance(9.0)
        assert heart.stands(5) == Quality.GOOD
        await clock.advance(2.0)
        assert heart.stands(5) == Quality.QUESTIONABLE | Quality.OLD_DATA
        assert heart.stands(6) == Quality.GOOD
        await clock.advance(99.0)
        assert heart.stands(None) == Quality.GOOD, "a device without a heart is no dead one"

    asyncio.run(live())


@pytest.mark.slow
async def test_what_is_asked_of_a_device_that_is_away_has_failed(start_device: Any):
    async with served(start_device) as (node, relay, device):
        device.kill()
        relay.cut()
        state, _, words = await asked(node, "operate", {"operation": "stop"})
        assert state == "failed"
        assert "nobody knows" in words or "nothing was sent" in words
