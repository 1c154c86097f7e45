"""A wall clock that is set by an hour, either way: no false silence, leases that end when they would have, no reading
refused once the clock is right again."""

import asyncio
import contextlib
import time

import pytest
from running_node import BATTERY, SENML, AheadClock, World, settings_for, until

from gridspine.apps.node.run import start
from gridspine.infra.runtime.clock import Steps, VirtualClock
from gridspine.things.model import parse_model

HOUR_S = 3600.0
PROBE = {
    "@type": "tm:ThingModel",
    "id": "https://example.org/models/probe",
    "title": "Probe",
    "properties": {"watched": {"gs:readingType": {"unit": "W"}, "gs:screen": {"maxSilenceS": 60.0}}},
}


class SetClock(AheadClock):
    """A clock that is put forward or back by hand, too."""

    step_s = 0.0

    def now_us(self):
        return super().now_us() + round(self.step_s * 1_000_000)


@pytest.fixture
async def clocked(tmp_path):
    clock = SetClock()
    world = World(await start(settings_for(), tmp_path / "data", clock), tmp_path / "data")
    world.node.points.add_model(parse_model(PROBE))
    await world.thing("urn:example:probe", PROBE["id"])
    await world.thing("urn:example:battery", BATTERY)
    yield world, clock
    await world.stop()


async def send(world, value, *, ahead_s=0.0):
    body = [{"n": "urn:example:probe/watched", "v": value, "t": time.time() + ahead_s}]
    return (await world.op.post("/readings", json=body, headers=SENML)).json()


async def sweeps(world, count=3):
    for _ in range(count):
        looked = world.node.steps._looked_us
        await until(lambda looked=looked: world.node.steps._looked_us != looked)


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
async def test_silence_counts_the_time_that_passed(clocked, step_s, tally):
    world, clock = clocked
    assert (await send(world, 1))["accepted"] == 1
    clock.step_s = step_s
    await sweeps(world)
    alarms = (await world.op.get("/alarms")).json()
    assert [alarm["kind"] for alarm in alarms if alarm["kind"] == "silence"] == []
    clock.ahead_s = 60.0
    await until(lambda: world.node.alarms.table.alarms(active=True))  # and it is found when it is true
    assert [alarm["kind"] for alarm in (await world.op.get("/alarms")).json()] == ["silence"]
    tally("clock set by an hour", "silence", 1)


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
async def test_a_lease_lasts_as_long_as_it_was_given_for(clocked, step_s, tally):
    world, clock = clocked
    wanted = {"thing": "urn:example:battery", "point": "activePowerSetpoint", "value": 100, "durationS": 60}
    command = (await world.op.post("/commands", json=wanted)).json()["id"]
    later = {**wanted, "from": "2090-01-01T00:00:00Z"}
    await world.op.post("/commands", json=later)
    clock.step_s = step_s
    await sweeps(world)
    shown = (await world.op.get(f"/commands/{command}")).json()
    assert shown["state"] in {"accepted", "sent"}
    (order,) = world.node.commands.commander.in_force(clock.now_us())
    assert 0 < order.until_us - clock.now_us() <= 60_000_000
    clock.ahead_s = 60.0
    await until(lambda: world.node.commands.commander.command(command).final)
    tally("clock set by an hour", "leases", 1)


async def test_readings_are_taken_again_when_the_clock_is_right_again(clocked, tally):
    """An hour slow, the node takes true times for the future; put right, it takes them, and nothing is in the way."""
    world, clock = clocked
    clock.step_s = -HOUR_S
    assert (await send(world, 1))["refused"] == 1
    clock.step_s = 0.0
    assert (await send(world, 2))["accepted"] == 1
    clock.step_s = HOUR_S
    assert (await send(world, 3))["accepted"] == 1
    clock.step_s = 0.0
    assert (await send(world, 4))["accepted"] == 1
    shown = (await world.op.get("/things/urn:example:probe/properties/watched")).json()
    assert shown["value"] == 4
    assert (await world.op.get("/status")).status_code == 200
    tally("clock set by an hour", "readings", 1)


def test_steps_are_told_once_and_drift_is_none():
    clock = VirtualClock()
    steps = Steps(clock)
    assert steps.take() == (0, 0)
    clock.step_wall(3600)
    assert steps.take()[0] == 3_600_000_000
    assert steps.take()[0] == 0
    clock.step_wall(0.4)
    assert steps.take()[0] == 0
    clock.step_wall(-3600)
    assert steps.take()[0] == -3_600_000_000


async def test_what_is_held_is_released_all_the_same(tmp_path):
    clock = SetClock()
    world = World(await start(settings_for(), tmp_path / "data", clock), tmp_path / "data")
    try:
        model = {**PROBE, "properties": {"slow": {"gs:readingType": {"unit": "W"}, "gs:screen": {"minIntervalS": 2.0}}}}
        world.node.points.add_model(parse_model(model))
        await world.thing("urn:example:probe", PROBE["id"])
        for value in (1, 2):
            body = [{"n": "urn:example:probe/slow", "v": value, "t": time.time() - HOUR_S}]
            await world.op.post("/readings", json=body, headers=SENML)
        clock.step_s = -HOUR_S
        async with asyncio.timeout(60):  # it is not held for an hour
            while (await world.op.get("/things/urn:example:probe/properties/slow")).json()["value"] != 2:
                await asyncio.sleep(0.1)
    finally:
        await world.stop()


def put_back_in(append, clock):
    """Return ``append`` that finds the clock put back by an hour once it has kept an order."""

    def appended(records):
        positions = append(records)
        if any(record.topic == "commands" and b'"order"' in record.body for record in records):
            clock.step_s = -HOUR_S
        return positions

    return appended


async def test_an_order_made_before_the_clock_was_put_back_is_not_sent_as_it_was(clocked, monkeypatch, tally):
    """Else a device would hold it an hour longer, should the node die before it has said better."""
    world, clock = clocked
    await world.thing("urn:example:told", BATTERY, adapter="none")
    wanted = {"thing": "urn:example:told", "point": "activePowerSetpoint", "value": 100, "durationS": 60}
    async with contextlib.aclosing(world.node.commands.orders("none")) as orders:
        told = asyncio.ensure_future(anext(orders))
        await asyncio.sleep(0)  # it follows
        monkeypatch.setattr(world.node.log, "append", put_back_in(world.node.log.append, clock))
        assert (await world.op.post("/commands", json=wanted)).status_code == 201
        order = await asyncio.wait_for(told, 30)
        assert clock.step_s == -HOUR_S
        assert 0 < order.until_us - clock.now_us() <= 60_000_000
    tally("clock set by an hour", "leases", 1)


async def test_a_clock_put_back_while_no_node_ran_lets_no_lease_outlast_its_time(tmp_path, tally):
    clock, data = SetClock(), tmp_path / "data"
    world = World(await start(settings_for(), data, clock), data)
    try:
        await world.thing("urn:example:told", BATTERY, adapter="none")
        wanted = {"thing": "urn:example:told", "point": "activePowerSetpoint", "value": 100, "durationS": 60}
        command = (await world.op.post("/commands", json=wanted)).json()["id"]
        to_come = {**wanted, "from": "2090-01-01T00:00:00Z"}
        later = (await world.op.post("/commands", json=to_come)).json()["id"]
        before = world.node.commands.commander.command(later).lease
    finally:
        await world.stop()
    clock.step_s = -HOUR_S
    world = World(await start(settings_for(), data, clock), data)
    try:
        async with contextlib.aclosing(world.node.commands.orders("none")) as orders:
            order = await anext(orders)  # an adapter that starts is not told of the old end, not even for a moment
        assert (order.command, order.value) == (command, 100)
        assert 0 < order.until_us - clock.now_us() <= 60_000_000
        assert world.node.commands.commander.command(later).lease == before, "what is to come keeps its time"
    finally:
        await world.stop()
    tally("clock set by an hour", "leases", 1)


async def test_readings_tell_until_when_the_clock_had_not_been_put_back(tmp_path, tally):
    """What a lease has left is counted from the last reading, not from the command's own last change."""
    clock, data = SetClock(), tmp_path / "data"
    world = World(await start(settings_for(), data, clock), data)
    try:
        await world.thing("urn:example:m1")
        await world.thing("urn:example:told", BATTERY, adapter="none")
        wanted = {"thing": "urn:example:told", "point": "activePowerSetpoint", "value": 100, "durationS": 600}
        lease = world.node.commands.commander.command(
            (await world.op.post("/commands", json=wanted)).json()["id"]
        ).lease
        clock.ahead_s = 400.0
        await world.send("urn:example:m1/activePower", [1], begin_s=time.time() + 390)
    finally:
        await world.stop()
    clock.ahead_s, clock.step_s = 0.0, -HOUR_S
    world = World(await start(settings_for(), data, clock), data)
    try:
        async with contextlib.aclosing(world.node.commands.orders("none")) as orders:
            order = await anext(orders)
        assert order.command == lease.command
        assert 0 < order.until_us - clock.now_us() <= 200_000_000
    finally:
        await world.stop()
    tally("clock set by an hour", "leases", 1)
