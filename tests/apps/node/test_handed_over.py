"""What a new owner of a Thing may know: what happens from then on. What was before is the old one's."""

import asyncio
import json

from running_node import BATTERY, SENML

from gridspine.apps.node.forms import FormChange
from gridspine.kernel.errors import Conflict

THING, POINT = "urn:example:battery", "activePowerSetpoint"
SECRET = "our tenant's tariff"


async def hand_over(world, status=200):
    offer = (await world.op.post(f"/things/{THING}/transfers", json={"to": "brightfield", "why": "sold"})).json()
    done = await world.co.post(f"/transfers/{offer['id']}/accept", json={"why": "bought"})
    assert done.status_code == status, done.text


async def order(http, value=1234):
    body = {"thing": THING, "point": POINT, "value": value, "durationS": 600, "reason": SECRET}
    return (await http.post("/commands", json=body)).json()


async def replayed(http):
    """Return what the Thing's events say from the log's beginning until it was handed over."""
    found = []
    async with http.stream("GET", f"/things/{THING}/events", headers={"last-event-id": "a0c0e0"}) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
                if found[-1].get("type") == "thing.transferred":
                    break
    return found


async def test_commands_of_the_old_owner_are_not_shown(world):
    await world.thing(THING, BATTERY, adapter="none")
    old = await order(world.op)
    await hand_over(world)
    assert (await world.co.get("/commands", params={"thing": THING})).json() == []
    assert (await world.co.get(f"/commands/{old['id']}")).status_code == 404
    for path in ("actions", f"actions/hold/{old['id'].removeprefix('urn:uuid:')}"):
        assert SECRET not in (await world.co.get(f"/things/{THING}/{path}")).text
    assert (await world.co.get(f"/things/{THING}/actions/hold/{old['id'][9:]}")).status_code == 404
    done = await world.co.post(f"/things/{THING}/lifecycle", json={"to": "commissioned", "why": "ours"})
    assert done.status_code == 200, done.text
    new = await order(world.co)
    assert [one["id"] for one in (await world.co.get("/commands", params={"thing": THING})).json()] == [new["id"]]


async def test_events_of_before_are_not_replayed(world):
    await world.thing(THING, BATTERY, adapter="none")
    await world.op.post("/readings", json=[{"n": f"{THING}/stateOfCharge", "v": 1}], headers=SENML)
    await order(world.op)
    await hand_over(world)
    told = await asyncio.wait_for(replayed(world.co), 60)
    assert SECRET not in json.dumps(told)
    assert {one.get("type") for one in told} == {"thing.changed", "thing.transferred"}


async def test_the_steps_of_its_life_before_are_not_told(world):
    await world.thing(THING, BATTERY, adapter="none")
    for to in ("suspended", "resumed"):
        await world.op.post(f"/things/{THING}/lifecycle", json={"to": to, "why": SECRET})
    await hand_over(world)
    life = (await world.co.get(f"/things/{THING}/lifecycle")).json()
    assert [(one["to"], one["why"]) for one in life["steps"]] == [("described", "bought")]


async def test_no_emulated_thing_is_handed_over(world):
    """Whoever emulates it is told its orders: it would go on to be told those of the new owner."""
    await world.thing(THING, BATTERY, adapter="none")
    form = {"form": "emulator", "external": True, "reason": SECRET}
    assert (await world.op.post(f"/things/{THING}/form", json=form)).status_code == 200
    running = await order(world.op)
    await hand_over(world, 409)
    assert (await world.op.get(f"/commands/{running['id']}")).json()["state"] != "cancelled"
    assert (await world.op.post(f"/things/{THING}/form", json={"form": "adapter"})).status_code == 200
    (offer,) = (await world.co.get("/transfers")).json()
    assert (await world.co.post(f"/transfers/{offer['id']}/accept", json={})).status_code == 200
    assert SECRET not in (await world.co.get(f"/things/{THING}/form")).text


async def test_a_limit_that_was_not_delivered_does_not_bind_the_new_owner(world):
    """It still limited what the node orders, although the device did not answer; then the site was sold."""
    await world.thing(THING, "https://gridspine.org/models/site", adapter="none")
    body = {"thing": THING, "point": "importLimit", "value": 100, "durationS": 3600}
    limit = (await world.op.post("/commands", json=body)).json()
    commander = world.node.commands.commander
    await world.node.commands.progress(limit["id"], "failed", "the device does not answer")
    assert [one.value for one in commander.leases(THING, "importLimit")] == [100], "it binds its owner"
    await hand_over(world)
    assert commander.leases(THING, "importLimit") == []
    assert (await world.co.get(f"/commands/{limit['id']}")).status_code == 404


async def test_a_change_of_form_asked_for_before_does_not_reach_the_new_owners_thing(world):
    """Else the old owner's emulator would hear the new owner's orders, and the new owner's leases would end."""
    await world.thing(THING, BATTERY, adapter="none")
    before = world.node.things.get(THING)
    await hand_over(world)
    await world.co.post(f"/things/{THING}/lifecycle", json={"to": "commissioned", "why": "ours"})
    new = await order(world.co)
    wanted = FormChange(form="emulator", external=True, reason=SECRET)
    (outcome,) = await world.node.forms.change([before], wanted, world.op_id)
    assert isinstance(outcome, Conflict), outcome
    assert world.node.commands.forms.of(THING) == "adapter"
    assert (await world.co.get(f"/commands/{new['id']}")).json()["state"] != "cancelled"
