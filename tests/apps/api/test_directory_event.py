"""The directory's events by W3C WoT Discovery (Recommendation of 5 December 2023), "Events API"; and a restart."""

import asyncio
import json

import pytest
import pytest_asyncio
from running_node import World, settings_for

from gridspine.things.directory import Directory

pytestmark = pytest.mark.asyncio(loop_scope="module")
TD = {"content-type": "application/td+json"}
PATCH = {"content-type": "application/merge-patch+json"}


def td(**more):
    form = {"href": "http://192.0.2.7/status"}
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1"],
        "title": "Heat pump",
        "securityDefinitions": {"none": {"scheme": "nosec"}},
        "security": "none",
        "properties": {
            "power": {"type": "number", "unit": "kW", "forms": [form]},
            "running": {"type": "boolean", "forms": [form]},
            "share": {"type": "number", "unit": "%", "forms": [form]},
            "name": {"type": "string", "forms": [form]},
        },
        **more,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("events") / "data", settings_for())
    yield made
    await made.stop()


async def put(world, id_, **more):
    return await world.op.put(f"/things/{id_}", content=json.dumps(td(id=id_, **more)), headers=TD)


def plain(document):
    """Return a retrieved Thing Description without what the directory adds."""
    kept = {name: value for name, value in document.items() if name != "registration"}
    kept["@context"] = [one for one in kept["@context"] if one != "https://www.w3.org/2022/wot/discovery"]
    return kept


async def events(world, path, count, **more):
    """Return the first events of a stream: name, data and id."""
    found, name = [], ""
    async with world.op.stream("GET", path, timeout=60, **more) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                id_ = value
            elif field == "data":
                found.append((name, json.loads(value), id_))
                if len(found) == count:
                    return found
    return found


async def test_events_tell_of_each_change_and_are_told_again(world):
    """tdd-notification-sse, -event-id, -event-types, -filter-type, -data, -data-td-id, -data-create-full,
    -data-update-diff, -data-update-id, -data-delete-diff."""
    id_, start = "urn:example:e1", f"e{world.node.log.bounds('events')[0][1]}"
    await put(world, id_)
    await put(world, id_, title="Changed", support="x:y")
    await world.op.patch(f"/things/{id_}", content=json.dumps({"support": None}), headers=PATCH)
    await world.op.delete(f"/things/{id_}")
    since = {"last-event-id": start}
    told = await events(world, "/events", 4, headers=since)
    assert [(name, data) for name, data, _ in told] == [
        ("thing_created", {"id": id_}), ("thing_updated", {"id": id_}), ("thing_updated", {"id": id_}),
        ("thing_deleted", {"id": id_}),
    ]  # fmt: skip
    again = await events(world, "/events", 2, headers={"last-event-id": told[1][2]})
    assert again == told[2:]
    diffs = await events(world, "/events/thing_updated?diff=true", 2, headers=since)
    assert [data for _, data, _ in diffs] == [
        {"id": id_, "title": "Changed", "support": "x:y"}, {"id": id_, "support": None},
    ]  # fmt: skip
    assert await events(world, "/events/thing_deleted?diff=true", 1, headers=since) == told[3:]
    while world.node.hub.subscriptions:  # those that were left are let go a moment later
        await asyncio.sleep(0.01)
    live = asyncio.create_task(events(world, "/events/thing_created?diff=true", 1))
    while not world.node.hub.subscriptions:
        await asyncio.sleep(0.01)
    await put(world, "urn:example:e2")
    ((name, data, _),) = await live
    assert (name, plain(data)) == ("thing_created", td(id="urn:example:e2"))
    assert (await world.op.get("/events/thing_moved")).status_code == 404
    assert (await world.op.get("/events", headers={"last-event-id": "x"})).status_code == 400


async def test_descriptions_survive_a_restart(tmp_path):
    made = await World.start(tmp_path / "data", settings_for())
    await put(made, "urn:example:r1", registration={"ttl": 3600})
    report = (await made.op.get("/things/urn:example:r1/report")).json()
    before = (await made.op.get("/things/urn:example:r1")).json()
    assert report["points"] == ["power", "running", "share"]
    assert (report["adapter"], report["working"]) == ("", [])
    assert {one["affordance"] for one in report["left"]} >= {"properties.name", "properties.power"}
    await made.stop()
    made = await World.start(tmp_path / "data", settings_for())
    after = (await made.op.get("/things/urn:example:r1")).json()
    for one in (before, after):
        one["registration"].pop("retrieved")
    assert after == before
    assert isinstance(made.node.things, Directory)
    assert made.node.registrar._expiries
    await made.stop()
