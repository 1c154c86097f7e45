"""Sites and envelopes by the API: limits reach the Things behind, running leases are clamped, defaults hold again."""

import asyncio
import time

import pytest
import pytest_asyncio
from running_node import BATTERY, METER, World, running, settings_for, until

from gridspine.kernel.time import US, format_rfc3339

INVERTER = "https://gridspine.org/models/pv_inverter"
GUARD = "https://gridspine.org/models/site"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("sites") / "data", settings_for())
    yield made
    await made.stop()


def at(seconds):
    return format_rfc3339(int((time.time() + seconds) * US))


async def home(world, name, *models, **fields):
    """Register Things and a site around them; return its id and theirs."""
    things = [await world.thing(f"urn:example:{name}-{at_}", model, adapter="none") for at_, model in enumerate(models)]
    body = {"title": name, "things": things, **fields}
    answer = await world.op.post("/sites", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/sites/{answer.json()['id']}"
    return answer.json()["id"], things


async def envelope(world, site, **fields):
    answer = await world.op.post(f"/sites/{site}/envelopes", json={"title": "V", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def effective(world, thing, point, after_s=0.0):
    return world.node.commands.commander.effective(thing, point, int((time.time() + after_s) * US))


def live(world, thing):
    return [one for one in world.node.commands.commander.commands(thing) if not one.final]


async def test_a_site_is_kept_read_listed_and_changed_by_its_tag(world):
    id_, things = await home(world, "kept", BATTERY, connectionPointId="NMI1", phases=1, importLimitW=14_000,
                             location=[48.1, 11.6])  # fmt: skip
    found = await world.op.get(f"/sites/{id_}")
    assert found.headers["etag"] == '"1"'
    assert found.json()["things"] == things and found.json()["location"] == [48.1, 11.6]
    assert id_ in [one["id"] for one in (await world.op.get("/sites")).json()]
    body = {"title": "Kept well", "things": things}
    stale = await world.op.put(f"/sites/{id_}", json=body, headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    changed = await world.op.put(f"/sites/{id_}", json=body, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"], changed.json()["importLimitW"]) == (200, '"2"', None)
    assert (await world.op.delete(f"/sites/{id_}")).status_code == 204
    assert (await world.op.get(f"/sites/{id_}")).status_code == 404


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"title": ""}, 400, "title"), ({"things": ["urn:example:nowhere"]}, 400, "not a Thing of your organisation"),
        ({"importLimitW": -1}, 400, "magnitude"), ({"phases": 9}, 400, "phases"), ({"guard": "urn:x:y"}, 400, "guard"),
        ({"things": ["urn:example:taken-0"]}, 409, "another connection point"), ({"colour": "red"}, 400, "colour"),
    ],
)  # fmt: skip
async def test_a_site_that_cannot_be_is_refused(world, fields, status, words):
    if world.node.things.roll.get("urn:example:taken-0") is None:
        await home(world, "taken", BATTERY)
    answer = await world.op.post("/sites", json={"title": "S", **fields})
    assert answer.status_code == status, answer.text
    assert words in answer.text


async def test_limits_of_the_point_reach_the_things_only_where_they_could_be_passed(world):
    _, (battery, inverter) = await home(world, "wide", BATTERY, INVERTER, importLimitW=50_000, exportLimitW=50_000)
    assert live(world, battery) == live(world, inverter) == []
    _, (battery, inverter) = await home(world, "narrow", BATTERY, INVERTER, exportLimitW=5_500)
    assert effective(world, inverter, "activePowerLimit").value == 3_000
    (lease,) = [one.lease for one in live(world, battery)]
    assert (lease.role, lease.value, lease.principal[:5]) == ("limit_min", -2_500, "site:")


async def test_an_envelope_clamps_what_runs_and_its_default_holds_when_its_interval_is_over(world):
    site, (battery,) = await home(world, "clamped", BATTERY)
    order = {"thing": battery, "point": "activePowerSetpoint", "value": 4_000, "durationS": 7_200}
    assert (await world.op.post("/commands", json=order)).json()["state"] == "accepted"
    interval = {"from": at(-60), "until": at(1_800), "limits": {"importLimitW": 1_000}}
    await envelope(world, site, default={"importLimitW": 3_000}, intervals=[interval])
    assert effective(world, battery, "activePowerSetpoint").value == 1_000
    assert effective(world, battery, "activePowerSetpoint", 1_801).value == 3_000, "of itself, by the same lease"
    assert effective(world, battery, "activePowerSetpoint", 7_201).value == 0
    (limit,) = [one for one in live(world, battery) if one.lease.role == "limit_max"]
    assert [step.value for step in limit.lease.steps] == [1_000, 3_000]


async def test_the_tightest_of_several_envelopes_holds_and_lifting_one_gives_way(world):
    site, (inverter,) = await home(world, "layers", INVERTER, exportLimitW=4_000)
    first = await envelope(world, site, default={"exportLimitW": 3_000})
    second = await envelope(world, site, default={"exportLimitW": 2_000})
    assert effective(world, inverter, "activePowerLimit").value == 2_000
    shown = (await world.op.get(f"/sites/{site}/limits")).json()
    assert shown[0]["connectionPoint"] == shown[0]["tightest"] == {"exportLimitW": 2_000}
    assert len((await world.op.get(f"/sites/{site}/envelopes")).json()) == 2
    assert (await world.op.delete(f"/sites/{site}/envelopes/{second}")).status_code == 204
    assert effective(world, inverter, "activePowerLimit").value == 3_000
    loosened = {"title": "V", "default": {"exportLimitW": 9_000}}
    answer = await world.op.put(f"/sites/{site}/envelopes/{first}", json=loosened, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    assert effective(world, inverter, "activePowerLimit").value == 4_000, "the connection point's own"
    assert (await world.op.delete(f"/sites/{site}")).status_code == 204
    assert effective(world, inverter, "activePowerLimit").value == 6_000
    assert live(world, inverter) == []


async def test_a_guard_is_told_alone(world):
    site, (guard, inverter) = await home(world, "guarded", GUARD, INVERTER)
    body = {"title": "guarded", "things": [guard, inverter], "guard": guard, "exportLimitW": 10_000}
    assert (await world.op.put(f"/sites/{site}", json=body)).status_code == 200
    (bounding,) = live(world, guard)
    assert (bounding.lease.bounding, bounding.watts) == (True, 0.0)
    assert effective(world, guard, "exportLimit").value == 1_500, "by itself it exports no more"
    await envelope(world, site, default={"exportLimitW": 8_000})
    assert effective(world, guard, "exportLimit").value == 8_000
    assert live(world, inverter) == []


async def test_a_thing_that_leaves_the_site_is_let_go(world):
    site, (battery, inverter) = await home(world, "left", BATTERY, INVERTER, exportLimitW=5_500)
    assert live(world, battery)
    body = {"title": "left", "things": [inverter], "exportLimitW": 5_500}
    assert (await world.op.put(f"/sites/{site}", json=body)).status_code == 200
    assert live(world, battery) == []
    assert effective(world, inverter, "activePowerLimit").value == 5_500


async def test_nothing_is_asked_twice_and_everything_is_there_after_a_restart(tmp_path):
    async with running(tmp_path / "data") as world:
        site, (battery,) = await home(world, "again", BATTERY)
        await envelope(world, site, default={"importLimitW": 2_000})
        before = [one.id for one in live(world, battery)]
        assert len(before) == 1
    async with running(tmp_path / "data") as world:
        await world.node.controls.desk.look([holder(world, site)])
        assert [one.id for one in live(world, battery)] == before
        assert effective(world, battery, "activePowerSetpoint").value == 0
        assert (await world.op.get(f"/sites/{site}/envelopes")).json()[0]["default"] == {"importLimitW": 2_000}


def holder(world, site):
    (found,) = [one for one in world.node.controls.desk._due_us if one.id == site]
    return found


async def test_a_limit_that_somebody_ended_is_asked_for_anew_while_its_envelope_stands(world):
    site, (battery,) = await home(world, "ended", BATTERY)
    await envelope(world, site, default={"importLimitW": 2_000})
    (command,) = live(world, battery)
    assert (await world.op.post(f"/commands/{command.id}/cancel")).status_code == 200
    await until(lambda: [one.lease.value for one in live(world, battery)] == [2_000])
    emulated = {"form": "emulator", "external": True}
    assert (await world.op.post(f"/things/{battery}/form", json=emulated)).status_code == 200
    assert (await world.op.post(f"/things/{battery}/form", json={"form": "adapter"})).status_code == 200
    await until(lambda: [one.lease.value for one in live(world, battery)] == [2_000])


async def test_every_step_is_in_the_ledger(world):
    site, _ = await home(world, "told", BATTERY)
    id_ = await envelope(world, site, default={"importLimitW": 2_000})
    for subject, type_ in ((site, "site.registered"), (id_, "envelope.set")):
        assert [one["type"] for one in await receipts(world, subject)] == [type_]


async def receipts(world, subject):
    for _ in range(500):
        answer = await world.op.get("/receipts", params={"subject": subject})
        if answer.status_code == 200 and answer.json():
            return answer.json()
        await asyncio.sleep(0.01)
    raise AssertionError("no receipt came")


@pytest.mark.parametrize("path", ["/sites/{}", "/sites/{}/limits", "/sites/{}/envelopes"])
async def test_a_site_of_others_is_not_there(world, path):
    site, _ = await home(world, f"hidden{len(path)}", METER)
    answers = [await world.co.get(path.format(one)) for one in (site, "urn:uuid:01a1fe2e-232a-7d9a-8429-486e043c2b3e")]
    assert [one.status_code for one in answers] == [404, 404]
    assert answers[0].text == answers[1].text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"default": {"targetW": 1}}, "limits, it asks for nothing"), ({"default": {"importLimitW": -1}}, "magnitude"),
        ({"default": {"flyW": 1}}, "flyW"), ({"intervals": [{"from": "x", "until": "y", "limits": {}}]}, "RFC 3339"),
    ],
)  # fmt: skip
async def test_an_envelope_that_makes_no_sense_is_refused(world, fields, words):
    site, _ = await home(world, f"odd{words[:4]}".replace(" ", ""), METER)
    answer = await world.op.post(f"/sites/{site}/envelopes", json={"title": "V", **fields})
    assert answer.status_code == 400
    assert words in answer.text
