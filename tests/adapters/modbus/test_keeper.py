"""Leases: the device itself ends them, whatever else is gone; refused writes are never repeated."""

import asyncio
import contextlib
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from adapter_node import DictStore, FakeNode
from modbus_bench import THING, Relay, binding, order, relaying

from gridspine.adapters.modbus import adapter
from gridspine.adapters.modbus.address import Endpoint
from gridspine.adapters.modbus.session import Session
from gridspine.adapters.modbus.sunspec import discover
from gridspine.adapters.modbus.view import View
from gridspine.infra.runtime.clock import SystemClock

SETTINGS = {"maxBackoffS": 0.5}


async def registers(port: int, model: int) -> View:
    """Return a model of the device at ``port``, read over a connection of the test's own."""
    session = Session(Endpoint("tcp", host="127.0.0.1", port=port), SystemClock())
    chain = await discover(lambda at, count: session.read(1, at, count))
    instance = chain.find(model)
    assert instance is not None
    words = await session.read(1, instance.address, min(125, instance.length + 2))
    await session.close()
    return View(chain, dict(enumerate(words, instance.address)), 0)


def states(node: FakeNode, command: str = "c1") -> list[str]:
    return [state for name, state, _ in node.progressed if name == command]


def reason(node: FakeNode) -> str:
    return node.progressed[-1][2]


def value(node: FakeNode, point: str) -> float | None:
    return next((s.value for s in reversed(node.stored) if s.point == f"{THING}/{point}"), None)


@contextlib.asynccontextmanager
async def served(
    start_device: Any, kind: str, *options: str, store: DictStore | None = None
) -> AsyncIterator[tuple[FakeNode, Relay, Any]]:
    """Run the adapter against a device behind a relay that counts its writes."""
    device = start_device(kind, *options)
    async with relaying({1: device.port}) as relay:
        node = FakeNode([binding(kind, relay.port)], settings=SETTINGS, store=store or DictStore())
        async with node.running(adapter()):
            await node.until(lambda: value(node, "activePower") is not None)
            yield node, relay, device


@pytest.mark.slow
@pytest.mark.parametrize("power_w", [1500.0, -2500.0])
@pytest.mark.parametrize("legacy", [(), ("--legacy",)], ids=["704", "124"])
async def test_a_set_point_is_held_confirmed_by_readings_and_ended_by_the_battery(
    start_device: Any, legacy: tuple[str, ...], power_w: float
):
    async with served(start_device, "battery", "--soc", "50", *legacy) as (node, relay, device):
        node.order(order(node.clock.now_us(), "activePowerSetpoint", power_w, 8))
        await node.until(lambda: value(node, "activePower") == power_w)
        assert states(node) == ["sent", "acknowledged"]
        assert value(node, "activePowerSetpoint") == power_w
        if not legacy:
            view = await registers(device.port, 704)
            assert view.raw(704, "WSet") == -power_w, "SunSpec counts generation as positive"
            assert view.raw(704, "WSetMod") == 1
            assert view.raw(704, "WSetEnaRvrt") == 0
        assert relay.writes <= 4
        writes = relay.writes
        await node.until(lambda: value(node, "activePower") == 0.0)
        assert value(node, "activePowerSetpoint") == 0.0
        await asyncio.sleep(2.5)
        assert relay.writes == writes, "the battery ended it: nothing was written"
        assert states(node) == ["sent", "acknowledged"]


@pytest.mark.parametrize("legacy", [(), ("--legacy",)], ids=["704", "123"])
async def test_a_limit_holds_generation_down_and_is_lifted_early(start_device: Any, legacy: tuple[str, ...]):
    async with served(start_device, "inverter", "--hour", "12", *legacy) as (node, relay, _):
        await node.until(lambda: (value(node, "activePower") or 0) < -2000)
        now_us = node.clock.now_us()
        node.order(order(now_us, "activePowerLimit", 1200.0, 60, fallback=6000.0))
        await node.until(lambda: value(node, "activePower") == -1200.0)
        assert value(node, "activePowerLimit") == 1200.0
        assert value(node, "operatingState") == 4
        node.order(order(now_us, "activePowerLimit", None, 60, fallback=6000.0, command="c2", sequence=2))
        await node.until(lambda: value(node, "activePowerLimit") == 6000.0)
        await node.until(lambda: (value(node, "activePower") or 0) < -2000)
        assert states(node) == ["sent", "acknowledged"]
        assert states(node, "c2") == ["sent", "acknowledged"]
        assert relay.writes <= 5


async def test_a_limit_rounds_down_and_one_beyond_the_rating_is_the_rating(start_device: Any):
    async with served(start_device, "inverter", "--hour", "12") as (node, _, device):
        node.order(order(node.clock.now_us(), "activePowerLimit", 1999.0, 60, fallback=6000.0))
        await node.until(lambda: "acknowledged" in states(node))
        assert (await registers(device.port, 704)).raw(704, "WMaxLimPct") == 333, (
            "33.3 %: 1998 W, never more than asked"
        )
        node.order(
            order(node.clock.now_us(), "activePowerLimit", 9000.0, 60, fallback=6000.0, sequence=2, command="c2")
        )
        await node.until(lambda: "acknowledged" in states(node, "c2"))
        assert (await registers(device.port, 704)).raw(704, "WMaxLimPct") == 1000


@pytest.mark.slow
async def test_a_fallback_that_is_a_value_is_what_the_device_falls_back_to(start_device: Any):
    async with served(start_device, "battery", "--soc", "50") as (node, relay, device):
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 2000.0, 8, fallback=-700.0))
        await node.until(lambda: value(node, "activePower") == 2000.0)
        writes = relay.writes
        await node.until(lambda: value(node, "activePower") == -700.0)
        await asyncio.sleep(2.5)
        assert relay.writes == writes
        assert (await registers(device.port, 704)).raw(704, "WSetEna") == 1


async def test_an_older_inverter_cannot_fall_back_to_a_value_and_is_not_asked_to(start_device: Any):
    async with served(start_device, "inverter", "--legacy", "--hour", "12") as (node, relay, _):
        node.order(order(node.clock.now_us(), "activePowerLimit", 1000.0, 60, fallback=3000.0))
        await node.until(lambda: states(node) == ["rejected"])
        assert "fall back" in reason(node)
        assert relay.writes == 0


@pytest.mark.parametrize("legacy", [(), ("--legacy",)], ids=["704", "124"])
async def test_a_device_without_reversion_timer_is_not_commanded(start_device: Any, legacy: tuple[str, ...]):
    async with served(start_device, "battery", "--fault", "no-timer", *legacy) as (node, relay, _):
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 1000.0, 60))
        await node.until(lambda: states(node) == ["rejected"])
        assert "reversion timer" in reason(node)
        assert relay.writes == 0


async def test_a_timer_that_does_not_run_is_found_and_the_set_point_taken_back(start_device: Any):
    async with served(start_device, "battery", "--fault", "dead-timer") as (node, _, device):
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 1000.0, 60))
        await node.until(lambda: states(node) == ["sent", "rejected"])
        assert "does not run" in reason(node)
        assert (await registers(device.port, 704)).raw(704, "WSetEna") == 0


async def test_a_dead_timer_that_does_not_show_is_ended_by_the_node(start_device: Any):
    async with served(start_device, "battery", "--fault", "dead-timer", "--legacy") as (node, _, device):
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 1000.0, 6))
        await node.until(lambda: value(node, "activePower") == 1000.0)
        await node.until(lambda: value(node, "activePower") == 0.0)
        assert (await registers(device.port, 124)).raw(124, "StorCtl_Mod") == 0


async def test_a_device_that_forgets_what_was_written_is_not_believed(start_device: Any):
    async with served(start_device, "battery", "--fault", "forgetful") as (node, relay, _):
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 1000.0, 60))
        await node.until(lambda: "rejected" in states(node))
        assert "acknowledged" not in states(node)
        writes = relay.writes
        await asyncio.sleep(1.0)
        assert relay.writes == writes


async def test_a_refused_write_is_never_sent_twice_not_even_after_a_restart(start_device: Any):
    store = DictStore()
    device = start_device("battery")
    async with relaying({1: device.port}) as relay:
        relay.refuse = {(1, 16): 4}
        issued = order(SystemClock().now_us(), "activePowerSetpoint", 1000.0, 60)
        for _ in range(2):
            node = FakeNode([binding("battery", relay.port)], settings=SETTINGS, store=store)
            node.order(issued)
            async with node.running(adapter()):
                await node.until(lambda node=node: "rejected" in states(node))
                assert "exception 4" in reason(node)
                relay.cut()
                count = len(node.stored)
                await node.until(lambda node=node, count=count: len(node.stored) > count + 10)
            assert relay.writes == 1


async def test_a_lower_sequence_is_ignored(start_device: Any):
    store = DictStore()
    async with served(start_device, "battery", "--soc", "50", store=store) as (node, relay, _):
        now_us = node.clock.now_us()
        node.order(order(now_us, "activePowerSetpoint", 2000.0, 60, sequence=7))
        await node.until(lambda: value(node, "activePower") == 2000.0)
        writes = relay.writes
        node.order(order(now_us, "activePowerSetpoint", -3000.0, 60, sequence=6, command="old"))
        await asyncio.sleep(1.0)
        assert value(node, "activePower") == 2000.0
        assert relay.writes == writes
        assert states(node, "old") == []


async def test_after_a_restart_a_lease_the_device_holds_is_not_written_again(start_device: Any):
    store = DictStore()
    device = start_device("battery", "--soc", "50")
    issued = order(SystemClock().now_us(), "activePowerSetpoint", 1000.0, 60)
    written: list[int] = []
    async with relaying({1: device.port}) as relay:
        for attempt in range(2):
            node = FakeNode([binding("battery", relay.port)], settings=SETTINGS, store=store)
            node.order(issued)
            async with node.running(adapter()):
                await node.until(lambda node=node: value(node, "activePower") == 1000.0)
                await asyncio.sleep(0.5)
            assert states(node) == (["sent", "acknowledged"] if attempt == 0 else [])
            written.append(relay.writes)
    assert written[0] == written[1] > 0


async def test_a_battery_that_lost_its_set_point_gets_it_again_when_it_is_back(start_device: Any):
    device = start_device("battery", "--soc", "50")
    node = FakeNode([binding("battery", device.port)], settings=SETTINGS)
    async with node.running(adapter()):
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 1000.0, 60))
        await node.until(lambda: value(node, "activePower") == 1000.0)
        device.kill()
        node.stored.clear()
        start_device("battery", "--soc", "50", "--port", str(device.port))
        await node.until(lambda: value(node, "activePower") == 1000.0)
    assert states(node) == ["sent", "acknowledged", "sent"]


async def test_a_newer_order_replaces_the_running_one_and_renewal_sets_the_timer_anew(start_device: Any):
    async with served(start_device, "battery", "--soc", "50") as (node, _, device):
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 1000.0, 30))
        await node.until(lambda: value(node, "activePower") == 1000.0)
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 1000.0, 300, sequence=2, command="c2"))
        await node.until(lambda: "acknowledged" in states(node, "c2"))
        async with asyncio.timeout(60):
            # The device counts a few times a second only.
            while not 290 <= ((await registers(device.port, 704)).raw(704, "WSetRvrtRem") or 0) <= 300:
                await asyncio.sleep(0.1)
        node.order(order(node.clock.now_us(), "activePowerSetpoint", -1000.0, 300, sequence=3, command="c3"))
        await node.until(lambda: value(node, "activePower") == -1000.0)


async def test_an_order_for_a_device_that_is_away_waits_and_fails_at_its_end(start_device: Any):
    device = start_device("battery", "--soc", "50")
    node = FakeNode([binding("battery", device.port)], settings=SETTINGS)
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
        device.kill()
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 500.0, 4.0))
        await node.until(lambda: states(node) == ["failed"])
        assert "away" in reason(node)
        node.order(order(node.clock.now_us(), "activePowerSetpoint", 500.0, 60, sequence=2, command="c2"))
        await asyncio.sleep(0.5)
        assert states(node, "c2") == []
        start_device("battery", "--soc", "50", "--port", str(device.port))
        await node.until(lambda: states(node, "c2") == ["sent", "acknowledged"])


async def test_a_write_that_got_no_answer_is_looked_at_before_it_is_written_again(start_device: Any):
    device = start_device("battery", "--soc", "50")
    async with relaying({1: device.port}) as relay:
        node = FakeNode([binding("battery", relay.port, timeoutS=0.3)], settings=SETTINGS)
        async with node.running(adapter()):
            await node.until(lambda: node.stored)
            relay.mute = True
            node.order(order(node.clock.now_us(), "activePowerSetpoint", 500.0, 60))
            await asyncio.sleep(1.0)
            relay.mute = False
            await node.until(lambda: value(node, "activePower") == 500.0)
            assert states(node)[-1] == "acknowledged"


class ShiftedClock(SystemClock):
    """The system's clock, put forward by hand."""

    ahead_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + round(self.ahead_s * 1e6)

    def monotonic_us(self) -> int:
        return super().monotonic_us() + round(self.ahead_s * 1e6)


async def test_a_lease_longer_than_the_device_s_timer_is_renewed_half_way(start_device: Any):
    clock = ShiftedClock()
    device = start_device("inverter", "--legacy", "--hour", "12")
    async with relaying({1: device.port}) as relay:
        node = FakeNode([binding("inverter", relay.port)], settings=SETTINGS, clock=clock)
        async with node.running(adapter()):
            node.order(order(clock.now_us(), "activePowerLimit", 1200.0, 86_400, fallback=6000.0))
            await node.until(lambda: value(node, "activePower") == -1200.0)
            assert (await registers(device.port, 123)).raw(123, "WMaxLimPct_RvrtTms") == 65_534
            writes = relay.writes
            clock.ahead_s = 30_000
            await asyncio.sleep(1.0)
            assert relay.writes == writes, "not yet half-way"
            clock.ahead_s = 33_000
            await node.until(lambda: relay.writes > writes)
            left_s = (await registers(device.port, 123)).raw(123, "WMaxLimPct_RvrtTms")
            assert left_s is not None
            assert 53_300 <= left_s <= 53_400
    assert "rejected" not in states(node)


@pytest.mark.parametrize("point", ["stateOfCharge", "kettle"])
async def test_what_cannot_be_commanded_is_rejected(start_device: Any, point: str):
    async with served(start_device, "battery") as (node, relay, _):
        node.order(order(node.clock.now_us(), point, 1.0, 60))
        await node.until(lambda: states(node) == ["rejected"])
        assert relay.writes == 0


async def test_the_battery_falls_back_by_itself_when_the_adapter_is_killed(start_device: Any, tmp_path: Path):
    device = start_device("battery", "--soc", "50")
    script = tmp_path / "node.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio, sys
            for folder in {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}:
                sys.path.insert(0, folder)
            from bench import binding, order
            from node import FakeNode
            from gridspine.adapters.modbus import adapter

            async def main():
                node = FakeNode([binding("battery", {device.port})])
                async with node.running(adapter()):
                    await node.until(lambda: node.stored)
                    node.order(order(node.clock.now_us(), "activePowerSetpoint", 3000.0, 8))
                    await node.until(lambda: any(state == "acknowledged" for _, state, _ in node.progressed))
                    print("acknowledged", flush=True)
                    await asyncio.sleep(60)

            asyncio.run(main())
            """
        )
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "acknowledged\n"
        process.kill()
    assert (await registers(device.port, 704)).raw(704, "WSetEna") == 1
    async with asyncio.timeout(60):
        while (await registers(device.port, 704)).raw(704, "WSetEna") != 0:
            await asyncio.sleep(0.2)
        while (await registers(device.port, 701)).raw(701, "W") != 0:
            await asyncio.sleep(0.2)
