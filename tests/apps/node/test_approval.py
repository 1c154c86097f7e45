"""Two persons for large orders, where a behaviour asks, and where two agree at once."""

import asyncio
import sys

import msgspec
import pytest

from gridspine.apps.cli.keys import new_key
from gridspine.infra.identity import jws
from gridspine.infra.runtime.settings import Commands
from gridspine.things.behaviour import SIGNATURE_TYPE, Behaviour, digest_of

running_node = sys.modules["running_node"]
BATTERY, until = running_node.BATTERY, running_node.until
FULL = """
def on_reading(twin, state):
    return {"set": {"activePowerSetpoint": {"value": -1000, "duration_s": 600}}}
"""


@pytest.fixture
async def world(tmp_path):
    settings = running_node.settings_for(commands=Commands(approval_above_w=1_500.0))
    async with running_node.running(tmp_path / "data", settings) as made:
        yield made


async def publish(world, http, publisher, name):
    key = new_key()
    jwk = {k: v for k, v in key.as_dict(private=False).items() if k in {"kty", "crv", "x"}}
    world.node.identity.directory.add_key(publisher, jwk)
    package = Behaviour(
        name=name, version="1.0.0", model=BATTERY, text=FULL, listens=("stateOfCharge",), sets=("activePowerSetpoint",),
        min_interval_s=0.05,
    )  # fmt: skip
    text = msgspec.json.encode(package).decode()
    header = {"typ": SIGNATURE_TYPE, "kid": jws.thumbprint(jwk)}
    signature = jws.sign(header, {"digest": digest_of(text)}, key)
    answer = await http.post("/behaviours", json={"package": text, "signature": signature})
    assert answer.status_code == 201, answer.text


async def test_whoever_stands_behind_a_behaviour_does_not_approve_what_it_asks(world):
    author_id, author = world.client("northside-networks", *running_node.ALL)
    _, deployer = world.client("northside-networks", *running_node.ALL)
    _, second = world.client("northside-networks", "operator")
    things = [await world.thing(f"urn:example:b{at}", BATTERY) for at in range(2)]
    await publish(world, author, author_id, "full")
    answer = await deployer.post("/behaviours/full/deployment", json={"version": "1.0.0", "share": 1})
    assert answer.status_code == 200, answer.text
    commander = world.node.commands.commander
    for count, thing in enumerate(things, 1):
        await world.send(f"{thing}/stateOfCharge", [95.0], begin_s=world.node.clock.now_us() / 1e6 - 1)
        await until(lambda count=count: len(commander.commands()) == count)
    (waiting,) = commander.awaiting()
    assert waiting.lease.principal == "behaviour:northside-networks/full@1.0.0", "its second kilowatt is too much"
    for person in (author, deployer):
        refused = await person.post(f"/commands/{waiting.id}/approval", json={})
        assert (refused.status_code, "published or let out" in refused.text) == (409, True), refused.text
    answers = await asyncio.gather(
        *(one.post(f"/commands/{waiting.id}/approval", json={}) for one in (second, world.op))
    )
    assert sorted(one.status_code for one in answers) == [200, 409], "one of two who agree at once"
    assert world.node.commands.behind("urn:uuid:somebody") == frozenset()


async def test_a_person_with_two_keys_is_one_person(world):
    thing = await world.thing("urn:example:b", BATTERY)
    token = world.node.identity.demo.issue(world.op_id)
    body = {"thing": thing, "point": "activePowerSetpoint", "value": 2_000, "durationS": 60}
    asked = (await world.op.post("/commands", json=body)).json()
    assert asked["state"] == "awaiting-approval"
    other = await world.nobody.post(
        f"/commands/{asked['id']}/approval", json={}, headers={"authorization": f"Bearer {token}"}
    )
    assert other.status_code == 409, other.text
