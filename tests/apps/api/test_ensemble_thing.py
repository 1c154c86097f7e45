"""A saved ensemble as a Thing: described, read, observed, found, commanded; what its members are told, and do."""

import time

import msgspec
import pytest
import pytest_asyncio
from running_node import BATTERY, SENML, World, running, settings_for, until

from gridspine.infra.runtime.settings import Commands
from gridspine.kernel.quality import Quality

ENSEMBLE = "https://gridspine.org/models/ensemble"
METER = "https://gridspine.org/models/meter"
SETPOINT = "activePowerSetpoint"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("plants") / "data", settings_for())
    for name in ("b1", "b2"):
        await made.thing(f"urn:example:{name}", BATTERY, adapter="none")
    await made.thing("urn:example:m1", METER)
    await say(made, "b1", activePower=1000, stateOfCharge=80)
    await say(made, "b2", activePower=-2000, stateOfCharge=40)
    yield made
    await made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def plant(world):
    """An ensemble of the two batteries, measured."""
    id_ = await saved(world, models=[BATTERY])
    yield id_
    await world.op.delete(f"/ensembles/{id_}")


async def saved(world, **criteria):
    answer = await world.op.post("/ensembles", json={"title": "Batteries", "criteria": criteria})
    assert answer.status_code == 201, answer.text
    await world.node.plants.look(all_of_them=True)
    return answer.json()["id"]


async def say(world, name, quality=0, **values):
    now = time.time()
    body = [{"n": f"urn:example:{name}/{point}", "v": value, "t": now, "q": quality} for point, value in values.items()]
    answer = await world.op.post("/readings", json=[{k: v for k, v in one.items() if k != "q" or v} for one in body],
                                 headers=SENML)  # fmt: skip
    assert answer.status_code == 200, answer.text


async def read(world, id_):
    answer = await world.op.get(f"/things/{id_}/values")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_it_is_described_with_links_to_its_members(world, plant):
    td = (await world.op.get(f"/things/{plant}")).json()
    assert (td["id"], td["title"], td["model"]) == (plant, "Batteries", ENSEMBLE)
    items = [link["href"].rpartition("/")[2] for link in td["links"] if link["rel"] == "item"]
    assert items == ["urn:example:b1", "urn:example:b2"]
    assert {"activePower", "availablePowerUp", "availablePowerDown", "memberCount", SETPOINT} <= td["properties"].keys()
    assert {"hold", "stop", "readNow"} <= td["actions"].keys()


async def test_its_sums_are_its_properties(world, plant):
    found = await read(world, plant)
    assert found == {
        "activePower": -1000, "availablePowerUp": 9000, "availablePowerDown": 11_000, "storedEnergy": 0,
        "memberCount": 2, "unknownCount": 0, SETPOINT: 0,
    }  # fmt: skip
    assert world.node.intake.books.totals.received == sum_of(world.node.intake.books.totals)


def sum_of(totals):
    return totals.accepted + totals.suppressed + totals.duplicate + totals.refused


async def test_it_is_read_now(world, plant):
    await say(world, "b1", activePower=1500)
    status = (await world.op.post(f"/things/{plant}/actions/readNow")).json()
    await until(lambda: twin(world, plant, "activePower").value == -500)
    assert status["status"] in {"pending", "running", "completed"}
    await say(world, "b1", activePower=1000)


def twin(world, id_, name):
    return world.node.twins.get(world.node.points.number(f"{id_}/{name}"))


async def test_a_sum_of_a_part_says_so(world):
    """The meter has never said anything of its power: two are known of three."""
    id_ = await saved(world, points=["activePower"])
    answer = await world.op.get(f"/things/{id_}/properties/activePower/value")
    assert (answer.json(), answer.headers["gridspine-quality"]) == (-1000, "questionable, inaccurate")
    assert (await read(world, id_))["unknownCount"] == 1
    assert twin(world, id_, "memberCount").quality == Quality.GOOD
    await world.op.delete(f"/ensembles/{id_}")
    alone = await saved(world, models=[METER])
    assert twin(world, alone, "activePower").quality == Quality.INVALID
    await world.op.delete(f"/ensembles/{alone}")


async def test_it_is_found_as_other_things_are(world, plant):
    listed = (await world.op.get("/things")).json()
    assert plant in [one["id"] for one in listed]
    asked = {"query": f"$[?@['gs:model']=='{ENSEMBLE}' || @.id=='{plant}'].id"}
    assert (await world.op.get("/search/jsonpath", params=asked)).json() == [plant]
    query = 'SELECT ?t { ?t a td:Thing ; td:hasPropertyAffordance [ td:name "memberCount" ] }'
    found = (await world.op.get("/search/sparql", params={"query": query})).json()
    assert [one["t"]["value"] for one in found["results"]["bindings"]] == [plant]


async def test_no_ensemble_is_a_member_of_another(world, plant):
    other = await saved(world)
    members = (await world.op.get(f"/ensembles/{other}")).json()["gathered"]["members"]
    assert sorted(one["id"] for one in members) == ["urn:example:b1", "urn:example:b2", "urn:example:m1"]
    await world.op.delete(f"/ensembles/{other}")


async def test_others_know_nothing_of_it(world, plant):
    for end in ("", "/values", "/actions"):
        assert (await world.co.get(f"/things/{plant}{end}")).status_code == 403
    assert (await world.co.get(f"/ensembles/{plant}/orders")).status_code == 404
    device, http = world.client("northside-networks", "device", kind="device")
    await world.thing("urn:example:mine", METER, devices=[device])
    assert (await http.get(f"/things/{plant}")).status_code == 403
    await world.op.delete("/things/urn:example:mine")


async def test_a_set_point_is_spread_by_what_each_can_do(world, plant):
    """From -1 kW to -4 kW: 3 kW less, of 9 kW that b1 (6) and b2 (3) can shed: a third of each."""
    given = {"property": SETPOINT, "value": -4000, "durationS": 600}
    status = (await world.op.post(f"/things/{plant}/actions/hold", json=given)).json()
    await until(lambda: len(world.node.plants.orders(plant)) == 2)
    orders = (await world.op.get(f"/ensembles/{plant}/orders")).json()
    assert {one["thing"][12:]: one["value"] for one in orders} == {"b1": -1000, "b2": -3000}
    assert {one["by"] for one in orders} == {(await command(world, status))["by"]}
    await until(lambda: twin(world, plant, SETPOINT).value == -4000)
    await say(world, "b1", activePower=-1000)
    await say(world, "b2", activePower=-3000)
    await world.node.plants.look(all_of_them=True)
    await until(lambda: state_of(world, status) == "applied")  # its own reading shows it
    assert (await read(world, plant))["memberCount"] == 2, "who does what it was told stays a member"
    assert (await world.op.delete(path_of(status))).status_code == 204
    await until(lambda: all(one.final for one in world.node.plants.orders(plant)))
    await say(world, "b1", activePower=1000)
    await say(world, "b2", activePower=-2000)


def state_of(world, status):
    return world.node.commands.commander.command(status["output"]["command"]).state


def path_of(status):
    return "/things/" + status["href"].partition("/things/")[2]


async def command(world, status):
    return (await world.op.get(f"/commands/{status['output']['command']}")).json()


async def test_what_members_cannot_do_is_rejected_and_nobody_is_told(world, plant):
    wanted = {"thing": plant, "point": SETPOINT, "value": -50_000, "durationS": 600}
    made = (await world.op.post("/commands", json=wanted)).json()
    await until(lambda: world.node.commands.commander.command(made["id"]).final)
    said = (await world.op.get(f"/commands/{made['id']}")).json()
    assert said["state"] == "rejected"
    assert "from -1000 W to -10000 W at the furthest, not to -50000 W" in said["reason"]
    assert world.node.plants.orders(plant) == []


async def test_a_newer_set_point_replaces_what_members_were_told(world, plant):
    for value in (-2500, 2000):
        wanted = {"thing": plant, "point": SETPOINT, "value": value, "durationS": 600}
        made = (await world.op.post("/commands", json=wanted)).json()
        await until(lambda made=made: told(world, made["id"]))
    await until(lambda: sum(not one.final for one in world.node.plants.orders(plant)) == 2)
    await world.op.post(f"/commands/{made['id']}/cancel", json={})
    await until(lambda: all(one.final for one in world.node.plants.orders(plant)))


def told(world, id_):
    return world.node.commands.commander.command(id_).state in {"sent", "acknowledged", "applied"}


async def test_the_thing_goes_with_its_ensemble_and_the_other_way_round(world):
    first, second = await saved(world, models=[BATTERY]), await saved(world, models=[BATTERY])
    assert (await world.op.delete(f"/ensembles/{first}")).status_code == 204
    assert (await world.op.get(f"/things/{first}")).status_code == 404
    assert (await world.op.delete(f"/things/{second}")).status_code == 204
    assert (await world.op.get(f"/ensembles/{second}")).status_code == 404
    await world.node.plants.look()
    assert (await world.op.get("/ensembles")).json() == []


async def test_members_are_let_go_though_their_ensemble_went_before_its_order_ended(world):
    id_ = await saved(world, models=[BATTERY])
    given = {"thing": id_, "point": SETPOINT, "value": -4000, "durationS": 600}
    made = (await world.op.post("/commands", json=given)).json()
    await until(lambda: told(world, made["id"]))
    order = world.node.commands.commander.issued(id_, SETPOINT).order
    saved_ensembles = world.node.ensembles.saved
    kept = saved_ensembles._kept.pop(id_)  # as one that is forgotten while whoever spreads orders is busy
    try:
        await world.node.plants.take(msgspec.structs.replace(order, value=None, sequence=order.sequence + 1))
    finally:
        saved_ensembles._kept[id_] = kept
    assert all(one.final for one in world.node.plants.orders(id_))
    assert (await world.op.delete(f"/ensembles/{id_}")).status_code == 204


async def test_after_a_start_it_is_there_and_what_was_spread_is_not_spread_again(tmp_path):
    async with running(tmp_path / "data") as world:
        await world.thing("urn:example:b1", BATTERY, adapter="none")
        await say(world, "b1", activePower=1000)
        id_ = await saved(world, models=[BATTERY])
        wanted = {"thing": id_, "point": SETPOINT, "value": -500, "durationS": 600}
        made = (await world.op.post("/commands", json=wanted)).json()
        await until(lambda: told(world, made["id"]))
        (given,) = world.node.plants.orders(id_)
    async with running(tmp_path / "data") as world:
        await until(lambda: twin(world, id_, SETPOINT).value == -500)
        await until(lambda: told(world, made["id"]) and world.node.plants.members(id_, 9) == ["urn:example:b1"])
        assert [one.id for one in world.node.plants.orders(id_)] == [given.id]
        assert (await world.op.get(f"/ensembles/{id_}")).status_code == 200
        await world.op.post(f"/commands/{made['id']}/cancel", json={})
        await until(lambda: all(one.final for one in world.node.plants.orders(id_)))


async def test_what_it_moves_is_counted_at_its_members(tmp_path):
    """A second person must agree to what the members are told, once, and not to the ensemble's set-point as well."""
    async with running(tmp_path / "data", settings_for(commands=Commands(approval_above_w=1000))) as world:
        await world.thing("urn:example:b1", BATTERY, adapter="none")
        await say(world, "b1", activePower=1000)
        id_ = await saved(world, models=[BATTERY])
        wanted = {"thing": id_, "point": SETPOINT, "value": -2500, "durationS": 600}
        made = (await world.op.post("/commands", json=wanted)).json()
        assert made["state"] == "accepted"
        await until(lambda: [one.state for one in world.node.plants.orders(id_)] == ["awaiting-approval"])
        await until(lambda: told(world, made["id"]))
        assert "1 awaiting-approval" in (await world.op.get(f"/commands/{made['id']}")).json()["reason"]
