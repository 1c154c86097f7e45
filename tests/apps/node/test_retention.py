"""Control topics are trimmed behind checkpoints, and a start knows all the same; the data keeps to its budget."""

import asyncio

import msgspec
import numpy as np
import pytest
from running_node import BATTERY, BEGIN_S, SENML, running, settings_for, until

from gridspine.infra.runtime.settings import Log, Retention
from gridspine.kernel.errors import Corrupt
from gridspine.kernel.readings import NamedReadings
from gridspine.things.adapter import Source
from gridspine.things.command import CommandChanged, encode_event
from gridspine.things.lease import Authority
from gridspine.things.offence import OffenceRule

CONTROL = ("commands", "alarms", "events")
AT_ONCE = 1e-9
"""Days: everything is too old."""


async def fill(world):
    """Commands ended and in force, an alarm that lasts, a quarantined source; return a command in force."""
    await world.thing("urn:example:b1", BATTERY)
    await world.thing()
    wanted = {"thing": "urn:example:b1", "point": "activePowerSetpoint", "value": 1500, "durationS": 600}
    for _ in range(5):
        answer = await world.op.post("/commands", json=wanted)
        assert answer.status_code == 201, answer.text
        await world.op.post(f"/commands/{answer.json()['id']}/cancel")
    command = (await world.op.post("/commands", json=wanted)).json()["id"]
    await world.send("urn:example:m1/voltage", [230, 300])
    world.node.offences._rule = OffenceRule(limit=3)
    bad_id, bad = world.client("northside-networks", "operator")
    refused = [{"n": "urn:example:nowhere/x", "v": 1, "t": BEGIN_S}] * 5
    await bad.post("/readings", json=refused, headers=SENML)
    assert bad_id in world.node.offences.quarantined_principals()
    await until(lambda: world.node.log.bounds("alarms")[0][1])  # an alarm is told without anybody waiting for it
    return command, bad_id


async def knows(world, command, bad_id):
    shown = (await world.op.get(f"/commands/{command}")).json()
    assert shown["state"] in {"accepted", "sent"}
    assert [alarm["kind"] for alarm in (await world.op.get("/alarms")).json()] == ["high"]
    assert bad_id in world.node.offences.quarantined_principals()


def firsts(node):
    return {topic: node.log.bounds(topic)[0][0] for topic in CONTROL}


async def test_a_start_reads_the_tail_only_and_knows_everything(tmp_path):
    settings = settings_for(retention=Retention(control_days=AT_ONCE))
    async with running(tmp_path / "data", settings) as world:
        command, bad_id = await fill(world)
        await world.node._save_checkpoints()
        await world.thing("urn:example:m2")
        await world.op.post(f"/commands/{command}/cancel")
        again = {"thing": "urn:example:b1", "point": "activePowerSetpoint", "value": 1500, "durationS": 600}
        command = (await world.op.post("/commands", json=again)).json()["id"]
        seen = {"point": "urn:example:m1/voltage", "kind": "high"}
        assert (await world.op.post("/alarms/acknowledge", json=seen)).status_code == 200
        await world.node._save_checkpoints()
        await until(lambda: world.node.checkpoints["events"].floor > 0, 60)
        following = world.node.log.bounds("commands")[0][1]
        await until(lambda: world.node.log.committed("receipts", "commands").get(0, 0) == following)
        await asyncio.to_thread(world.node.retention.look)
        assert all(firsts(world.node).values()), firsts(world.node)
        orders = world.node.commands.commander.in_force(world.node.clock.now_us())
    for _ in range(2):
        async with running(tmp_path / "data", settings) as world:
            await knows(world, command, bad_id)
            assert world.node.commands.commander.in_force(world.node.clock.now_us()) == orders
            await asyncio.to_thread(world.node.retention.look)
            assert all(firsts(world.node).values())


async def test_nothing_is_trimmed_that_a_start_still_reads(tmp_path):
    """However old: not before two checkpoints stand behind it, and its receipts are in the ledger."""
    async with running(tmp_path / "data", settings_for(retention=Retention(control_days=AT_ONCE))) as world:
        await fill(world)
        await asyncio.to_thread(world.node.retention.look)
        assert not any(firsts(world.node).values())
        await world.node._save_checkpoints()
        await asyncio.to_thread(world.node.retention.look)
        assert not any(firsts(world.node).values())
        ledger = world.node.log.bounds("ledger")[0]
        assert ledger[0] == 0 < ledger[1]


async def test_lost_checkpoints_of_a_trimmed_topic_are_no_empty_state(tmp_path):
    settings = settings_for(retention=Retention(control_days=AT_ONCE))
    async with running(tmp_path / "data", settings) as world:
        await fill(world)
        world.node.log.trim("commands", 0, 3)
    for path in (tmp_path / "data" / "checkpoints").glob("commands-*"):
        path.write_bytes(b"damaged")
    with pytest.raises(Corrupt, match="restore a backup"):
        async with running(tmp_path / "data", settings):
            pass


async def test_a_change_whose_caller_went_away_is_taken_up(world):
    """It is durable though nobody was told: what comes next knows it, and the order goes out once."""
    await world.thing("urn:example:b1", BATTERY)
    commands = world.node.commands
    lease = commands.new_lease(
        thing="urn:example:b1", point="activePowerSetpoint", value=5.0, role="setpoint",
        authority=Authority.OWNER, principal=world.op_id,
        from_us=world.node.clock.now_us(), until_us=world.node.clock.now_us() + 60_000_000,
    )  # fmt: skip
    world.node.log._lock.acquire()  # the disk stands still
    asking = asyncio.ensure_future(commands.request(lease, ""))
    try:
        await until(lambda: commands._turns.lock.locked())
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    finally:
        world.node.log._lock.release()
    await until(lambda: lease.command in commands.commander._table.commands)
    await until(lambda: commands.commander.in_force(world.node.clock.now_us()))
    bodies = [record.body for record in world.node.log.read("commands", 0, 0)]
    changed = CommandChanged(commands.commander.command(lease.command))
    assert sum(lease.command.encode() in body for body in bodies) >= 2  # the command and its order
    assert bodies.count(encode_event(changed)) == 1


async def test_over_the_budget_readings_are_refused_and_control_goes_on(tmp_path):
    settings = settings_for(retention=Retention(disk_budget_bytes=3_000_000), log=Log(reserve_bytes=1 << 16))
    async with running(tmp_path / "data", settings) as world:
        node = world.node
        thing = await world.thing("urn:example:b1", BATTERY)
        meter = await world.thing()
        await world.send(f"{meter}/activeEnergyImport", range(10))
        (node.paths.root / "something").write_bytes(b"x" * 3_000_000)
        await asyncio.to_thread(node.retention.look)
        body = [{"n": f"{meter}/activeEnergyImport", "v": 11, "t": BEGIN_S + 11}]
        answer = await world.op.post("/readings", json=body, headers=SENML)
        assert answer.status_code == 507, answer.text
        assert "retention.disk_budget_bytes" in answer.json()["detail"]
        assert any("disk_budget_bytes" in wrong for wrong in (await world.op.get("/status")).json()["wrong"])
        assert (await world.nobody.get("/ready")).status_code == 503
        wanted = {"thing": thing, "point": "activePowerSetpoint", "value": 100, "durationS": 60}
        assert (await world.op.post("/commands", json=wanted)).status_code == 201
        (node.paths.root / "something").unlink()
        await asyncio.to_thread(node.retention.look)
        assert (await world.op.post("/readings", json=body, headers=SENML)).json()["accepted"] == 1


async def test_over_the_budget_what_the_archive_has_leaves_the_log_first(tmp_path):
    """Whole sealed segments go; readings are taken all the while, and history stays whole."""
    log = Log(reserve_bytes=1 << 16, segment_bytes=1 << 18)
    async with running(tmp_path / "data", settings_for(archive=True, log=log)) as world:
        node, meter = world.node, await world.thing()
        point = f"{meter}/activeEnergyImport"
        source = Source(world.op_id, "northside-networks", "x")
        for at in range(60):
            await _random_batch(node, point, source, at)
        following = node.log.bounds("readings")[0][1]
        published = node.retention._root / "archive" / "published.json"
        await until(lambda: published.exists() and f":{following}" in published.read_text().replace(" ", ""), 60)
        node._save_twins()
        await asyncio.to_thread(node.retention.look)
        before = node.retention.used_bytes
        kept = msgspec.structs.replace(node.settings.retention, disk_budget_bytes=before - 100_000)
        node.retention._settings = msgspec.structs.replace(node.settings, retention=kept)
        await asyncio.to_thread(node.retention.look)
        assert node.log.bounds("readings")[0] == (following, following)
        assert node.retention.used_bytes <= before - 100_000
        assert not node.room.full
        answer = await world.op.post("/query", json={"sql": "select count(*) from readings"})
        assert answer.json()["rows"] == [[60 * 2000]]


async def _random_batch(node, point, source, at):
    count = 2000
    observed = (int(BEGIN_S) + at * count + np.arange(count)) * 1_000_000
    readings = NamedReadings(
        [point], ["Wh"], np.zeros(count, np.int32), np.arange(count), observed,
        at * count * 1000.0 + np.cumsum(np.random.default_rng(at).random(count) * 1000), np.zeros(count, np.uint16),
    )  # fmt: skip
    outcome = await node.intake.submit(readings, source)
    assert outcome.accepted == count, outcome
