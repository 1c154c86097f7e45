"""Eclipse Thingweb's node-wot, from npm, uses the Things of a running node: found, read, written, invoked, observed.

Its client follows forms; what it cannot do is worked around as its users would: it sends no token with an event
stream (so it observes by long poll, or by a ticket), and has no call to query or cancel an action (so it takes the
form by its index).
"""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import pytest_asyncio
from running_node import BATTERY, SENML, World

HERE = Path(__file__).parent / "wot"
METER_ID, BATTERY_ID = "urn:example:m1", "urn:example:b%25'(1)'"
SITE_ID, SITE = "urn:example:s1", "https://gridspine.org/models/site"
SETPOINT = "activePowerSetpoint"
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not shutil.which("node") or not shutil.which("npm"), reason="node and npm are not installed"),
]


class Stranger:
    """The stranger's process: one request at a time; what it hears by itself is kept by name."""

    def __init__(self, process):
        self.process, self.heard, self.count = process, {}, 0
        self.answers = {}
        self.reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, token):
        made = cls(
            await asyncio.create_subprocess_exec(
                "node", str(HERE / "consumer.cjs"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                limit=1 << 22,
            )
        )  # fmt: skip
        await made("start", token=token)
        return made

    async def __call__(self, do, **more):
        """Let it do something; return the result, or raise what it said went wrong."""
        self.count += 1
        self.answers[self.count] = future = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps({"id": self.count, "do": do, **more}).encode() + b"\n")
        said = await asyncio.wait_for(future, 30)
        if "error" in said:
            raise AssertionError(said["error"])
        return said.get("result")

    async def hears(self, name, fits=lambda data: True):
        """Return the first data of that name that fits."""
        queue = self.heard.setdefault(name, asyncio.Queue())
        while True:
            said = await asyncio.wait_for(queue.get(), 30)
            assert "error" not in said, said
            if fits(said["data"]):
                return said["data"]

    async def _read(self):
        async for line in self.process.stdout:
            said = json.loads(line)
            if "heard" in said:
                self.heard.setdefault(said["heard"], asyncio.Queue()).put_nowait(said)
            else:
                self.answers.pop(said["id"]).set_result(said)

    async def stop(self):
        self.process.stdin.close()
        await self.process.wait()
        await self.reading


@pytest.fixture(scope="module")
def installed():
    """Install exactly what is locked, unless that is there."""
    if not (HERE / "node_modules" / ".package-lock.json").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, check=True, env=os.environ, timeout=240)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("wot") / "data")
    await made.thing(METER_ID)
    await made.thing(BATTERY_ID, BATTERY, adapter="none")
    await made.thing(SITE_ID, SITE, adapter="none")
    await report(made, METER_ID, voltage=230.5, activePower=1500)
    await report(made, BATTERY_ID, stateOfCharge=60, operatingState=4, activePowerSetpoint=-5500)
    saved = await made.op.post("/ensembles", json={"title": "Metered", "criteria": {"points": ["voltage"]}})
    made.ensemble = saved.json()["id"]
    await made.node.plants.look(all_of_them=True)
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stranger(installed, world):
    made = await Stranger.start(world.op.headers["authorization"].removeprefix("Bearer "))
    walked = await made("walk", url=f"{world.url}/.well-known/wot")
    assert "ThingDirectory" in walked["directory"]
    assert walked["found"] == sorted([METER_ID, BATTERY_ID, SITE_ID, world.ensemble])
    made.directory = walked["id"]
    yield made
    await made.stop()


async def report(world, thing, **values):
    now = world.node.clock.now_us() / 1e6
    body = [{"n": f"{thing}/{name}", "v": value, "t": now} for name, value in values.items()]
    answer = await world.op.post("/readings", json=body, headers=SENML)
    assert answer.json()["accepted"] == len(values), answer.text


async def test_it_reads_one_some_and_all(stranger):
    assert await stranger("read", thing=METER_ID, name="voltage") == 230.5
    assert await stranger("read", thing=BATTERY_ID, name="operatingState") == 4
    names = ["voltage", "activePower"]
    assert await stranger("readAll", thing=METER_ID, names=names) == {"voltage": 230.5, "activePower": 1500}


async def test_it_reads_all_of_a_thing_that_has_reported_all(world, stranger):
    await report(world, METER_ID, frequency=50, activeEnergyImport=1000, activeEnergyExport=5)
    found = await stranger("readAll", thing=METER_ID)
    assert {*found} == {"voltage", "activePower", "frequency", "activeEnergyImport", "activeEnergyExport"}


async def test_it_takes_what_is_read_beyond_what_may_be_written(stranger):
    """Its client holds what it reads against the data schema."""
    assert await stranger("read", thing=BATTERY_ID, name=SETPOINT) == -5500


async def test_it_reads_cbor_by_its_form(stranger):
    td = await stranger("td", thing=METER_ID)
    forms = td["properties"]["voltage"]["forms"]
    index = next(at for at, form in enumerate(forms) if form["contentType"] == "application/cbor")
    assert await stranger("read", thing=METER_ID, name="voltage", options={"formIndex": index}) == 230.5


async def test_it_hears_that_nothing_was_reported(stranger):
    with pytest.raises(AssertionError, match="Not Found"):
        await stranger("read", thing=BATTERY_ID, name="activePower")


async def test_it_writes_for_as_long_as_it_says(world, stranger):
    options = {"uriVariables": {"durationS": 120, "key": "wot-1"}}
    await stranger("write", thing=BATTERY_ID, name=SETPOINT, value=-1234, options=options)
    (command,) = (await world.op.get("/commands", params={"thing": BATTERY_ID})).json()
    assert (command["point"], command["value"]) == (SETPOINT, -1234)
    with pytest.raises(AssertionError, match="Conflict"):
        await stranger("write", thing=BATTERY_ID, name=SETPOINT, value=99_999)


async def test_it_writes_several(world, stranger):
    """Its client writes them one by one, whatever forms there are; the form of the whole Thing is used beside it."""
    await stranger("writeMany", thing=SITE_ID, values={"importLimit": 9000, "exportLimit": 3000})
    given = (await world.op.get("/commands", params={"thing": SITE_ID})).json()
    assert {one["point"]: one["value"] for one in given} == {"importLimit": 9000, "exportLimit": 3000}
    td = await stranger("td", thing=SITE_ID)
    form = next(form for form in td["forms"] if "writemultipleproperties" in form["op"])
    answer = await world.op.put(td["base"] + form["href"].partition("{")[0], json={"importLimit": 8000})
    assert answer.status_code == 204, answer.text


async def test_it_reads_and_observes_an_ensemble(world, stranger):
    names = ["activePower", "memberCount"]
    assert await stranger("readAll", thing=world.ensemble, names=names) == {"activePower": 1500, "memberCount": 1}
    td = await stranger("td", thing=world.ensemble)
    assert [one["href"].rpartition("/")[2] for one in td["links"] if one["rel"] == "item"] == [METER_ID]
    await stranger("observe", thing=world.ensemble, name="activePower", **{"as": "sum"})
    assert await stranger.hears("sum") == 1500
    await report(world, METER_ID, activePower=1600)
    await world.node.plants.look(all_of_them=True)
    assert await stranger.hears("sum", lambda data: data == 1600) == 1600
    await stranger("end", name="sum")
    await report(world, METER_ID, activePower=1500)


async def test_it_invokes_queries_and_cancels(world, stranger):
    given = {"property": SETPOINT, "value": 700, "durationS": 300}
    status = await stranger("invoke", thing=BATTERY_ID, name="hold", input=given)
    assert status["status"] in {"pending", "running"}
    forms = (await stranger("td", thing=BATTERY_ID))["actions"]["hold"]["forms"]
    index = {form["op"][0]: at for at, form in enumerate(forms)}
    variables = {"uriVariables": {"invocation": status["href"].rpartition("/")[2]}}
    again = await stranger(
        "invoke", thing=BATTERY_ID, name="hold", input=None, options={"formIndex": index["queryaction"], **variables}
    )
    assert again["output"]["command"] == status["output"]["command"]
    await stranger("cancel", thing=BATTERY_ID, name="hold", options={"formIndex": index["cancelaction"], **variables})
    assert (await world.op.get(f"/commands/{again['output']['command']}")).json()["state"] == "cancelled"


async def test_it_observes_a_property(world, stranger):
    await stranger("observe", thing=METER_ID, name="voltage")
    assert await stranger.hears("voltage") == 230.5
    for volts in (235, 240, 245):
        await report(world, METER_ID, voltage=volts)
        assert await stranger.hears("voltage", lambda data, volts=volts: data == volts) == volts
    await stranger("end", name="voltage")


async def test_it_observes_by_an_event_stream_with_a_ticket(world, stranger):
    forms = (await stranger("td", thing=METER_ID))["properties"]["activePower"]["forms"]
    index = next(at for at, form in enumerate(forms) if form.get("subprotocol") == "sse")
    href = f"/things/{METER_ID}/properties/activePower/observe"
    ticket = (await world.op.post("/tickets", json={"href": href})).json()["ticket"]
    options = {"formIndex": index, "uriVariables": {"ticket": ticket}}
    await stranger("observe", thing=METER_ID, name="activePower", options=options)
    assert await stranger.hears("activePower") == 1500
    await report(world, METER_ID, activePower=1700)
    assert await stranger.hears("activePower") == 1700


async def test_it_registers_gets_patches_and_removes_a_description(stranger):
    """By the actions of the directory, which is a Thing as well."""
    lamp = {
        "@context": "https://www.w3.org/2022/wot/td/v1.1", "id": "urn:example:lamp", "title": "Lamp",
        "securityDefinitions": {"nosec": {"scheme": "nosec"}}, "security": "nosec",
    }  # fmt: skip
    named = {"uriVariables": {"id": lamp["id"]}}
    await stranger("act", thing=stranger.directory, name="createThing", input=lamp, options=named)
    found = await stranger("invoke", thing=stranger.directory, name="retrieveThing", input=None, options=named)
    assert (found["title"], found["id"]) == ("Lamp", lamp["id"])
    brighter = {"title": "A brighter lamp"}
    await stranger("act", thing=stranger.directory, name="partiallyUpdateThing", input=brighter, options=named)
    found = await stranger("invoke", thing=stranger.directory, name="retrieveThing", input=None, options=named)
    assert found["title"] == "A brighter lamp"
    await stranger("act", thing=stranger.directory, name="deleteThing", options=named)
    with pytest.raises(AssertionError, match="Not Found"):
        await stranger("invoke", thing=stranger.directory, name="retrieveThing", input=None, options=named)


async def test_it_subscribes_to_events(world, stranger):
    await stranger("subscribe", thing=BATTERY_ID, name="alarm")
    await stranger("subscribe", thing=BATTERY_ID, name="command")
    await report(world, BATTERY_ID, stateOfCharge=2)
    alarm = await stranger.hears("alarm")
    assert (alarm["point"], alarm["kind"]) == (f"{BATTERY_ID}/stateOfCharge", "low")
    await stranger("write", thing=BATTERY_ID, name=SETPOINT, value=321)
    assert (await stranger.hears("command", lambda data: data["value"] == 321))["point"] == SETPOINT
    await stranger("end", name="alarm")
    await stranger("end", name="command")


async def test_a_stranger_of_another_organisation_finds_nothing(installed, world):
    made = await Stranger.start(world.co.headers["authorization"].removeprefix("Bearer "))
    assert (await made("walk", url=f"{world.url}/.well-known/wot"))["found"] == []
    await made.stop()
