"""Many Things in one request, each with its own answer; and their list, a part at a time."""

import pytest
import pytest_asyncio
from running_node import METER, World, running, settings_for

from gridspine.infra.runtime.settings import Quotas
from gridspine.things.directory import MAX_AT_ONCE

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("registration") / "data", settings_for())
    yield made
    await made.stop()


async def test_each_thing_of_a_batch_has_its_own_answer(world):
    sent = [
        {"id": "urn:example:r1", "title": "One", "model": METER},
        {"title": "Nameless", "model": METER},
        {"id": "urn:example:r1", "title": "Again", "model": METER},
        {"id": "no urn", "title": "Odd", "model": METER},
        {"id": "urn:example:r2", "title": "Two", "model": "urn:none"},
        {"id": "urn:example:r3", "title": "", "model": METER},
        {"id": "urn:example:r4", "title": "Odd", "model": METER, "colour": "red"},
        {"id": 7},
        {"id": "urn:example:r5", "title": "Five", "model": METER},
    ]
    answer = await world.op.post("/things/batch", json=sent)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["received"], said["registered"], said["refused"]) == (9, 3, 6)
    assert said["ids"][0] == "urn:example:r1"
    assert said["ids"][1].startswith("urn:uuid:")
    assert [at for at, id_ in enumerate(said["ids"]) if id_ is None] == [2, 3, 4, 5, 6, 7]
    assert [problem["index"] for problem in said["problems"]] == [2, 3, 4, 5, 6, 7]
    assert said["problems"][0]["reason"] == "conflict"
    assert {problem["reason"] for problem in said["problems"][1:]} == {"invalid"}
    for id_ in ("urn:example:r1", said["ids"][1], "urn:example:r5"):
        assert (await world.op.get(f"/things/{id_}")).json()["id"] == id_
        sent_one = await world.send(f"{id_}/activeEnergyImport", [5.0])
        assert sent_one["accepted"] == 1
    numbers = [world.node.things.get(id_).first for id_ in ("urn:example:r1", said["ids"][1], "urn:example:r5")]
    assert numbers == sorted(set(numbers))
    assert world.node.points.place(numbers[2])[0] == "urn:example:r5"
    again = await world.op.post("/things/batch", json=[sent[0], sent[8]])
    assert [problem["reason"] for problem in again.json()["problems"]] == ["conflict", "conflict"]


async def test_a_batch_of_nothing_and_one_of_too_many(world):
    assert (await world.op.post("/things/batch", json=[])).json()["received"] == 0
    assert (await world.op.post("/things/batch", json=[1])).status_code == 400
    answer = await world.op.post("/things/batch", json=[{}] * (MAX_AT_ONCE + 1))
    assert answer.status_code == 413, answer.text


async def test_the_list_comes_a_part_at_a_time_in_order(world):
    sent = [{"id": f"urn:example:page{n:03}", "title": "P", "model": METER} for n in range(300)]
    assert (await world.op.post("/things/batch", json=sent)).json()["registered"] == 300
    seen, after = [], ""
    while True:
        part = (await world.op.get("/things", params={"after": after, "limit": 70})).json()
        if not part:
            break
        assert len(part) <= 70
        seen += [thing["id"] for thing in part]
        after = seen[-1]
    whole = [thing["id"] for thing in (await world.op.get("/things")).json()]
    assert seen == whole == sorted(whole)
    assert len(whole) >= 300
    assert (await world.op.get("/things", params={"limit": 0})).status_code == 400


async def test_those_beyond_the_quota_are_refused_each_and_the_others_registered(tmp_path):
    async with running(tmp_path / "data", settings_for(quotas=Quotas(things=3))) as world:
        await world.thing("urn:example:q0")
        sent = [{"id": f"urn:example:q{n}", "title": "Q", "model": METER} for n in (0, 1, 2, 3, 4)]
        sent.insert(1, {"title": "no model"})
        said = (await world.op.post("/things/batch", json=sent)).json()
        assert said["ids"] == [None, None, "urn:example:q1", "urn:example:q2", None, None]
        assert [one["reason"] for one in said["problems"]] == ["conflict", "invalid", "overloaded", "overloaded"]
        assert "quotas.things" in said["problems"][2]["detail"]
        assert len((await world.op.get("/things")).json()) == 3
        assert node_refusals(await world.op.get("/metrics")) == 1, "requests are counted, not Things"
        again = (await world.op.post("/things/batch", json=sent[-1:])).json()
        assert (again["registered"], again["problems"][0]["reason"]) == (0, "overloaded")


def node_refusals(metrics):
    (line,) = [
        one for one in metrics.text.splitlines() if one.startswith('gridspine_quota_refusals_total{quota="things"')
    ]
    return float(line.rpartition(" ")[2])
