"""Agents of a running node: woken by readings, orders and time; canaries promoted and taken back; nothing restarted."""

import contextlib
import functools
import sys

import msgspec
import pytest
import pytest_asyncio

from gridspine.apps.cli.keys import new_key
from gridspine.infra.identity import jws
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import Channel
from gridspine.things.behaviour import SIGNATURE_TYPE, Behaviour, digest_of
from gridspine.things.incident import Incident

running_node = sys.modules["running_node"]
BATTERY, until = running_node.BATTERY, running_node.until
pytestmark = pytest.mark.asyncio(loop_scope="module")
COUNT = """
def on_reading(twin, state):
    n = state.get("n", 0) + 1
    charge = twin["points"]["stateOfCharge"]["value"]
    low = charge < 20
    return {"state": {"n": n}, "derived": {"operatingState": 2 if low else 6}, "alarms": {"stateOfCharge": low}}
"""
FULL = """
def on_reading(twin, state):
    if twin["points"]["stateOfCharge"]["value"] > 90:
        return {"set": {"activePowerSetpoint": {"value": -1000, "duration_s": 600}}}
"""
ECHO = """
def on_command(twin, state, order):
    return {"state": {"last": order["value"]}, "derived": {"operatingState": 7}}

def on_timer(twin, state):
    return {"state": {"ticks": state.get("ticks", 0) + 1}, "wake_in_s": 0.05}
"""


class Publisher:
    """An operator with a key, who signs packages."""

    def __init__(self, world):
        self.world, self.key = world, new_key()
        self.jwk = {k: v for k, v in self.key.as_dict(private=False).items() if k in {"kty", "crv", "x"}}
        self.kid = jws.thumbprint(self.jwk)
        world.node.identity.directory.add_key(world.op_id, self.jwk)

    def signed(self, text, **header):
        head = {"typ": SIGNATURE_TYPE, "kid": self.kid, **header}
        return jws.sign(head, {"digest": digest_of(text)}, self.key)

    async def publish(self, text, version="1.0.0", **fields):
        """Publish a behaviour and return the answer."""
        package = Behaviour(name=fields.pop("name"), version=version, model=BATTERY, text=text, **fields)
        body = msgspec.json.encode(package).decode()
        return await self.world.op.post("/behaviours", json={"package": body, "signature": self.signed(body)})

    async def deploy(self, name, version="1.0.0", **plan):
        answer = await self.world.op.post(
            f"/behaviours/{name}/deployment", json={"version": version, "share": 1, **plan}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def out(self, text, name, **fields):
        """Publish and deploy to all."""
        answer = await self.publish(text, name=name, **fields)
        assert answer.status_code == 201, answer.text
        await self.deploy(name)


@contextlib.asynccontextmanager
async def alone(publisher, name):
    """Stop a behaviour afterwards: tests share a node."""
    try:
        yield
    finally:
        await publisher.world.op.post(f"/behaviours/{name}/stop", json={})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    async with running_node.running(tmp_path_factory.mktemp("agents") / "data") as world:
        world.publisher = Publisher(world)
        yield world


async def battery(world, **more):
    return await world.thing(f"urn:example:b{world.node.points.thing_count}", BATTERY, **more)


async def charge(world, thing, *values, **headers):
    now_s = world.node.clock.now_us() / 1e6
    return await world.send(f"{thing}/stateOfCharge", values, begin_s=now_s - len(values), **headers)


def twin(world, thing, name):
    return world.node.twins.get(world.node.points.number(f"{thing}/{name}"))


def of_behaviours(world):
    return [one for one in world.node.alarms.table.alarms() if one.kind.value == "behaviour"]


def incidents_of(world):
    return [incident.title for incident in world.node.registry.read(lambda tx: tx.list(Incident))]


def health(world, name, version="1.0.0"):
    return world.node.agents.watch.health[f"northside-networks/{name}@{version}"]


async def test_a_reading_wakes_an_agent_that_derives_raises_an_alarm_and_remembers(world):
    publisher, thing = world.publisher, await battery(world)
    fields = {"listens": ("stateOfCharge",), "derives": ("operatingState",), "alarms": True, "min_interval_s": 0.05}
    async with alone(publisher, "count"):
        await publisher.out(COUNT, "count", **fields)
        await charge(world, thing, 50.0)
        await until(lambda: twin(world, thing, "operatingState").value == 6)
        assert twin(world, thing, "operatingState").quality & Quality.ESTIMATED
        await charge(world, thing, 10.0)
        await until(lambda: twin(world, thing, "operatingState").value == 2)
        raised = functools.partial(of_behaviours, world)
        assert [(one.point, one.active) for one in raised()] == [(f"{thing}/stateOfCharge", True)]
        await charge(world, thing, 50.0)
        await until(lambda: not any(one.active for one in raised()))
        states = world.node.agents.book.states["northside-networks/count"]
        assert states.get(world.node.points.thing_number(thing)) == {"n": 3}
        records = world.node.log.read("readings", 0, 0, max_records=10_000)
        sources = {source for record in records for source in decode_batch(record.body).sources}
        assert "behaviour:count@1.0.0" in sources, "what is derived comes from a source of its own"
        told = (await world.op.get("/metrics")).text
        assert 'gridspine_agent_calls_total{behaviour="northside-networks/count@1.0.0"} 3.0' in told
        assert "gridspine_emulated_twins 0.0" in told


async def test_set_points_go_through_the_commander_with_the_weakest_authority(world):
    publisher, thing = world.publisher, await battery(world)
    async with alone(publisher, "full"):
        await publisher.out(FULL, "full", listens=("stateOfCharge",), sets=("activePowerSetpoint",))
        await charge(world, thing, 95.0)
        await until(lambda: world.node.commands.commander.commands(thing))
        (command,) = world.node.commands.commander.commands(thing)
        assert (command.lease.value, command.lease.authority.value) == (-1000, "service")
        assert command.lease.principal == "behaviour:northside-networks/full@1.0.0"


async def test_orders_and_time_wake_agents(world):
    publisher, thing = world.publisher, await battery(world)
    fields = {
        "commands": True,
        "timer_s": 1.0,
        "derives": ("operatingState",),
        "min_interval_s": 0.05,
        "resident": True,
    }
    async with alone(publisher, "echo"):
        await publisher.out(ECHO, "echo", **fields)
        states = world.node.agents.book.states["northside-networks/echo"]
        number = world.node.points.thing_number(thing)
        await until(lambda: states.get(number).get("ticks", 0) >= 3)
        assert states.resident
        body = {"thing": thing, "point": "activePowerSetpoint", "value": 700, "durationS": 60}
        assert (await world.op.post("/commands", json=body)).status_code == 201
        await until(lambda: twin(world, thing, "operatingState").value == 7)


async def test_an_emulated_twin_acts_on_what_is_emulated_and_derives_what_is_emulated(world):
    publisher, thing = world.publisher, await battery(world)
    fields = {"listens": ("stateOfCharge",), "derives": ("operatingState",), "alarms": True, "min_interval_s": 0.05}
    async with alone(publisher, "count-emulated"):
        await publisher.out(COUNT, "count-emulated", **fields)
        await world.op.post(f"/things/{thing}/form", json={"form": "emulator", "external": True})
        await charge(world, thing, 80.0)  # what the real device still says wakes nobody
        await charge(world, thing, 10.0, channel="emulated")
        number = world.node.points.number(f"{thing}/operatingState")
        await until(lambda: (known := world.node.twins.channels.emulated(number)) is not None and known.value == 2)
        assert twin(world, thing, "operatingState").observed_us < 0, "nothing was reported"
        assert not [one for one in world.node.alarms.table.alarms() if one.active and thing in one.point]


async def test_a_fault_ends_a_call_and_is_tried_again_later(world):
    publisher, thing = world.publisher, await battery(world)
    pick = '[1][int(twin["points"]["stateOfCharge"]["value"]) - 50]'
    text = f'def on_reading(twin, state):\n    return {{"derived": {{"operatingState": {pick}}}}}\n'
    async with alone(publisher, "faulty"):
        answer = await publisher.publish(
            text, name="faulty", listens=("stateOfCharge",), derives=("operatingState",), min_interval_s=0.05
        )
        assert answer.status_code == 201, answer.text
        await publisher.deploy("faulty", maxFaultRate=1.0)
        await charge(world, thing, 60.0)
        await until(lambda: health(world, "faulty").faults >= 1)
        view = (await world.op.get("/behaviours/faulty/deployment")).json()
        assert "line 2" in view["health"][0]["lastFault"]
        await charge(world, thing, 50.0)
        await until(lambda: twin(world, thing, "operatingState").value == 1, 20)


async def test_a_bad_canary_is_taken_back_by_itself_and_never_touches_the_others(world):
    publisher = world.publisher
    things = [await battery(world) for _ in range(40)]
    fields = {"listens": ("stateOfCharge",), "derives": ("operatingState",), "alarms": True, "min_interval_s": 0.05}
    async with alone(publisher, "canary"):
        await publisher.out(COUNT, "canary", **fields)
        bad = COUNT.replace("charge < 20", 'charge["x"]')
        assert (await publisher.publish(bad, "1.1.0", name="canary", **fields)).status_code == 201
        view = await publisher.deploy("canary", "1.1.0", share=0.5, minCalls=5, observeS=3600)
        assert (view["state"], view["version"], view["canary"]) == ("canary", "1.0.0", "1.1.0")
        deployed = world.node.agents.behaviours.deployment("northside-networks", "canary")
        canaries = {thing for thing in things if deployed.of(thing) == "1.1.0"}
        assert 5 < len(canaries) < 35
        for thing in things:
            await charge(world, thing, 60.0)
        now = functools.partial(world.node.agents.behaviours.deployment, "northside-networks", "canary")
        await until(lambda: now().state == "running" and now().version == "1.0.0")
        assert now().bad == ("1.1.0",)
        await until(lambda: "A behaviour was rolled back" in incidents_of(world))
        stable = [thing for thing in things if thing not in canaries]
        await until(lambda: all(twin(world, thing, "operatingState").value == 6 for thing in stable))
        for thing in canaries:
            await charge(world, thing, 61.0)
        await until(lambda: all(twin(world, thing, "operatingState").value == 6 for thing in canaries), 30)
        answer = await world.op.post("/behaviours/canary/deployment", json={"version": "1.1.0"})
        assert answer.status_code == 409
        story = (await world.op.get("/behaviours/canary/deployment")).json()["changes"]
        assert [(one["what"], one["version"], one["by"]) for one in story][-1] == ("rolled-back", "1.1.0", "node")


async def test_a_healthy_canary_goes_to_all(world):
    publisher = world.publisher
    things = [await battery(world) for _ in range(12)]
    fields = {"listens": ("stateOfCharge",), "derives": ("operatingState",), "alarms": True, "min_interval_s": 0.05}
    async with alone(publisher, "healthy"):
        await publisher.out(COUNT, "healthy", **fields)
        assert (await publisher.publish(COUNT, "1.1.0", name="healthy", **fields)).status_code == 201
        await publisher.deploy("healthy", "1.1.0", share=0.6, minCalls=1, observeS=0)
        for thing in things:
            await charge(world, thing, 60.0)
        now = functools.partial(world.node.agents.behaviours.deployment, "northside-networks", "healthy")
        await until(lambda: (now().state, now().version, now().before) == ("running", "1.1.0", "1.0.0"))
        answer = await world.op.post("/behaviours/healthy/roll-back", json={"reason": "a person says so"})
        assert answer.json()["version"] == "1.0.0"


async def test_endless_programs_cost_their_steps_and_no_more(world):
    publisher, thing = world.publisher, await battery(world)
    text = "def on_reading(twin, state):\n    for a in range(10000000):\n        pass\n"
    async with alone(publisher, "endless"):
        await publisher.publish(text, name="endless", listens=("stateOfCharge",))
        await publisher.deploy("endless", minCalls=1)
        await charge(world, thing, 60.0)
        now = functools.partial(world.node.agents.behaviours.deployment, "northside-networks", "endless")
        await until(lambda: now().state == "stopped")
        assert "steps" in world.node.agents.watch.faults["northside-networks/endless@1.0.0"]


async def test_a_version_that_is_bad_everywhere_does_not_hold_up_the_others(world):
    """A hundred agents fault; the first few are enough to take the version back, and the rest never run it."""
    publisher = world.publisher
    things = [await battery(world) for _ in range(100)]
    text = 'def on_reading(twin, state):\n    return {"derived": {"operatingState": "a" * (1000000000 + len(state))}}\n'
    async with alone(publisher, "hungry"):
        answer = await publisher.publish(
            text, name="hungry", listens=("stateOfCharge",), derives=("operatingState",), min_interval_s=0.05
        )
        assert answer.status_code == 201, answer.text
        await publisher.deploy("hungry")
        now_s = world.node.clock.now_us() / 1e6
        body = [{"n": f"{thing}/stateOfCharge", "v": 50.0, "t": now_s} for thing in things]
        await world.op.post("/readings", json=body, headers=running_node.SENML)
        now = functools.partial(world.node.agents.behaviours.deployment, "northside-networks", "hungry")
        await until(lambda: now().state == "stopped", 60)
        assert health(world, "hungry").calls < 60


async def test_only_what_its_publisher_signed_is_taken(world):
    publisher = world.publisher
    package = Behaviour(name="signed", version="1.0.0", model=BATTERY, text=COUNT, listens=("stateOfCharge",))
    text = msgspec.json.encode(package).decode()
    other = Publisher(world)
    world.node.identity.directory.remove_key(other.kid)
    for signature in (
        other.signed(text), publisher.signed(text + " "), publisher.signed(text, typ="dpop+jwt"),
        publisher.signed(text)[:-4] + "AAAA", "x.y.z", "",
    ):  # fmt: skip
        answer = await world.op.post("/behaviours", json={"package": text, "signature": signature})
        assert answer.status_code == 400, signature
    assert (await publisher.publish(COUNT, name="signed", listens=("stateOfCharge",))).status_code == 201
    assert (await publisher.publish(COUNT, name="signed", listens=("stateOfCharge",))).status_code == 409
    whole = (await world.op.get("/behaviours/signed/versions/1.0.0")).json()
    assert jws.Envelope(whole["signature"]).verified(jws.import_key(whole["jwk"])[1])
    listed = {one["name"]: one for one in (await world.op.get("/behaviours")).json()}
    assert listed["signed"]["permissions"]["reads"] == ["stateOfCharge"]
    assert listed["signed"]["kid"] == publisher.kid


@pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
        ("def on_reading(twin, state)", {}, "line 1"), ("x = 1", {}, "on_reading is missing"),
        (COUNT, {"derives": ("nothing",)}, "has no point"), ("load('a', 'b')\n" + COUNT, {}, ""),
    ],
)  # fmt: skip
async def test_packages_that_are_none_are_refused_saying_why(world, text, fields, said):
    answer = await world.publisher.publish(text, name="none", listens=("stateOfCharge",), **fields)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


async def test_behaviours_of_another_organisation_are_not_there(world):
    await world.publisher.publish(COUNT, name="private", listens=("stateOfCharge",))
    assert (await world.co.get("/behaviours")).json() == []
    assert (await world.co.get("/behaviours/private/versions/1.0.0")).status_code == 404
    assert (await world.co.post("/behaviours/private/deployment", json={"version": "1.0.0"})).status_code == 404


async def test_states_and_deployments_outlive_the_node(tmp_path):
    async with running_node.running(tmp_path / "data") as world:
        publisher, thing = Publisher(world), await battery(world)
        await publisher.out(COUNT, "count", listens=("stateOfCharge",), derives=("operatingState",), alarms=True)
        await charge(world, thing, 50.0)
        states = world.node.agents.book.states["northside-networks/count"]
        await until(lambda: len(states) == 1)
    async with running_node.running(tmp_path / "data") as world:
        states = world.node.agents.book.states["northside-networks/count"]
        assert states.get(world.node.points.thing_number(thing)) == {"n": 1}
        world.op.headers["authorization"] = f"Bearer {world.node.identity.demo.issue(world.op_id)}"
        await charge(world, thing, 40.0)
        await until(lambda: states.get(world.node.points.thing_number(thing)) == {"n": 2})
        await until(lambda: twin(world, thing, "operatingState").value == 6)
        assert Channel.REPORTED.value == 0
