"""A fleet outside of a real node: Things registered once, readings on their channel, orders told and ended."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_node import World

from gridspine.apps.cli import main
from gridspine.apps.cli.connect import check
from gridspine.apps.emulate.run import Run
from gridspine.apps.emulate.sheet import Sheets
from gridspine.energy.emulators.failure import Failing, Kind, Plan
from gridspine.energy.emulators.fleet import Fleet
from gridspine.energy.emulators.mix import Mix
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.codecs.arrow import decode_arrow
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US

PREFIX = "urn:example:test:"
MIX = Mix(meter=6, pv=3, battery=2, ev_charger=2, heat_pump=2)
SETPOINT = f"{PREFIX}battery-000001", "activePowerSetpoint"


def runs(world: World, channel: Any = "emulated", ago_s: float = 3_600.0, mix: Mix = MIX) -> tuple[Fleet, Run]:
    clock = SystemClock()
    fleet = Fleet(mix, 5, clock.now_us() - round(ago_s * US))
    return fleet, Run(fleet, world.op, check, clock, prefix=PREFIX, channel=channel)


async def one(world: World, thing: str, point: str) -> dict[str, Any]:
    channels = check(await world.op.get(f"/things/{thing}/channels")).json()
    return next(view for view in channels if view["name"] == point)


async def orders(world: World, count: int) -> list[dict[str, Any]]:
    """Wait until so many orders are in force with a value; return all."""
    while True:
        found: list[dict[str, Any]] = check(await world.op.get("/emulated/orders")).json()["orders"]
        if sum(order["value"] is not None for order in found) == count:
            return found
        await asyncio.sleep(0.02)


async def test_a_fleet_is_registered_once_and_its_readings_are_emulated(world: World) -> None:
    fleet, run = runs(world)
    assert await run.prepare() == fleet.layout.devices == 15
    total = await run.run(60.0, 5)
    assert total.steps == 5 and total.emulated_us == 300 * US
    assert total.outcome["received"] == 5 * fleet.layout.size and total.outcome["refused"] == 0, total.problem
    assert total.outcome["accepted"] > 0
    view = await one(world, f"{PREFIX}meter-000000", "activePower")
    assert view["emulated"] is not None and view["reported"] is None


async def test_a_fleet_that_is_known_goes_on(world: World) -> None:
    _, run = runs(world, "reported")
    assert await run.prepare() == 15
    fleet, again = runs(world, "reported", 600.0)
    assert await again.prepare() == 0
    assert (await again.run(60.0, 2)).outcome["refused"] == 0
    assert (await one(world, f"{PREFIX}pv-000000", "activePower"))["reported"] is not None
    assert fleet.layout.size == again.total.outcome["received"] // 2


async def test_orders_reach_the_fleet_and_end_with_their_lease(world: World) -> None:
    fleet, run = runs(world)
    await run.prepare()
    thing, point = SETPOINT
    answer = await world.op.post("/commands", json={"thing": thing, "point": point, "value": 1500, "durationS": 600})
    assert answer.status_code == 201, answer.text
    found = await orders(world, 1)
    assert [(order["thing"], order["point"], order["value"]) for order in found] == [(thing, point, 1500)]
    place = fleet.layout.place(PREFIX, thing, point)
    assert place is not None
    run.instruct(found)
    run.instruct(found)
    assert run.total.orders == 1
    assert fleet.step(60.0)[place] == 1500.0
    check(await world.op.post(f"/commands/{answer.json()['id']}/cancel"))
    run.instruct(await orders(world, 0))
    assert fleet.step(60.0)[place] == 0.0


async def test_orders_are_looked_for_while_it_runs(world: World) -> None:
    _, run = runs(world)
    await run.prepare()
    thing, point = SETPOINT
    wanted = {"thing": thing, "point": point, "value": -1000, "durationS": 600}
    check(await world.op.post("/commands", json=wanted))
    task = asyncio.create_task(run.run(1.0, 3_000))
    while not run.total.orders and not task.done():
        await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert run.total.orders == 1


async def test_orders_come_by_pages_and_to_their_owner_only(world: World) -> None:
    _, run = runs(world, mix=Mix(battery=5))
    await run.prepare()
    for number in range(5):
        wanted = {"thing": f"{PREFIX}battery-{number:06}", "point": SETPOINT[1], "value": 1000, "durationS": 60}
        check(await world.op.post("/commands", json=wanted))
    await orders(world, 5)
    found, after = [], ""
    while True:
        page = check(await world.op.get("/emulated/orders", params={"after": after, "limit": 2})).json()
        found += [order["thing"][-1] for order in page["orders"]]
        assert len(page["orders"]) <= 2
        if not (after := page["next"]):
            break
    assert found == list("01234")
    assert (await world.co.get("/emulated/orders")).json() == {"orders": [], "next": ""}
    assert (await world.nobody.get("/emulated/orders")).status_code == 401


async def test_what_the_node_does_not_take_is_said(world: World) -> None:
    fleet = Fleet(Mix(meter=1), 5, SystemClock().now_us() - 60 * US)
    run = Run(fleet, world.op, check, SystemClock(), prefix="no urn ")
    with pytest.raises(Invalid):
        await run.prepare()


async def test_the_future_is_waited_for(world: World) -> None:
    fleet, run = runs(world, ago_s=0.0, mix=Mix(meter=1))
    await run.prepare()
    total = await run.run(0.2, 3)
    assert fleet.now_us <= SystemClock().now_us()
    assert total.outcome["refused"] == 0


def test_sheets_say_every_point_once() -> None:
    names = [f"urn:x:{number}/p" for number in range(7)]
    values = np.arange(7) / 3.0
    read = [decode_arrow(body, max_items=10) for body in Sheets(names, 3).bodies(values, 12 * US)]
    assert [len(one) for one in read] == [3, 3, 1]
    told = {one.names[place]: value for one in read for place, value in zip(one.name_index, one.value, strict=True)}
    assert told == dict(zip(names, values, strict=True))
    assert {time for one in read for time in one.observed_us.tolist()} == {12 * US}


def test_sheets_leave_out_what_is_not_present() -> None:
    names = [f"urn:x:{number}/p" for number in range(5)]
    present = np.array([True, False, True, True, True])
    first, second = (
        decode_arrow(body, max_items=10) for body in Sheets(names, 3).bodies(np.arange(5.0), 12 * US, present)
    )
    assert [first.names[place] for place in first.name_index] == ["urn:x:0/p", "urn:x:2/p"]
    assert first.value.tolist() == [0.0, 2.0] and second.value.tolist() == [3.0, 4.0]


async def test_failures_are_sent_and_the_node_refuses_what_cannot_be(world: World) -> None:
    clock = SystemClock()
    start_us = clock.now_us() - 600 * US
    fleet = Fleet(Mix(meter=4), 5, start_us)
    failures = [
        Failing(Plan(kind, np.array([place], np.int32), np.array([start_us]), np.array([1 << 62]), np.array([size])))
        for kind, place, size in ((Kind.SPOOF, 1, -1.0), (Kind.DROP_OUT, 5, 0.0))
    ]
    run = Run(fleet, world.op, check, clock, prefix=PREFIX, channel="reported", failures=failures)
    await run.prepare()
    outcome = (await run.run(60.0, 4)).outcome
    assert outcome["received"] == 4 * (fleet.layout.size - 1)
    assert outcome["refused"] == 4 and "voltage" in run.total.problem


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--devices", "0"), "--devices"),
        (("--step", "0"), "--step"),
        (("--failing", "2"), "--failing"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    words: tuple[str, ...], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["gridspine", "emulate", *words, "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("gridspine: ") and complaint in said


def test_what_devices_have_become_is_kept_in_a_file_and_only_their_own_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Here no node answers: what they are is kept all the same, and they go on from there."""
    kept = tmp_path / "fleet.npz"

    def run(*words: str) -> str:
        words = ("--devices", "10", "--state", str(kept), *words)
        monkeypatch.setattr(sys, "argv", ["gridspine", "emulate", *words, "--data", str(tmp_path)])
        with pytest.raises(SystemExit):
            main.run()
        said: str = capsys.readouterr().err
        return said

    assert "--state" not in run("--hours", "2")
    first = Fleet(Mix.of(10), 1, 0)
    first.go_on(kept.read_bytes())
    first.step(60.0)
    kept.write_bytes(first.keep())
    assert "--state" not in run("--hours", "0")
    again = Fleet(Mix.of(10), 1, 0)
    again.go_on(kept.read_bytes())
    assert again.now_us == first.now_us
    assert np.array_equal(again.step(60.0), first.step(60.0), equal_nan=True)
    for words in (("--seed", "2"), ("--devices", "11")):
        assert "of other --devices or another --seed" in run(*words)
