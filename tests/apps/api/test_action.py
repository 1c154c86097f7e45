"""Actions of a Thing: held values, stops, reads on request; each with a status resource."""

import asyncio
import json
from urllib.parse import urlsplit

import cbor2
import pytest
import pytest_asyncio
from running_node import BATTERY, World, until

from gridspine.apps.node.invocations import MAX_RUNNING_EACH
from gridspine.kernel.errors import Unavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")
THING, READER = "urn:example:b1", "urn:example:b2"
ACTIONS = f"/things/{THING}/actions"
HELD = {"property": "activePowerSetpoint", "value": 1200, "durationS": 600}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory):
    world = await World.start(tmp_path_factory.mktemp("action") / "data")
    await world.thing(THING, BATTERY)
    await world.thing(READER, BATTERY, adapter="stub")
    await world.thing("urn:example:m1")
    yield world
    await world.stop()


async def invoke(made, name, given=None, thing=THING, **more):
    more = {"json": given} if given is not None else more
    answer = await made.op.post(f"/things/{thing}/actions/{name}", **more)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == answer.json()["href"]
    return urlsplit(answer.headers["location"]).path, answer.json()


async def test_a_hold_is_a_command_with_a_status(made):
    where, status = await invoke(made, "hold", HELD)
    assert status["status"] in {"pending", "running"}
    asked = (await made.op.get(where)).json()
    assert asked["href"].startswith(made.url)
    command = (await made.op.get(f"/commands/{asked['output']['command']}")).json()
    assert (command["value"], command["point"]) == (1200.0, "activePowerSetpoint")
    assert (await made.op.delete(where)).status_code == 204
    after = (await made.op.get(where)).json()
    assert (after["status"], after["error"]["status"]) == ("failed", 409)
    assert after["timeEnded"] >= after["timeRequested"]
    assert (await made.op.delete(where)).status_code == 409
    assert (await made.op.get(f"/commands/{asked['output']['command']}")).json()["state"] == "cancelled"


async def test_a_hold_may_be_a_schedule(made):
    given = HELD | {"value": 10, "steps": [{"afterS": 60, "value": 20}], "reason": "peak"}
    where, status = await invoke(made, "hold", given)
    command = (await made.op.get(f"/commands/{status['output']['command']}")).json()
    assert [step["value"] for step in command["steps"]] == [10, 20]
    assert command["changes"][0]["reason"] == "peak"
    assert (await made.op.delete(where)).status_code == 204


async def test_a_stop_ends_every_setpoint(made):
    for value in (6, 5):  # the one does not replace the other: its priority is lower
        await invoke(made, "hold", HELD | {"value": value, "priority": value})
    where, _ = await invoke(made, "stop", {"reason": "smoke"})
    found = {}
    while found.get("status") != "completed":
        found = (await made.op.get(where)).json()
    assert found["output"] == {"ended": 2}
    commands = (await made.op.get("/commands", params={"thing": THING})).json()
    assert {one["state"] for one in commands} <= {"cancelled", "superseded"}
    assert commands[0]["reason"] == "smoke"
    again, _ = await invoke(made, "stop")
    assert again != where


async def test_all_invocations_are_listed_newest_first(made):
    listed = (await made.op.get(ACTIONS)).json()
    assert {*listed} == {"hold", "stop"}, "it has no adapter that could read it"
    assert len(listed["stop"]) >= 2
    times = [one["timeRequested"] for one in listed["hold"]]
    assert times == sorted(times, reverse=True)


async def test_a_device_is_read_on_request(made, monkeypatch):
    asked, answer = [], asyncio.Event()

    async def read(thing, points=()):
        asked.append(thing)
        await answer.wait()
        if len(asked) > 1:
            raise Unavailable("the device did not answer")

    monkeypatch.setattr(made.node.adapters.reads, "read", read)
    where, status = await invoke(made, "readNow", thing=READER)
    assert status["status"] == "running"
    answer.set()
    await until(lambda: not made.node.invocations._running)
    assert (await made.op.get(where)).json()["output"] == {}
    where, _ = await invoke(made, "readNow", thing=READER)
    await until(lambda: not made.node.invocations._running)
    failed = (await made.op.get(where)).json()
    assert (failed["status"], failed["error"]["detail"]) == ("failed", "the device did not answer")
    assert (await made.op.delete(where)).status_code == 409
    answer.clear()
    where, _ = await invoke(made, "readNow", thing=READER)
    assert (await made.op.delete(where)).status_code == 204
    await until(lambda: not made.node.invocations._running)
    assert (await made.op.get(where)).json()["error"]["detail"] == "it was cancelled"


async def test_what_one_principal_runs_at_once_is_bounded(made, monkeypatch):
    async def read(thing, points=()):
        await asyncio.Event().wait()

    monkeypatch.setattr(made.node.adapters.reads, "read", read)
    for _ in range(MAX_RUNNING_EACH):
        await invoke(made, "readNow", thing=READER)
    answer = await made.op.post(f"/things/{READER}/actions/readNow")
    assert answer.status_code == 429
    await made.node.invocations.close()


@pytest.mark.parametrize(
    ("name", "body", "status", "word"),
    [
        ("hold", {}, 400, "property"),
        ("hold", HELD | {"value": "x"}, 400, "value"),
        ("hold", HELD | {"other": 1}, 400, "other"),
        ("hold", HELD | {"property": "voltage"}, 404, "no point"),
        ("hold", HELD | {"property": "stateOfCharge"}, 400, "cannot be commanded"),
        ("hold", HELD | {"value": 1e9}, 409, "beyond"),
        ("hold", HELD | {"until": "2001-01-01T00:00:00Z"}, 400, ""),
        ("hold", [1], 400, ""),
        ("hold", {"reason": "x" * 20_000}, 413, ""),
        ("stop", {"why": 1}, 400, "why"),
        ("explode", {}, 404, "it has: hold, stop"),
        ("readNow", {}, 404, "it has: hold, stop"),
    ],
)
async def test_bad_invocations_are_answered_with_what_to_do(made, name, body, status, word):
    answer = await made.op.post(f"{ACTIONS}/{name}", json=body)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["detail"]


async def test_input_may_come_as_cbor(made):
    body = cbor2.dumps(HELD | {"value": 77})
    _, status = await invoke(made, "hold", content=body, headers={"content-type": "application/cbor"})
    assert status["output"]["state"] in {"accepted", "sent"}
    answer = await made.op.post(f"{ACTIONS}/hold", content=json.dumps(HELD), headers={"content-type": "text/plain"})
    assert answer.status_code == 415


async def test_invocations_of_another_thing_or_action_are_not_there(made):
    where, _ = await invoke(made, "hold", HELD | {"value": 3})
    id_ = where.rpartition("/")[2]
    for path in (f"{ACTIONS}/stop/{id_}", f"/things/{READER}/actions/hold/{id_}", f"{ACTIONS}/hold/{'0' * 32}"):
        assert (await made.op.get(path)).status_code == 404
        assert (await made.op.delete(path)).status_code == 404
    assert (await made.op.get("/things/urn:example:m1/actions")).json() == {}


async def test_who_may_not_command_may_not_act(made):
    _, auditor = made.client("northside-networks", "auditor")
    where, _ = await invoke(made, "hold", HELD | {"value": 9})
    assert (await auditor.post(f"{ACTIONS}/stop")).status_code == 403
    assert (await auditor.delete(where)).status_code == 403
    assert (await auditor.get(where)).status_code == 200
    for http, code in ((made.co, 403), (made.nobody, 401)):
        for method, path in (("POST", f"{ACTIONS}/stop"), ("GET", where), ("DELETE", where), ("GET", ACTIONS)):
            assert (await http.request(method, path)).status_code == code
