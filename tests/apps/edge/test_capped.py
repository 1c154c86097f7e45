"""Edges beneath a cap on power moved in a minute; rules where nobody may command; all-stop before all else."""

from datetime import UTC, datetime

import pytest
from running_node import running, settings_for, until

from gridspine.apps.edge.wire import Deliver, Rules, Stop
from gridspine.infra.runtime.settings import Commands

BATTERY_ID = "urn:example:battery"
SETPOINT = f"{BATTERY_ID}/activePowerSetpoint"
STEADY = f"def control(inputs, state, now_s):\n    return {{'setpoints': {{'{SETPOINT}': 250}}}}\n"


@pytest.fixture
def cap_w():
    return 0.0


@pytest.fixture
async def world(tmp_path, cap_w):
    async with running(tmp_path / "data", settings_for(commands=Commands(max_w_per_minute=cap_w))) as made:
        yield made


async def publish(beside, **more):
    rule = {"name": "steady", "text": STEADY, "outputs": [SETPOINT], "everyS": 1, "leaseS": 2} | more
    return await beside.world.op.post(f"/edges/{beside.id}/rules", json=rule)


def running_rules(edge):
    return [one.rule.name for one in edge.rules._rules.values()]


@pytest.mark.parametrize("cap_w", [4_000.0])
async def test_starts_at_one_moment_are_not_handed_to_edges_beyond_the_cap(beside, world):
    ids = [f"{BATTERY_ID}-{at}" for at in range(4)]
    for id_ in ids:
        await beside.thing(id_)
    edge = await beside.start()
    start = datetime.fromtimestamp(beside.clock.now_us() // 1_000_000 + 3600, UTC).isoformat()
    answer = await world.op.post("/commands/batch", json=[
        {"thing": id_, "point": "activePowerSetpoint", "value": 1_000, "from": start, "durationS": 600} for id_ in ids
    ])  # fmt: skip
    assert answer.json()["accepted"] == 4, answer.text
    told = world.node.edges.state(beside.id)
    await until(lambda: len(edge.book.commander.commands()) == 2 and len(told.sent) == 4 and not told.behind)
    carried = [id_ for ids in told.carried.values() for id_ in ids]
    assert len(carried) == 2, "half of the cap may begin by itself; the others wait for their turn at the node"


@pytest.mark.parametrize("cap_w", [400_000.0])
async def test_the_worst_minute_of_a_rule_is_set_aside_and_what_has_no_room_is_refused(beside, world):
    await beside.thing()
    edge, rules = await beside.start(), world.node.edges.rules
    refused = await publish(beside)
    assert refused.status_code == 409, refused.text
    assert "a quarter of the cap" in refused.json()["detail"]
    assert (await publish(beside, everyS=60, leaseS=60)).status_code == 201
    await until(lambda: beside.wire.value == 250)
    budget = world.node.commands.commander._ordering.budget
    assert 0 < budget.aside_w <= budget.cap_w / 4
    assert (await publish(beside)).status_code == 409, "the next version neither"
    rules.beneath(budget.aside_w, world.node.commands.most_w, world.node.commands.commander.set_aside)
    rules.load()  # as at a start with a lower cap
    assert rules.signed(beside.id, {BATTERY_ID}) == (), "what has no room any more is not handed out"
    await world.op.delete(f"/edges/{beside.id}/rules/steady")
    assert budget.aside_w == 0
    await until(lambda: not running_rules(edge))


@pytest.mark.parametrize(
    ("path", "opened"),
    [(f"/things/{BATTERY_ID}/local", f"/things/{BATTERY_ID}/remote"), ("/all-stop", "/all-stop?release=true")],
)
async def test_no_rule_commands_where_nobody_may(beside, world, path, opened):
    await beside.thing()
    edge = await beside.start()
    assert (await publish(beside)).status_code == 201
    await until(lambda: beside.wire.value == 250)
    closed = await world.op.post(path, json={"reason": "somebody stands beside it"})
    assert closed.status_code == 200, closed.text
    await until(lambda: not running_rules(edge) and beside.wire.value is None)
    assert (await world.op.post(opened, json={"reason": "over"})).status_code == 200
    await until(lambda: beside.wire.value == 250)
    assert edge.rules.reports()[0].state == "running", "it was not taken for a bad one"


async def test_an_emulated_thing_is_left_alone_by_the_rule_of_its_edge(beside, world):
    await beside.thing()
    edge = await beside.start()
    await publish(beside)
    await until(lambda: beside.wire.value == 250)
    answer = await world.op.post(f"/things/{BATTERY_ID}/form", json={"form": "emulator", "reason": "a trial"})
    assert answer.status_code == 200, answer.text
    await until(lambda: not running_rules(edge) and beside.wire.value is None)


async def test_all_stop_is_said_to_a_returning_edge_before_leases_and_rules(beside, world):
    await beside.thing()
    await beside.start()
    await beside.becomes(await beside.command(1000), "acknowledged")
    await publish(beside)
    await beside.edge.stop()
    await world.op.post("/all-stop", json={"reason": "fire"})
    edge, heard = beside.make(), []

    async def hear(message, own=edge._hear):
        heard.append((type(message), edge.book.commander.stopped is not None))
        await own(message)

    edge.link._hear, beside.edge = hear, edge
    await edge.start()
    await until(lambda: any(kind is Deliver for kind, _ in heard))
    kinds = [kind for kind, _ in heard]
    assert kinds.index(Stop) < kinds.index(Deliver)
    assert all(stopped for kind, stopped in heard if kind in {Deliver, Rules}), "it held when the next was heard"
