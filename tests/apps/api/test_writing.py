"""Several properties of a Thing written at once: all or none, and the problem names which stands in the way."""

import cbor2
import pytest
import pytest_asyncio
from running_node import METER, World, running, settings_for

from gridspine.infra.runtime.settings import Commands

SITE = "https://gridspine.org/models/site"
SITE_ID = "urn:example:site"
URL = f"/things/{SITE_ID}/values"
LIMITS = {"importLimit": 4000, "exportLimit": 2000}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory):
    world = await World.start(tmp_path_factory.mktemp("writing") / "data")
    await world.thing(SITE_ID, SITE, adapter="none")
    await world.thing("urn:example:m1", METER)
    yield world
    await world.stop()


async def commands(world):
    return (await world.op.get("/commands", params={"thing": SITE_ID})).json()


async def test_the_description_says_how(made):
    td = (await made.op.get(f"/things/{SITE_ID}")).json()
    forms = [form for form in td["forms"] if "writemultipleproperties" in form["op"]]
    assert [form["contentType"] for form in forms] == ["application/json", "application/cbor"]
    assert forms[0]["op"] == ["writeallproperties", "writemultipleproperties"]
    assert (forms[0]["htv:methodName"], forms[0]["href"].partition("{")[0]) == ("PUT", "values")
    assert {"durationS", "priority", "key", "reason"} <= td["uriVariables"].keys()
    meter = (await made.op.get("/things/urn:example:m1")).json()
    assert not any("writemultipleproperties" in form["op"] for form in meter["forms"]), "nothing of it can be written"


@pytest.mark.parametrize(
    ("body", "media"), [(None, "application/json"), (cbor2.dumps(LIMITS), "application/cbor")], ids=["json", "cbor"]
)
async def test_all_become_leases_of_one_order(made, body, media):
    if body is None:
        answer = await made.op.put(URL, params={"durationS": 60}, json=LIMITS)
    else:
        answer = await made.op.put(URL, params={"durationS": 60}, content=body, headers={"content-type": media})
    assert (answer.status_code, answer.text) == (204, "")
    given = (await made.op.get(answer.headers["location"])).json()[:2]
    assert {one["point"]: one["value"] for one in given} == LIMITS
    assert len({one["batch"] for one in given}) == 1


async def test_the_same_key_is_the_same_order(made):
    before = len(await commands(made))
    for _ in range(2):
        answer = await made.op.put(URL, params={"durationS": 60, "key": "k"}, json=LIMITS)
        assert answer.status_code == 204, answer.text
    assert len(await commands(made)) == before + 2
    answer = await made.op.put(URL, params={"durationS": 60, "key": "k"}, json=LIMITS | {"importLimit": 1})
    assert (answer.status_code, "idempotency key" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "params", "status", "field"),
    [
        (LIMITS | {"nothing": 1}, {}, 400, "nothing"),
        (LIMITS | {"activePower": 1}, {}, 400, "activePower"),
        (LIMITS | {"exportLimit": "much"}, {}, 400, "exportLimit"),
        (LIMITS | {"exportLimit": None}, {}, 400, "exportLimit"),
        (LIMITS, {"durationS": 1e8}, 409, "importLimit"),
    ],
)
async def test_one_that_cannot_be_written_keeps_all_from_it(made, body, params, status, field):
    before = await commands(made)
    answer = await made.op.put(URL, params=params, json=body)
    assert answer.status_code == status, answer.text
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert field in answer.json()["detail"]
    assert await commands(made) == before


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"7", b"{", b'{"a":' * 2000])
async def test_what_is_no_object_of_values_is_refused(made, body):
    answer = await made.op.put(URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


async def test_who_may_not_command_may_not_write(made):
    assert (await made.co.put(URL, json=LIMITS)).status_code == 403
    assert (await made.op.put("/things/urn:example:m1/values", json={"voltage": 1})).status_code == 400


async def test_a_tag_on_one_of_them_keeps_all_from_it(made):
    """The limit alone would be taken."""
    url = "/things/urn:example:hp"
    await made.thing("urn:example:hp", "https://gridspine.org/models/heat_pump", adapter="none")
    tag = (await made.op.post(f"{url}/tags", json={"reason": "work", "point": "sgReadyMode"})).json()
    answer = await made.op.put(f"{url}/values", json={"activePowerLimit": 3000, "sgReadyMode": 2})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (409, "sgReadyMode")
    assert (await made.op.get("/commands", params={"thing": "urn:example:hp"})).json() == []
    await made.op.post(f"{url}/tags/{tag['id']}/remove", json={"reason": "done"})
    answer = await made.op.put(f"{url}/values", json={"activePowerLimit": 3000, "sgReadyMode": 2})
    assert answer.status_code == 204, answer.text


async def test_what_a_second_person_must_approve_waits_as_a_whole(tmp_path):
    async with running(tmp_path / "data", settings_for(commands=Commands(approval_above_w=1000))) as world:
        await world.thing(SITE_ID, SITE, adapter="none")
        answer = await world.op.put(URL, json=LIMITS)
        assert answer.status_code == 202, answer.text
        assert {one["state"] for one in await commands(world)} == {"awaiting-approval"}
