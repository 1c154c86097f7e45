"""Reports to programmes: made of history, one value an interval, by the enrolled organisation only."""

import time

import pytest
import pytest_asyncio
from running_node import METER, SENML, World, settings_for

from gridspine.kernel.time import US, format_rfc3339

pytestmark = pytest.mark.asyncio(loop_scope="module")
BEGIN_S = 1_700_000_100  # a whole quarter of an hour
ASKED = [
    {"payloadType": "DEMAND", "point": "activePower", "intervalS": 900},
    {"payloadType": "USAGE", "point": "activeEnergyImport", "intervalS": 900},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("reports") / "data", settings_for())
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def enrolled(world):
    """A meter of Brightfield with readings of an hour, in a programme; return what a report begins with."""
    programme = (await world.op.post("/programmes", json={"title": "P", "reports": ASKED, "open": True})).json()["id"]
    await world.co.post("/things", json={"id": "urn:example:home", "title": "Home", "model": METER})
    power, energy = "urn:example:home/activePower", "urn:example:home/activeEnergyImport"
    told = [(power, 0, 100), (power, 450, 300), (power, 900, 50), (energy, 0, 1000), (energy, 899, 1400)]
    body = [{"n": name, "v": value, "t": BEGIN_S + after_s} for name, after_s, value in told]
    body.append({"n": power, "v": 9_000, "t": BEGIN_S + 2_000, "q": 1})  # not valid
    assert (await world.co.post("/readings", json=body, headers=SENML)).status_code == 200
    asked = {"thing": "urn:example:home", "from": "2023-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    enrolment = (await world.co.post(f"/programmes/{programme}/enrolments", json=asked)).json()["id"]
    path = f"/programmes/{programme}/enrolments/{enrolment}/decision"
    assert (await world.op.post(path, json={"decision": "admit"})).status_code == 200
    return f"/programmes/{programme}/reports", {
        "enrolment": enrolment, "payloadType": "DEMAND",
        "from": "2023-11-14T22:15:00Z", "until": "2023-11-14T23:00:00Z",
    }  # fmt: skip


async def test_a_report_tells_means_and_first_readings_and_what_is_missing(world, enrolled):
    path, body = enrolled
    made = await world.co.post(path, json=body)
    assert made.status_code == 201, made.text
    (resource,) = made.json()["resources"]
    assert (resource["thing"], resource["unit"], resource["values"]) == ("urn:example:home", "W", [200, 50, None])
    usage = (await world.co.post(path, json=body | {"payloadType": "USAGE"})).json()
    assert usage["resources"][0]["values"] == [1000, None, None], "the first reading of a register"


async def test_who_runs_the_programme_reads_it_and_nobody_else(world, enrolled):
    path, body = enrolled
    id_ = (await world.co.post(path, json=body)).json()["id"]
    assert id_ in [one["id"] for one in (await world.op.get(path)).json()]
    assert (await world.op.get(f"{path}/{id_}")).json()["resources"][0]["values"] == [200, 50, None]
    world.node.identity.directory.add_organisation("third", "Third")
    _, third = world.client("third", "operator", "owner")
    assert (await third.get(path)).json() == []
    assert (await third.get(f"{path}/{id_}")).status_code == 404
    assert (await third.post(path, json=body)).status_code == 404
    assert (await world.op.post(path, json=body)).status_code == 404, "by the enrolled organisation's act only"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"payloadType": "GUESS"}, 400, "GUESS"), ({"until": "2023-11-14T22:20:00Z"}, 400, "whole intervals"),
        ({"until": "2023-11-14T22:15:00Z"}, 400, "later than from"), ({"from": "2023-01-01T00:00:00Z"}, 400, "values"),
        ({"until": "2099-11-14T22:15:00Z"}, 409, "not over"),
        ({"from": "2022-11-14T22:15:00Z", "until": "2022-11-14T22:30:00Z"}, 409, "not enrolled"),
        ({"enrolment": "urn:none"}, 404, "enrolment"), ({"event": "urn:none"}, 404, "event"),
    ],
)  # fmt: skip
async def test_what_cannot_be_told_is_refused(world, enrolled, fields, status, words):
    path, body = enrolled
    answer = await world.co.post(path, json=body | fields)
    assert answer.status_code == status, answer.text
    assert words in answer.text


class Live:
    """A Thing that is read now, in a programme that asks for its power every second."""

    def __init__(self, world, thing):
        self.world, self.thing = world, thing
        self.programme = self.enrolment = ""

    async def begin(self, model=METER):
        asked = {"payloadType": "DEMAND", "point": "activePower", "intervalS": 1}
        made = await self.world.op.post("/programmes", json={"title": "Live", "reports": [asked], "open": True})
        self.programme = made.json()["id"]
        await self.world.co.post("/things", json={"id": self.thing, "title": "Steady", "model": model})
        body = {"thing": self.thing, "from": "2023-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
        path = f"/programmes/{self.programme}/enrolments"
        self.enrolment = (await self.world.co.post(path, json=body)).json()["id"]
        await self.world.op.post(f"{path}/{self.enrolment}/decision", json={"decision": "admit"})

    async def read(self, power_w, at_s, **headers):
        reading = [{"n": f"{self.thing}/activePower", "v": power_w, "t": at_s}]
        return (await self.world.co.post("/readings", json=reading, headers=SENML | headers)).json()

    async def told(self, begin_s, count):
        span = {"from": format_rfc3339(begin_s * US), "until": format_rfc3339((begin_s + count) * US)}
        body = {"enrolment": self.enrolment, "payloadType": "DEMAND"} | span
        path = f"/programmes/{self.programme}/reports"
        answer = await self.world.co.post(path, json=body)
        assert answer.status_code == 201, answer.text
        assert (await self.world.op.get(f"{path}/{answer.json()['id']}")).json() == answer.json()
        return answer.json()["resources"][0]


async def test_a_value_that_its_deadband_holds_back_is_told_as_what_was_read_before(world):
    live = Live(world, "urn:example:steady")
    await live.begin()
    read, told, thing = live.read, live.told, live.thing
    began_s = int(time.time()) - 5
    assert (await read(1_000, began_s + 0.5))["accepted"] == 1
    assert (await read(1_001, began_s + 2.5))["suppressed"] == 1
    held = {"values": [1_000] * 3, "earlier": [0, 1, 2]}
    assert await told(began_s + 1, 3) == {"thing": thing, "unit": "W"} | held
    assert (await read(2_000, began_s + 4.5))["accepted"] == 1
    assert await told(began_s + 1, 3) == {"thing": thing, "unit": "W"} | held, "what came later changes nothing"
    assert await told(began_s - 2, 3) == {"thing": thing, "unit": "W", "values": [None, None, 1_000]}


async def test_what_came_late_holds_before_what_the_twin_shows(world):
    """Backfill moves no twin back, nor on: history knows of it."""
    live = Live(world, "urn:example:late")
    await live.begin()
    began_s = int(time.time()) - 20
    assert (await live.read(1_000, began_s + 0.5))["accepted"] == 1
    assert (await live.read(0, began_s + 10.5, Backfill="true"))["accepted"] == 1
    assert (await live.told(began_s + 12, 2))["values"] == [0, 0]


async def test_a_value_lasts_not_where_what_changes_is_held_back_for_a_time(world):
    model = {
        "@context": "https://www.w3.org/2022/wot/td/v1.1", "@type": "tm:ThingModel", "id": "urn:example:seldom",
        "title": "Seldom", "version": {"model": "1.0.0"},
        "properties": {"activePower": {
            "type": "number", "unit": "W", "readOnly": True, "gs:readingType": {"unit": "W"},
            "gs:screen": {"minIntervalS": 900, "maxSilenceS": 3_600},
        }},
    }  # fmt: skip
    answer = await world.co.post("/models", json=model)
    assert answer.status_code == 201, answer.text
    live = Live(world, "urn:example:seldom-read")
    await live.begin(answer.json()["id"])
    began_s = int(time.time()) - 20
    assert (await live.read(1_000, began_s + 0.5))["accepted"] == 1
    assert (await live.read(5_000, began_s + 5.5))["suppressed"] == 1
    assert (await live.told(began_s + 6, 2))["values"] == [None, None]
