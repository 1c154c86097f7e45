"""Points observed by event stream, long poll and WebSocket: what is, then what changes, until the right ends."""

import asyncio
import json

import httpx
import pytest
import pytest_asyncio
from running_node import SENML, World, until
from websockets.asyncio.client import connect

from gridspine.apps.api import flow

pytestmark = pytest.mark.asyncio(loop_scope="module")
THING = "urn:example:m1"
URL = f"/things/{THING}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory):
    world = await World.start(tmp_path_factory.mktemp("observe") / "data")
    await world.thing(THING)
    await report(world, voltage=230, activePower=500)
    yield world
    await world.stop()


async def report(world, **values):
    """Report values, observed now."""
    now = world.node.clock.now_us() / 1e6
    body = [{"n": f"{THING}/{name}", "v": value, "t": now} for name, value in values.items()]
    answer = await world.op.post("/readings", json=body, headers=SENML)
    assert answer.json()["accepted"] == len(values), answer.text


class Heard:
    """What came by one event stream: (event name, data)."""

    def __init__(self):
        self.events, self.status, self.kind = [], 0, ""

    async def follow(self, http, path, **more):
        async with http.stream("GET", path, timeout=None, **more) as answer:
            self.status, self.kind = answer.status_code, answer.headers["content-type"]
            name = ""
            async for line in answer.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    self.events.append((name, json.loads(value)))
                    name = ""

    def values(self, name=""):
        return [data for event, data in self.events if event == name]


async def test_a_stream_says_what_is_then_what_changes(made):
    heard = Heard()
    task = asyncio.create_task(heard.follow(made.op, f"{URL}/properties/voltage/observe"))
    await until(lambda: heard.values() == [230.0])
    await report(made, activePower=600)
    await report(made, voltage=240)
    await until(lambda: heard.values() == [230.0, 240.0])
    assert heard.kind == "text/event-stream"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: made.node.hub.subscriptions == 0)
    assert not made.node.watchers._by_number


async def test_all_points_come_by_name_and_some_when_asked(made):
    await report(made, voltage=231, activePower=700)
    every, some = Heard(), Heard()
    tasks = [
        asyncio.create_task(every.follow(made.op, f"{URL}/values/observe")),
        asyncio.create_task(some.follow(made.op, f"{URL}/values/observe", params={"names": "activePower"})),
    ]
    await until(lambda: {*every.events} >= {("voltage", 231.0), ("activePower", 700.0)} and some.events)
    await report(made, voltage=232)
    await until(lambda: ("voltage", 232.0) in every.events)
    assert some.events == [("activePower", 700.0)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_long_poll_misses_nothing_between_two_polls(made):
    await report(made, voltage=233)
    path = f"{URL}/properties/voltage/next"
    first = await made.op.get(path)
    assert (first.status_code, first.json()) == (200, 233.0)
    assert first.headers["gridspine-unit"] == "V"
    assert (await made.op.get(path, params={"waitS": 0})).status_code == 204
    await report(made, voltage=234)  # nobody waits now
    assert (await made.op.get(path)).json() == 234.0
    waiting = asyncio.create_task(made.op.get(path))
    await until(lambda: made.node.watchers._by_number)
    await report(made, voltage=235)
    assert (await waiting).json() == 235.0
    assert (await made.op.head(path)).status_code == 200
    assert (await made.op.head(f"{URL}/properties/nothing/next")).status_code == 404
    assert (await made.op.get(path, params={"waitS": -1})).status_code == 400
    assert (await made.op.get(path, params={"waitS": "nan"})).status_code == 400


async def test_a_poll_whose_client_leaves_gives_its_place_back(made):
    polled = asyncio.create_task(made.op.get(f"{URL}/properties/frequency/next"))
    await until(lambda: made.node.hub.subscriptions == 1)
    polled.cancel()
    await asyncio.gather(polled, return_exceptions=True)
    await until(lambda: made.node.hub.subscriptions == 0)
    assert not made.node.watchers._by_number


async def test_a_socket_tells_value_and_what_it_is_worth(made):
    url = made.url.replace("http", "ws") + f"{URL}/values/socket?names=voltage"
    async with connect(url, additional_headers={"Authorization": made.op.headers["authorization"]}) as socket:
        first = json.loads(await socket.recv())
        assert (first["name"], first["data"], first["unit"], first["quality"]) == ("voltage", 235.0, "V", "good")
        await report(made, voltage=236)
        assert json.loads(await socket.recv())["data"] == 236.0
    await until(lambda: made.node.hub.subscriptions == 0)


async def test_a_stream_ends_when_its_caller_is_let_in_no_more(made):
    id_, http = made.client("northside-networks", "operator")
    heard, polled = Heard(), asyncio.create_task(http.get(f"{URL}/properties/frequency/next"))
    task = asyncio.create_task(heard.follow(http, f"{URL}/values/observe"))
    await until(lambda: heard.events and made.node.hub.subscriptions == 2)
    await asyncio.to_thread(made.node.identity.directory.deactivate, id_)
    await task
    assert heard.events[-1] == ("end", {"reason": "signed-out"})
    assert (await polled).status_code == 204
    assert made.node.hub.subscriptions == 0


async def test_a_stream_ends_when_its_thing_leaves_the_directory(made):
    await made.thing("urn:example:leaving")
    heard = Heard()
    task = asyncio.create_task(heard.follow(made.op, "/things/urn:example:leaving/values/observe"))
    await until(lambda: made.node.hub.subscriptions == 1)
    await made.thing("urn:example:new")  # another Thing's registration ends nothing
    assert (await made.op.delete("/things/urn:example:leaving")).status_code == 204
    await task
    assert heard.events == [("end", {"reason": "gone"})]


async def test_a_stream_ends_when_its_device_speaks_for_the_thing_no_more(made):
    id_, http = made.client("northside-networks", "device", kind="device")
    await made.thing("urn:example:spoken-for", devices=[id_])
    heard = Heard()
    task = asyncio.create_task(heard.follow(http, "/things/urn:example:spoken-for/values/observe"))
    await until(lambda: made.node.hub.subscriptions == 1)
    patch, merge = {"gs:devices": []}, {"content-type": "application/merge-patch+json"}
    answer = await made.op.patch("/things/urn:example:spoken-for", content=json.dumps(patch), headers=merge)
    assert answer.status_code == 204, answer.text
    await task
    assert heard.events == [("end", {"reason": "forbidden"})]


async def test_streams_of_one_principal_are_bounded(made, monkeypatch):
    monkeypatch.setattr(type(made.node.hub), "subscriptions_of", lambda self, who: 10_000)
    for path in ("properties/voltage/observe", "properties/voltage/next", "values/observe"):
        answer = await made.op.get(f"{URL}/{path}")
        assert answer.status_code == 429, path


async def test_a_stream_that_does_not_open_leaves_nothing(made):
    for path in ("properties/nothing/observe", "values/observe?names=nothing", "properties/nothing/next"):
        assert (await made.op.get(f"{URL}/{path}")).status_code == 404
        assert (await made.co.get(f"{URL}/{path}")).status_code == 403
    assert made.node.hub.subscriptions == 0
    assert not made.node.watchers._by_number


async def test_silence_is_news_of_quality(made):
    """A point that has been silent for too long has the same value, and is worth less."""
    number = made.node.points.number(f"{THING}/voltage")
    watcher = made.node.watchers.watch([number])
    watcher.take()
    made.node.twins.age(__import__("numpy").array([number]))
    made.node.watchers.on_silent(__import__("numpy").array([number]))
    assert watcher.take() == [number]
    made.node.watchers.leave(watcher)


async def test_a_reader_that_stalls_holds_no_more_than_the_newest(made):
    """However much is reported while it does not read, what waits for it is one value a point."""
    number = made.node.points.number(f"{THING}/voltage")
    watcher = made.node.watchers.watch([number])
    for at in range(50):
        await report(made, voltage=200 + at)
    assert watcher.take() == [number]
    assert watcher.take() == []
    made.node.watchers.leave(watcher)


async def test_a_quiet_stream_shows_that_it_lives(made, monkeypatch):
    monkeypatch.setattr(flow, "HEARTBEAT_S", 0.25)
    async with made.op.stream("GET", f"{URL}/properties/frequency/observe", timeout=60) as answer:
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                break
    assert isinstance(answer, httpx.Response)


async def test_a_stream_ends_when_the_points_get_other_numbers(made):
    """Followed by the numbers of before, they would be silent from then on."""
    thing = await made.thing("urn:example:changing")
    heard = Heard()
    task = asyncio.create_task(heard.follow(made.op, f"/things/{thing}/properties/voltage/observe"))
    await until(lambda: made.node.watchers._by_number)
    await made.node.things.change(thing, actor="urn:x:somebody", model="https://gridspine.org/models/battery")
    await asyncio.wait_for(task, 60)
    assert heard.events == [("end", {"reason": "changed"})]
