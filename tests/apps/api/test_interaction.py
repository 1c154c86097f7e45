"""Properties as strangers use them: plain values in JSON and CBOR, SenML, and writes that become leases."""

import cbor2
import pytest
import pytest_asyncio
from running_node import BATTERY, METER, SENML, World, running, settings_for

from gridspine.infra.runtime.settings import Commands

pytestmark = pytest.mark.asyncio(loop_scope="module")
METER_ID, BATTERY_ID = "urn:example:m1", "urn:example:b1"
METER_URL, BATTERY_URL = f"/things/{METER_ID}", f"/things/{BATTERY_ID}"
SETPOINT = f"{BATTERY_URL}/properties/activePowerSetpoint/value"
JSON = {"content-type": "application/json"}
CBOR = {"content-type": "application/cbor"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory):
    world = await World.start(tmp_path_factory.mktemp("interaction") / "data")
    await world.thing(METER_ID)
    await world.thing(BATTERY_ID, BATTERY, adapter="none")
    readings = [
        {"n": f"{METER_ID}/voltage", "v": 230.5, "t": 1.7e9},
        {"n": f"{METER_ID}/activePower", "v": -12, "t": 1.7e9, "q_": 0},
        {"n": f"{BATTERY_ID}/operatingState", "v": 4, "t": 1.7e9},
    ]
    await world.op.post("/readings", json=readings, headers=SENML)
    yield world
    await world.stop()


async def test_a_value_is_what_its_schema_says(made):
    answer = await made.op.get(f"{METER_URL}/properties/voltage/value")
    assert (answer.status_code, answer.json()) == (200, 230.5)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["gridspine-observed"] == "2023-11-14T22:13:20Z"
    assert answer.headers["gridspine-unit"] == "V"
    assert "good" in answer.headers["gridspine-quality"] or "old-data" in answer.headers["gridspine-quality"]
    state = await made.op.get(f"{BATTERY_URL}/properties/operatingState/value")
    assert state.text == "4", "an integer is written as one"


async def test_the_same_value_as_cbor(made):
    answer = await made.op.get(f"{METER_URL}/properties/voltage/value", headers={"accept": "application/cbor"})
    assert answer.headers["content-type"] == "application/cbor"
    assert cbor2.loads(answer.content) == 230.5
    answer = await made.op.get(f"{METER_URL}/values", headers={"accept": "text/html, application/cbor;q=0.5"})
    assert cbor2.loads(answer.content) == {"voltage": 230.5, "activePower": -12.0}
    answer = await made.op.get(f"{METER_URL}/properties/voltage/value", headers={"accept": "image/png"})
    assert answer.status_code == 406
    assert "application/cbor" in answer.json()["detail"]


async def test_what_was_never_reported_has_no_value(made):
    answer = await made.op.get(f"{METER_URL}/properties/frequency/value")
    assert answer.status_code == 404
    assert "nothing was reported" in answer.json()["detail"]
    answer = await made.op.get(f"{METER_URL}/properties/nothing/value")
    assert (answer.status_code, "no point" in answer.json()["detail"]) == (404, True)


async def test_values_of_all_or_of_some(made):
    assert (await made.op.get(f"{METER_URL}/values")).json() == {"voltage": 230.5, "activePower": -12.0}
    some = await made.op.get(f"{METER_URL}/values", params={"names": "voltage,frequency"})
    assert some.json() == {"voltage": 230.5}
    none = await made.op.get(f"{METER_URL}/values", params={"names": "voltage,nothing"})
    assert (none.status_code, "nothing" in none.json()["detail"]) == (404, True)


async def test_a_description_leads_to_its_model(made):
    (link,) = (one for one in (await made.op.get(METER_URL)).json()["links"] if one["rel"] == "type")
    model = await made.op.get(link["href"])
    assert model.headers["content-type"] == link["type"] == "application/tm+json"
    assert model.json()["id"] == METER


async def test_senml_with_times_and_units(made):
    headers = {"accept": "application/senml+json"}
    answer = await made.op.get(f"{METER_URL}/properties/voltage", headers=headers)
    (record,) = answer.json()
    assert (record["n"], record["u"], record["v"], record["t"]) == (f"{METER_ID}/voltage", "V", 230.5, 1.7e9)
    whole = await made.op.get(f"{METER_URL}/properties", headers={"accept": "application/senml+cbor"})
    assert {record[0] for record in cbor2.loads(whole.content)} == {f"{METER_ID}/voltage", f"{METER_ID}/activePower"}
    json_first = await made.op.get(
        f"{METER_URL}/properties", headers={"accept": "application/json, " + headers["accept"]}
    )
    assert {one["name"] for one in json_first.json()} >= {"voltage", "frequency"}
    nothing = await made.op.get(f"{METER_URL}/properties/nothing", headers=headers)
    assert nothing.status_code == 404


@pytest.mark.parametrize(
    ("body", "headers"), [(b"-1500", {"content-type": "application/json"}), (cbor2.dumps(-1400), CBOR)]
)
async def test_a_write_is_a_lease(made, body, headers):
    answer = await made.op.put(SETPOINT, params={"durationS": 60}, content=body, headers=headers)
    assert answer.status_code == 204, answer.text
    command = (await made.op.get(answer.headers["location"])).json()
    assert (command["point"], command["state"]) == ("activePowerSetpoint", "accepted") or command["state"] == "sent"
    assert command["value"] in {-1500.0, -1400.0}
    read = await made.op.get(SETPOINT)
    assert read.status_code == 404, "it reads as reported, and nothing was reported"


async def test_a_write_says_how_long_or_holds_for_a_quarter_of_an_hour(made):
    answer = await made.op.put(SETPOINT, json=100)
    command = (await made.op.get(answer.headers["location"])).json()
    from datetime import datetime

    held = datetime.fromisoformat(command["until"]) - datetime.fromisoformat(command["from"])
    assert held.total_seconds() == 900


async def test_the_same_key_is_the_same_command(made):
    asked = [await made.op.put(SETPOINT, params={"key": "k1", "durationS": 30}, json=7) for _ in range(2)]
    assert asked[0].headers["location"] == asked[1].headers["location"]


@pytest.mark.parametrize(
    ("url", "params", "content", "kind", "status", "word"),
    [
        (SETPOINT, {}, b"9999999", "application/json", 409, "beyond"),
        (SETPOINT, {"durationS": "99999999"}, b"1", "application/json", 409, "longer than"),
        (SETPOINT, {"durationS": "-1"}, b"1", "application/json", 400, "durationS"),
        (SETPOINT, {}, b"null", "application/json", 400, "number"),
        (SETPOINT, {}, b"", "application/json", 400, "number"),
        (SETPOINT, {}, b'"1"', "application/json", 400, "number"),
        (SETPOINT, {}, b"1e999", "application/json", 400, ""),
        (SETPOINT, {}, b"1" * 400, "application/json", 400, ""),
        (SETPOINT, {}, b"[" * 4000, "application/json", 400, ""),
        (SETPOINT, {}, b"1" * 5000, "application/json", 413, ""),
        (SETPOINT, {}, b"\xff", "application/cbor", 400, "cbor"),
        (SETPOINT, {}, cbor2.dumps(float("nan")), "application/cbor", 400, "number"),
        (SETPOINT, {}, b"1", "text/plain", 415, "application/json"),
        (f"{METER_URL}/properties/voltage/value", {}, b"1", "application/json", 400, "cannot be written"),
        (f"{METER_URL}/properties/nothing/value", {}, b"1", "application/json", 404, "no point"),
    ],
)
async def test_bad_writes_are_answered_with_what_to_do(made, url, params, content, kind, status, word):
    before = (await made.op.get("/commands", params={"thing": BATTERY_ID})).json()
    answer = await made.op.put(url, params=params, content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json()["detail"]
    after = (await made.op.get("/commands", params={"thing": BATTERY_ID})).json()
    assert [one for one in after if one["state"] != "refused"] == [one for one in before if one["state"] != "refused"]


async def test_what_a_second_person_must_approve_is_accepted_and_not_done(tmp_path):
    settings = settings_for(commands=Commands(approval_above_w=1000))
    async with running(tmp_path / "data", settings) as world:
        await world.thing(BATTERY_ID, BATTERY, adapter="none")
        answer = await world.op.put(SETPOINT, json=4000)
        assert answer.status_code == 202
        command = (await world.op.get(answer.headers["location"])).json()
        assert command["state"] == "awaiting-approval"
        where = f"{BATTERY_URL}/actions/hold/{command['id'].removeprefix('urn:uuid:')}"
        assert (await world.op.get(where)).json()["status"] == "pending"


async def test_who_may_not_learns_nothing(made):
    _, auditor = made.client("northside-networks", "auditor")
    assert (await auditor.get(f"{METER_URL}/values")).status_code == 200
    assert (await auditor.put(SETPOINT, json=1)).status_code == 403
    for path in ("values", "properties/voltage/value"):
        known, unknown = [await made.co.get(f"/things/{id_}/{path}") for id_ in (METER_ID, "urn:example:zz")]
        assert known.status_code == unknown.status_code == 403
        assert METER_ID not in known.text
        assert (await made.nobody.get(f"/things/{METER_ID}/{path}")).status_code == 401
    assert (await made.co.put(SETPOINT, json=1)).status_code == 403
