"""Ensembles on a whole node: gathered, saved, followed; whose they are; who is left out and why."""

import asyncio
import json
import time

import pytest
import pytest_asyncio
from running_node import BATTERY, SENML, World, settings_for, until

CHARGER = "https://gridspine.org/models/ev_charger"
INVERTER = "https://gridspine.org/models/pv_inverter"
AMSTERDAM, BERLIN = {"geo:lat": 52.37, "geo:long": 4.9}, {"geo:lat": 52.52, "geo:long": 13.4}
MERGE = {"content-type": "application/merge-patch+json"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("ensembles") / "data", settings_for())
    for name, model in (("b1", BATTERY), ("b2", BATTERY), ("c1", CHARGER), ("pv", INVERTER)):
        await made.thing(f"urn:example:{name}", model, adapter="none")
    for name, place in (("b1", AMSTERDAM), ("b2", BERLIN), ("c1", AMSTERDAM)):
        answer = await made.op.patch(f"/things/urn:example:{name}", content=json.dumps(place), headers=MERGE)
        assert answer.status_code == 204, answer.text
    await say(made, "b1", activePower=1000, stateOfCharge=80)
    await say(made, "b2", activePower=-2000, stateOfCharge=10)
    await say(made, "c1", activePower=7000)
    await say(made, "pv", activePower=-3000)
    yield made
    await made.stop()


async def say(world, name, **values):
    body = [{"n": f"urn:example:{name}/{point}", "v": value, "t": time.time()} for point, value in values.items()]
    answer = await world.op.post("/readings", json=body, headers=SENML)
    assert answer.status_code == 200, answer.text


async def gather(world, http=None, **criteria):
    answer = await (http or world.op).post("/ensembles/gather", json=criteria)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(found):
    return sorted(one["id"].removeprefix("urn:example:") for one in found["members"])


async def test_by_what_they_are(world):
    assert ids(await gather(world, models=[BATTERY])) == ["b1", "b2"]
    assert ids(await gather(world, points=["stateOfCharge"])) == ["b1", "b2", "c1"]
    found = await gather(world, quantities=["frequency"])
    assert (ids(found), found["leftOut"]) == (["pv"], {"it has no such point": 3})


async def test_by_place(world):
    box = {"bbox": [4, 52, 6, 53]}
    found = await gather(world, place=box)
    assert ids(found) == ["b1", "c1"]
    assert found["leftOut"] == {"its place is not known": 1, "another place": 1}
    assert ids(await gather(world, place={"circle": {"latitude": 52.5, "longitude": 13.4, "radiusM": 9000}})) == ["b2"]


async def test_by_state_in_whatever_unit(world):
    condition = {"point": "activePower", "op": ">", "value": 0.5, "unit": "kW"}
    found = await gather(world, state=[condition])
    assert ids(found) == ["b1", "c1"]
    assert found["sums"]["powerW"] == 8000
    assert found["leftOut"] == {"activePower: another value": 2}


async def test_what_can_be_shed_and_raised(world):
    """A battery discharges, a charger stops; generation can only be turned down, which raises what is imported."""
    found = await gather(world, can={"direction": "shed"})
    assert {one["id"][12:]: one["shedW"] for one in found["members"]} == {"b1": 6000, "b2": 3000, "c1": 7000}
    assert found["sums"]["shedW"] == 16_000
    found = await gather(world, can={"direction": "raise", "atLeastW": 2500})
    assert {one["id"][12:]: one["raiseW"] for one in found["members"]} == {"b1": 4000, "b2": 7000, "pv": 3000}
    assert found["leftOut"] == {"it cannot be commanded to do so": 1}


async def test_a_store_must_hold_the_energy(world):
    """10 kWh: b1 holds 7.5 kWh above its 5 %, b2 0.5 kWh; for two hours that is 3.75 kW and 250 W."""
    asked = {"direction": "shed", "forS": 7200, "ratedEnergyWh": 10_000}
    found = await gather(world, models=[BATTERY], can=asked)
    (first,) = found["members"]
    assert (first["shedW"], first["energyWh"]) == (pytest.approx(4750), pytest.approx(7500))
    assert found["leftOut"]["too little power"] == 1, "b2 gives 2 kW already: longer than it can"
    assert await left_out(world, direction="shed", forS=7200) == {
        "it cannot be commanded to do so": 1, "what its store holds is not known": 2,
    }  # fmt: skip
    assert (await left_out(world, direction="shed", forS=1e6))["no lease holds so long"] == 3


async def left_out(world, **can):
    return (await gather(world, can=can))["leftOut"]


async def test_who_is_commanded_or_suspended_is_left_out(world):
    command = {"thing": "urn:example:b1", "point": "activePowerSetpoint", "value": 100, "durationS": 600}
    made = (await world.op.post("/commands", json=command)).json()
    assert (await left_out(world, direction="raise"))["commanded already"] == 1
    assert "commanded already" not in await left_out(world, direction="raise", committed=True)
    later = {"direction": "raise", "from": "2100-01-01T00:00:00Z"}
    assert "commanded already" not in await left_out(world, **later)
    await world.op.post(f"/commands/{made['id']}/cancel", json={})
    step = {"to": "suspended", "why": "a test"}
    answer = await world.op.post("/things/urn:example:c1/lifecycle", json=step)
    assert answer.status_code < 300, answer.text
    assert (await left_out(world, direction="shed"))["out of automatic control"] == 1
    await world.op.post("/things/urn:example:c1/lifecycle", json={"to": "resumed", "why": "over"})


async def test_old_values_do_not_count(world):
    body = [{"n": "urn:example:m9/voltage", "v": 230, "t": time.time() - 30}]
    await world.thing("urn:example:m9")
    await world.op.post("/readings", json=body, headers=SENML)
    condition = {"point": "voltage", "op": ">", "value": 0}
    assert "m9" in ids(await gather(world, state=[condition]))
    found = await gather(world, state=[condition], maxAgeS=5)
    assert "m9" not in ids(found)
    assert found["leftOut"]["voltage: no value that is good and recent"] >= 1
    await world.op.delete("/things/urn:example:m9")


async def test_a_value_that_stays_as_it_is_grows_no_older_while_its_device_goes_on_saying_so(world):
    await world.thing("urn:example:m9")
    for ago_s in (30, 1):
        body = [{"n": "urn:example:m9/voltage", "v": 230, "t": time.time() - ago_s}]
        answer = (await world.op.post("/readings", json=body, headers=SENML)).json()
    assert answer["suppressed"] == 1
    condition = {"point": "voltage", "op": ">", "value": 0}
    assert "m9" in ids(await gather(world, state=[condition], maxAgeS=15))
    await world.op.delete("/things/urn:example:m9")


async def test_others_find_nothing_of_it(world):
    assert await gather(world, world.co) | {"at": ""} == {
        "at": "", "considered": 0, "leftOut": {}, "members": [], "offset": 0,
        "sums": {"count": 0, "powerW": 0, "shedW": 0, "raiseW": 0, "energyWh": 0, "powerUnknown": 0},
    }  # fmt: skip
    saved = (await world.op.post("/ensembles", json={"title": "T", "criteria": {}})).json()
    for method, end in (("GET", ""), ("GET", "/stream"), ("DELETE", "")):
        answer = await world.co.request(method, f"/ensembles/{saved['id']}{end}")
        assert answer.status_code == 404
    assert (await world.co.get("/ensembles")).json() == []
    assert (await world.op.delete(f"/ensembles/{saved['id']}")).status_code == 204
    assert (await world.op.get(f"/ensembles/{saved['id']}")).status_code == 404


@pytest.mark.parametrize(
    "criteria",
    [
        {"state": [{"point": "x", "op": ">", "value": 1, "unit": "furlong"}]},
        {"state": [{"point": "x", "op": "~", "value": 1}]},
        {"state": [{"point": "x", "op": ">", "value": 1}] * 17},
        {"quantities": ["love"]},
        {"can": {"direction": "shed", "forS": -1}},
        {"can": {"direction": "shed", "from": "tomorrow"}},
        {"place": {"bbox": [0, 0, 0]}},
        {"place": {"geometry": {"type": "Polygon", "coordinates": [[[0, 0]]]}}},
        {"maxAgeS": 0},
        {"more": 1},
    ],
)
async def test_what_is_no_criterion_is_refused(world, criteria):
    answer = await world.op.post("/ensembles/gather", json=criteria)
    assert answer.status_code == 400, answer.text


async def test_followed_who_joins_and_who_leaves(world):
    """A margin and a hold keep members from flapping; the first change names all members."""
    condition = {"point": "activePower", "op": ">", "value": 500, "margin": 200}
    body = {"title": "Busy", "holdS": 0, "criteria": {"models": [BATTERY], "state": [condition]}}
    saved = (await world.op.post("/ensembles", json=body)).json()
    seen: list[dict] = []

    async def follow():
        async with world.op.stream("GET", f"/ensembles/{saved['id']}/stream", timeout=None) as answer:
            name = ""
            async for line in answer.aiter_lines():
                field, _, value = line.partition(": ")
                name = value if field == "event" else name
                if field == "data":
                    seen.append({"event": name, **json.loads(value)})

    following = asyncio.ensure_future(follow())
    await until(lambda: seen)
    assert (seen[0]["joined"], seen[0]["count"], seen[0]["sums"]["count"]) == (["urn:example:b1"], 1, 1)
    await say(world, "b2", activePower=600)
    await until(lambda: any("urn:example:b2" in one["joined"] for one in seen))
    await say(world, "b2", activePower=400)  # within the margin: it stays
    await say(world, "b1", activePower=200)
    await until(lambda: any("urn:example:b1" in one["left"] for one in seen))
    assert not any("urn:example:b2" in one["left"] for one in seen)
    await world.op.delete(f"/ensembles/{saved['id']}")
    await asyncio.wait_for(following, 60)
    assert seen[-1] == {"event": "end", "reason": "removed"}


async def test_the_list_of_a_place(world):
    compact = {"accept": "application/vnd.gridspine.things+json"}

    async def listed(http=None, **params):
        answer = await (http or world.op).get("/things", params=params, headers=compact)
        assert answer.status_code == 200, answer.text
        return [one["id"][12:] for one in answer.json()], answer.headers.get("link", "")

    assert (await listed(bbox="4,52,6,53"))[0] == ["b1", "c1"]
    assert (await listed(within="52.52,13.4,1000"))[0] == ["b2"]
    found, link = await listed(bbox="4,52,6,53", limit=1)
    assert found == ["b1"]
    assert "bbox=4%2C52%2C6%2C53" in link
    assert (await listed(world.co, bbox="4,52,6,53"))[0] == []
    geo = {"accept": "application/geo+json"}
    layer = (await world.op.get("/things", params={"bbox": "13,52,14,53"}, headers=geo)).json()
    (feature,) = layer["features"]
    assert feature["geometry"] == {"type": "Point", "coordinates": [13.4, 52.52]}
    device, http = world.client("northside-networks", "device", kind="device")
    await world.thing("urn:example:mine", devices=[device])
    assert (await listed(http, bbox="4,52,6,53"))[0] == []
    for params in ({"bbox": "1,2,3"}, {"bbox": "a,b,c,d"}, {"within": "99,0,1"}, {"bbox": "0,9,1,8"}):
        assert (await world.op.get("/things", params=params)).status_code == 400
