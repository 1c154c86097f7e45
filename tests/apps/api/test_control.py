"""Commands to fleets by the API: many in one order, two persons, schedules, local control, tags, read now."""

import asyncio

import pytest
import pytest_asyncio
from running_node import BATTERY, METER, World, settings_for

from gridspine.infra.runtime.settings import Commands

POINT = "activePowerSetpoint"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def order(thing: str, value: float = 500, **more: object) -> dict[str, object]:
    return {"thing": thing, "point": POINT, "value": value, "durationS": 600, **more}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory):
    """Ten batteries of a node where more than 3 kW within a second take two persons."""
    commands = Commands(approval_above_w=3_000, approval_window_s=0.05)
    made = await World.start(tmp_path_factory.mktemp("fleet") / "data", settings_for(commands=commands))
    for at in range(10):
        await made.thing(f"urn:example:b{at}", BATTERY, adapter="none")
    await made.thing("urn:example:meter", METER)
    made.second_id, made.second = made.client("northside-networks", "operator")
    yield made
    await made.stop()


async def rest() -> None:
    """Let the window pass in which what one principal asks for is summed up."""
    await asyncio.sleep(0.06)


async def test_many_in_one_order_and_each_is_answered(fleet) -> None:
    await rest()
    body = [order(f"urn:example:b{at}", 200) for at in range(4)] + [order("urn:example:b4", 99_999)]
    answer = await fleet.op.post("/commands/batch", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["accepted"], told["awaiting"], told["refused"]) == (4, 0, 1)
    assert "beyond what the device can do" in told["commands"][4]["reason"]
    assert {one["batch"] for one in told["commands"]} == {told["batch"]}
    assert (await fleet.op.post("/commands/batch", json=[])).json()["commands"] == []


@pytest.mark.parametrize(
    ("bad", "status", "words"),
    [
        (order("urn:example:b6", 1, durationS=0), 400, "number 1"),
        (order("urn:example:b6", 1, **{"from": "yesterday"}), 400, "number 1"),
        (order("urn:example:b5", 1), 400, "twice"),
        (order("urn:example:b6", 1, key="k"), 400, "idempotency key"),
        (order("urn:example:nowhere", 1), 403, "decision"),
        (order("urn:example:meter", 1), 400, "cannot be commanded"),
        ({"thing": "urn:example:b6"}, 400, ""),
    ],
    ids=["no end", "no time", "twice", "a key twice", "not there", "not commanded", "no command"],
)
async def test_when_one_has_no_meaning_nothing_is_done(fleet, bad, status, words) -> None:
    await rest()
    known = len(fleet.node.commands.commander.commands())
    answer = await fleet.op.post("/commands/batch", json=[order("urn:example:b5", key="k"), bad])
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert len(fleet.node.commands.commander.commands()) == known


async def test_too_many_at_once(fleet) -> None:
    answer = await fleet.op.post("/commands/batch", json=[order("urn:example:b5")] * 5_001)
    assert answer.status_code == 413


async def test_two_persons_for_a_large_order(fleet) -> None:
    await rest()
    body = [order(f"urn:example:b{at}", 1_500, reason="peak at the substation") for at in (5, 6, 7)]
    told = (await fleet.op.post("/commands/batch", json=body)).json()
    assert (told["accepted"], told["awaiting"]) == (0, 3)
    first = told["commands"][0]
    assert first["state"] == "awaiting-approval" and "a second person must approve" in first["reason"]
    assert first["changes"][0]["reason"] == "peak at the substation"
    waiting = (await fleet.second.get("/commands/awaiting")).json()
    assert {one["id"] for one in waiting} >= {one["id"] for one in told["commands"]}
    assert (await fleet.co.get("/commands/awaiting")).json() == []
    same = await fleet.op.post(f"/commands/{first['id']}/approval")
    assert same.status_code == 409 and "second person" in same.json()["detail"]
    assert (await fleet.co.post(f"/commands/{first['id']}/approval")).status_code == 403
    agreed = await fleet.second.post(f"/commands/{first['id']}/approval", json={"batch": True})
    assert agreed.status_code == 200, agreed.text
    assert agreed.json()["approvedBy"] == fleet.second_id
    for one in told["commands"]:
        assert (await fleet.op.get(f"/commands/{one['id']}")).json()["state"] in {"accepted", "sent"}
    again = await fleet.second.post(f"/commands/{first['id']}/approval")
    assert again.status_code == 409


async def test_a_repetition_in_other_seconds_is_the_same_command(fleet) -> None:
    await rest()
    first = (await fleet.op.post("/commands", json=order("urn:example:b8", key="once"))).json()
    await rest()
    assert (await fleet.op.post("/commands", json=order("urn:example:b8", key="once"))).json()["id"] == first["id"]
    other = await fleet.op.post("/commands", json=order("urn:example:b8", 501, key="once"))
    assert other.status_code == 409


async def test_a_schedule_and_chance(fleet) -> None:
    await rest()
    asked = order("urn:example:b9", 100, steps=[{"afterS": 60, "value": 200}], randomiseStartS=30, randomiseEndS=30)
    told = (await fleet.op.post("/commands", json=asked)).json()
    assert [step["value"] for step in told["steps"]] == [100, 200], told
    assert told["from"] >= told["steps"][0]["from"]
    for wrong, words in (
        ({"steps": [{"afterS": 60, "value": 2}, {"afterS": 30, "value": 3}]}, "steps[1]"),
        ({"steps": [{"afterS": 0, "value": 2}]}, "afterS"),
        ({"steps": [{"afterS": 1, "value": 2}] * 300}, "at most"),
        ({"randomiseStartS": 600}, "shorter than the lease"),
    ):
        answer = await fleet.op.post("/commands", json=order("urn:example:b9", 100, **wrong))
        assert answer.status_code == 400 and words in answer.text, answer.text


async def test_in_local_control_and_given_back(fleet) -> None:
    await rest()
    thing = "urn:example:b0"
    running = (await fleet.op.post("/commands", json=order(thing))).json()
    assert (await fleet.op.post(f"/things/{thing}/local", json={"reason": " "})).status_code == 400
    assert (await fleet.co.post(f"/things/{thing}/local", json={"reason": "mine"})).status_code == 403
    taken = (await fleet.op.post(f"/things/{thing}/local", json={"reason": "at the breaker"})).json()
    assert taken["mode"] == "local" and taken["local"]["reason"] == "at the breaker"
    assert (await fleet.op.get(f"/commands/{running['id']}")).json()["state"] == "cancelled"
    refused = (await fleet.op.post("/commands", json=order(thing, authority="safety"))).json()
    assert refused["state"] == "refused" and "local control" in refused["reason"]
    assert (await fleet.op.post(f"/things/{thing}/local", json={"reason": "again"})).status_code == 409
    given = (await fleet.op.post(f"/things/{thing}/remote", json={"reason": "done"})).json()
    assert (given["mode"], given["local"]) == ("remote", None)
    await rest()
    assert (await fleet.op.post("/commands", json=order(thing))).json()["state"] in {"accepted", "sent"}


async def test_a_device_may_say_that_it_is_in_local_control(fleet) -> None:
    device_id, device = fleet.client("northside-networks", "device", kind="device")
    thing = await fleet.thing("urn:example:own", BATTERY, adapter="none", devices=[device_id])
    assert (await device.post(f"/things/{thing}/local", json={"reason": "its switch"})).status_code == 200
    assert (await device.post(f"/things/{thing}/tags", json={"reason": "its switch"})).status_code == 403
    assert (await device.post("/things/urn:example:b0/local", json={"reason": "x"})).status_code == 403


async def test_a_tag_hangs_until_it_is_taken_down(fleet) -> None:
    await rest()
    thing = "urn:example:b1"
    for wrong in ({"reason": ""}, {"reason": "r", "point": "nope"}, {"reason": "r", "until": "2001-01-01T00:00:00Z"}):
        assert (await fleet.op.post(f"/things/{thing}/tags", json=wrong)).status_code == 400
    tag = (await fleet.op.post(f"/things/{thing}/tags", json={"reason": "line work", "point": POINT})).json()
    shown = (await fleet.op.get(f"/things/{thing}/control")).json()
    assert [one["id"] for one in shown["tags"]] == [tag["id"]]
    assert "line work" in (await fleet.op.post("/commands", json=order(thing))).json()["reason"]
    safe = (await fleet.op.post("/commands", json=order(thing, 0, authority="safety"))).json()
    assert safe["state"] in {"accepted", "sent"} and safe["authority"] == "safety"
    removed = await fleet.op.post(f"/things/{thing}/tags/{tag['id']}/remove", json={"reason": "done"})
    assert removed.json()["tags"] == []
    gone = await fleet.op.post(f"/things/{thing}/tags/{tag['id']}/remove", json={"reason": "done"})
    assert gone.status_code == 404
    for _ in range(200):
        receipts = (await fleet.op.get("/receipts", params={"subject": thing})).json()
        if {one["type"] for one in receipts} >= {"tag.hung", "tag.taken-down"}:
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError(receipts)


async def test_what_a_point_is_told_and_why(fleet) -> None:
    await rest()
    thing = "urn:example:b2"
    asked = (await fleet.op.post("/commands", json=order(thing, 700, priority=9))).json()
    (point,) = (await fleet.op.get(f"/things/{thing}/control")).json()["points"]
    assert (point["value"], point["unit"], point["winner"]) == (700, "W", asked["id"])
    assert point["ordered"]["value"] == 700 and point["ordered"]["commands"] == [asked["id"]]


async def test_a_thing_whose_life_forbids_it_takes_no_commands(fleet, monkeypatch) -> None:
    monkeypatch.setattr(fleet.node.commands, "gate", lambda thing, _: "retired" if thing == "urn:example:b3" else "")
    assert (await fleet.op.post("/commands", json=order("urn:example:b3"))).json()["reason"] == "retired"
    assert (await fleet.op.get("/things/urn:example:b3/control")).json()["refuses"] == "retired"


async def test_everything_is_as_it_was_after_a_restart(tmp_path) -> None:
    folder, settings = tmp_path / "data", settings_for(commands=Commands(approval_above_w=1_000))
    world = await World.start(folder, settings)
    thing = await world.thing("urn:example:b", BATTERY, adapter="none")
    waiting = (await world.op.post("/commands", json=order(thing, 3_000, durationS=3600))).json()["id"]
    tag = (await world.op.post(f"/things/{thing}/tags", json={"reason": "line work", "point": POINT})).json()
    await world.op.post(f"/things/{thing}/local", json={"reason": "here"})
    before = (await world.op.get(f"/things/{thing}/control")).json()
    await world.stop()
    world = await World.start(folder, settings)
    try:
        after = (await world.op.get(f"/things/{thing}/control")).json()
        assert after == before and after["tags"][0]["id"] == tag["id"]
        assert (await world.op.get(f"/commands/{waiting}")).json()["state"] == "cancelled", "the tag ended it"
    finally:
        await world.stop()


async def test_many_callers_at_once_are_each_answered(fleet) -> None:
    await rest()
    asked = [fleet.second.post("/commands", json=order(f"urn:example:b{at % 10}", at, priority=at)) for at in range(40)]
    answers = [answer.json() for answer in await asyncio.gather(*asked)]
    assert len({one["id"] for one in answers}) == 40
    assert all(one["state"] != "requested" for one in answers)
