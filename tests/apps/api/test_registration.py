"""Many Things in one request, each with its own answer; and their list, a part at a time."""

import asyncio
import json

import pytest
import pytest_asyncio
from running_node import METER, World, running, settings_for

from gridspine.infra.runtime.settings import Quotas
from gridspine.infra.runtime.turn import MOST_PIECES
from gridspine.things.directory import MAX_AT_ONCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON, NDJSON = {"content-type": "application/json"}, {"content-type": "application/x-ndjson"}


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
    assert (again.json()["registered"], again.json()["unchanged"], again.json()["refused"]) == (0, 2, 0)
    assert again.json()["ids"] == ["urn:example:r1", "urn:example:r5"]
    other = await world.op.post("/things/batch", json=[sent[0] | {"title": "Two"}, sent[8] | {"adapter": "modbus"}])
    assert [problem["reason"] for problem in other.json()["problems"]] == ["conflict", "conflict"]


async def test_a_batch_of_nothing_and_one_of_too_many(world):
    assert (await world.op.post("/things/batch", json=[])).json()["received"] == 0
    (problem,) = (await world.op.post("/things/batch", json=[1])).json()["problems"]
    assert (problem["index"], problem["reason"]) == (0, "invalid")
    assert (await world.op.post("/things/batch", json={})).status_code == 400
    assert (await world.op.post("/things/batch", content=b"[{", headers=JSON)).status_code == 400
    assert (await world.op.post("/things/batch", content=b"", headers=NDJSON)).json()["received"] == 0
    assert (await world.op.post("/things/batch", content=b"", headers={"content-type": "text/csv"})).status_code == 415
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


async def test_one_that_comes_back_counts_towards_the_quota(tmp_path):
    async with running(tmp_path / "data", settings_for(quotas=Quotas(things=1))) as world:
        await world.thing("urn:example:back")
        assert (await world.op.delete("/things/urn:example:back")).status_code == 204
        await world.thing("urn:example:instead")
        sent = [{"id": "urn:example:back", "title": "Back", "model": METER}]
        said = (await world.op.post("/things/batch", json=sent)).json()
        assert (said["registered"], said["problems"][0]["reason"]) == (0, "overloaded")


def node_refusals(metrics):
    (line,) = [
        one for one in metrics.text.splitlines() if one.startswith('gridspine_quota_refusals_total{quota="things"')
    ]
    return float(line.rpartition(" ")[2])


def described(number: int, **more) -> bytes:
    found = {
        "@context": "https://www.w3.org/2022/wot/td/v1.1", "id": f"urn:example:d{number}", "title": f"Pump {number}",
        "securityDefinitions": {"none": {"scheme": "nosec"}}, "security": "none",
        "base": f"http://192.0.2.{number % 250}/",
        "properties": {"power": {"type": "number", "unit": "kW", "forms": [{"href": "power"}]}},
    }  # fmt: skip
    return json.dumps({**found, **more}).encode()


async def test_strangers_descriptions_come_one_a_line_and_can_be_sent_again(world):
    lines = [
        described(1),
        described(2, security="nobody"),
        b'{"id": "urn:example:plain", "title": "Plain", "model": "%s"}' % METER.encode(),
        b"",
        b"no JSON",
        described(3, id=7),
        described(4, title="x" * 300_000),
        b'{"@context": "https://www.w3.org/2022/wot/td/v1.1", "title": "a", "title": "b"}',
        described(5),
    ]
    said = (await world.op.post("/things/batch", content=b"\n".join(lines), headers=NDJSON)).json()
    assert (said["received"], said["registered"], said["unchanged"], said["refused"]) == (8, 3, 0, 5)
    assert said["ids"] == ["urn:example:d1", None, "urn:example:plain", None, None, None, None, "urn:example:d5"]
    assert [(one["index"], one["reason"]) for one in said["problems"]] == [
        (1, "invalid"), (3, "invalid"), (4, "invalid"), (5, "too-large"), (6, "invalid")
    ]  # fmt: skip
    assert [one["field"] for one in said["problems"][0]["validationErrors"]] == ["security"]
    assert said["problems"][0]["id"] == "urn:example:d2"
    assert (await world.op.get("/things/urn:example:d5")).json()["title"] == "Pump 5"
    assert (await world.op.get("/things/urn:example:d5/report")).json()["points"] == ["power"]
    again = [described(1), described(5, title="Other"), described(6), json.dumps(json.loads(described(6))).encode()]
    said = (await world.op.post("/things/batch", content=b"[" + b",".join(again) + b"]", headers=JSON)).json()
    assert (said["registered"], said["unchanged"], said["refused"]) == (1, 1, 2)
    assert [one["reason"] for one in said["problems"]] == ["conflict", "conflict"]
    assert (await world.op.get("/things/urn:example:d5")).json()["title"] == "Pump 5"


async def test_one_that_nests_too_deeply_is_refused_alone(world):
    deep = b'{"title": "Deep", "model": "%s", "connection": {"a": %s}}' % (
        METER.encode(),
        b"[" * 20_000 + b"]" * 20_000,
    )
    plain = b'{"id": "urn:example:beside", "title": "Beside", "model": "%s"}' % METER.encode()
    answer = await world.op.post("/things/batch", content=deep + b"\n" + plain, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["registered"], said["refused"]) == (1, 1)
    assert said["problems"][0]["detail"] == "the body nests too deeply"


async def test_one_that_expires_is_not_taken_for_the_same(world):
    lasting = described(20, registration={"ttl": 3600})
    for registered, refused in ((1, 0), (0, 1)):
        said = (await world.op.post("/things/batch", content=lasting, headers=NDJSON)).json()
        assert (said["registered"], said["unchanged"], said["refused"]) == (registered, 0, refused)
    assert "expires" in (await world.op.get("/things/urn:example:d20")).json()["registration"]


async def test_others_are_served_while_many_are_registered(world, monkeypatch):
    """No more than a turn of them is worked on before the loop serves others."""
    many = b"\n".join(described(number) for number in range(1_000, 2_500))
    await world.thing("urn:example:other")
    registrar, roll = world.node.registrar, world.node.things.roll
    planned, added, since, most = registrar.planned, roll.add, {"planned": 0, "added": 0}, {"planned": 0, "added": 0}

    def count(name, by):
        since[name] += by
        most[name] = max(most[name], since[name])

    async def counted(document, caller):
        count("planned", 1)
        return await planned(document, caller)

    def counted_add(things):
        count("added", len(things))
        added(things)

    monkeypatch.setattr(registrar, "planned", counted)
    monkeypatch.setattr(roll, "add", counted_add)
    batch = asyncio.ensure_future(world.op.post("/things/batch", content=many, headers=NDJSON))

    async def look():
        while not batch.done():
            since.update(planned=0, added=0)
            await asyncio.sleep(0)

    looking, served = asyncio.ensure_future(look()), 0
    while not batch.done():
        assert (await world.op.get("/things/urn:example:other/properties")).status_code == 200
        served += not batch.done()
    await looking
    assert batch.result().json()["registered"] == 1_500
    assert 0 < most["planned"] <= MOST_PIECES
    assert 0 < most["added"] <= 100
    assert served > 3
