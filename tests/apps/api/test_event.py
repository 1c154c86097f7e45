"""Events of a Thing: alarms, commands and its life, followed, waited for, and caught up with."""

import asyncio
import json

import pytest
import pytest_asyncio
from running_node import BATTERY, SENML, World, until

from gridspine.apps.node import tidings
from gridspine.apps.node.tidings import format_places, parse_places
from gridspine.kernel.errors import Invalid

pytestmark = pytest.mark.asyncio(loop_scope="module")
THING, OTHER = "urn:example:b1", "urn:example:b2"
URL = f"/things/{THING}/events"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory):
    world = await World.start(tmp_path_factory.mktemp("event") / "data")
    await world.thing(THING, BATTERY, adapter="none")
    await world.thing(OTHER, BATTERY, adapter="none")
    yield world
    await world.stop()


async def charge(world, percent, thing=THING):
    """Report a state of charge; below 5 % there is an alarm."""
    now = world.node.clock.now_us() / 1e6
    body = [{"n": f"{thing}/stateOfCharge", "v": percent, "t": now}]
    assert (await world.op.post("/readings", json=body, headers=SENML)).json()["accepted"] == 1


async def order(world, value, thing=THING):
    body = {"thing": thing, "point": "activePowerSetpoint", "value": value, "durationS": 600}
    return (await world.op.post("/commands", json=body)).json()


class Heard:
    def __init__(self):
        self.events, self.id = [], ""

    async def follow(self, http, path, **more):
        async with http.stream("GET", path, timeout=None, **more) as answer:
            assert answer.status_code == 200, await answer.aread()
            name = ""
            async for line in answer.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    self.id = value
                elif field == "data":
                    self.events.append((name, json.loads(value)))
                    name = ""


async def following(world, http, path, **more):
    before = world.node.hub.subscriptions
    heard = Heard()
    task = asyncio.create_task(heard.follow(http, path, **more))
    await until(lambda: task.done() or (world.node.hub.subscriptions > before and world.node.tidings._listeners))
    return heard, task


async def quiet(world, *tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: world.node.hub.subscriptions == 0)


async def test_alarms_and_commands_of_this_thing_only(made):
    alarms, first = await following(made, made.op, f"{URL}/alarm")
    commands, second = await following(made, made.op, f"{URL}/command")
    await charge(made, 2, OTHER)
    await charge(made, 3)
    await order(made, 1, OTHER)
    asked = await order(made, 100)
    await until(lambda: alarms.events and commands.events)
    assert [(name, one["point"], one["kind"]) for name, one in alarms.events] == [("", f"{THING}/stateOfCharge", "low")]
    assert {one["id"] for _, one in commands.events} == {asked["id"]}
    assert commands.events[0][1]["state"] in {"requested", "accepted"}
    await quiet(made, first, second)
    assert made.node.tidings._task is None


async def test_all_events_come_by_name(made):
    heard, task = await following(made, made.op, URL)
    await order(made, 200)
    await charge(made, 50)
    await until(lambda: {name for name, _ in heard.events} >= {"command", "alarm"})
    await quiet(made, task)


async def test_who_comes_back_gets_what_was_missed(made):
    heard, task = await following(made, made.op, f"{URL}/command")
    await order(made, 300)
    await until(lambda: heard.events)
    await quiet(made, task)
    missed = await order(made, 301)
    again, task = await following(made, made.op, f"{URL}/command", headers={"last-event-id": heard.id})
    await until(lambda: any(one["id"] == missed["id"] for _, one in again.events))
    states = [one["state"] for _, one in again.events if one["id"] == missed["id"]]
    assert len(states) == len({*states}), "each once"
    await quiet(made, task)
    for odd in ("x1", "a", "a1b", "zz", "a1a"):
        assert (await made.op.get(f"{URL}/command", headers={"last-event-id": odd})).status_code == 400
    assert made.node.hub.subscriptions == 0


async def test_too_far_back_is_said(made, monkeypatch):
    monkeypatch.setattr(tidings, "MAX_REPLAY", 0)
    answer = await made.op.get(f"{URL}/command", headers={"last-event-id": "c0"})
    assert answer.status_code == 410
    assert made.node.hub.subscriptions == 0
    assert made.node.tidings._task is None


async def test_the_life_of_a_thing_is_an_event(made):
    heard, task = await following(made, made.op, f"{URL}/lifecycle", headers={"last-event-id": "e0"})
    await until(lambda: heard.events)
    assert heard.events[0][1]["type"] == "thing.registered"
    await quiet(made, task)


async def test_a_long_poll_misses_nothing_between_two_polls(made):
    path = f"{URL}/command/next"
    assert (await made.op.head(path)).status_code == 200
    asked = await order(made, 400)  # nobody waits yet
    states = []
    while "accepted" not in states:
        answer = await made.op.get(path, params={"waitS": 10})
        assert answer.status_code == 200
        assert answer.json()["id"] == asked["id"]
        states.append(answer.json()["state"])
    while (await made.op.get(path, params={"waitS": 0})).status_code == 200:
        pass
    waiting = asyncio.create_task(made.op.get(path))
    await until(lambda: made.node.hub.subscriptions == 1)
    later = await order(made, 500)
    assert (await waiting).json()["id"] in {later["id"], asked["id"]}
    assert (await made.op.get(f"{URL}/nothing/next")).status_code == 404


async def test_a_stream_ends_when_its_caller_is_let_in_no_more(made):
    id_, http = made.client("northside-networks", "operator")
    heard, task = await following(made, http, f"{URL}/alarm")
    await asyncio.to_thread(made.node.identity.directory.deactivate, id_)
    await task
    assert heard.events[-1] == ("end", {"reason": "signed-out"})


async def test_a_listener_that_is_too_slow_is_ended(made, monkeypatch):
    monkeypatch.setattr(tidings, "MAX_WAITING", 0)
    heard, task = await following(made, made.op, f"{URL}/command")
    await order(made, 600)
    await task
    assert heard.events[-1] == ("end", {"reason": "behind"})


async def test_who_may_not_learns_nothing(made):
    for path in (URL, f"{URL}/alarm", f"{URL}/command/next"):
        answers = [await made.co.get(path.replace(THING, id_)) for id_ in (THING, "urn:example:zz")]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert (await made.nobody.get(path)).status_code == 401
    assert made.node.hub.subscriptions == 0


async def test_places_are_what_an_id_says():
    assert parse_places(format_places({"alarms": 12, "commands": 7})) == {"alarms": 12, "commands": 7}
    with pytest.raises(Invalid):
        parse_places("a12;drop")
