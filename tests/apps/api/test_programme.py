"""Programmes by the API: events become leases of who enrolled, and end with consent, by opting out, by cancelling."""

import asyncio
import time

import pytest
import pytest_asyncio
from running_node import BATTERY, World, running, settings_for

from gridspine.kernel.time import US, format_rfc3339

INVERTER = "https://gridspine.org/models/pv_inverter"
SETPOINT = "activePowerSetpoint"
MODES = ["importLimitW", "exportLimitW", "targetW"]
FOREVER = "2100-01-01T00:00:00Z"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    """The own organisation runs programmes (``op``); Brightfield (``co``) has homes and may enrol them."""
    made = await World.start(tmp_path_factory.mktemp("programmes") / "data", settings_for())
    made.number = 0
    yield made
    await made.stop()


def at(seconds):
    return format_rfc3339(int((time.time() + seconds) * US))


async def sent(http, path, body, status=201):
    answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def programme(world, **fields):
    body = {"title": "P", "modes": MODES, "open": True, **fields}
    return (await sent(world.op, "/programmes", body))["id"]


async def battery(world, http=None, model=BATTERY):
    world.number += 1
    id_ = f"urn:example:home{world.number}"
    await sent(http or world.co, "/things", {"id": id_, "title": id_, "model": model, "adapter": "none"})
    return id_


async def enrolled(world, programme_id, thing, **fields):
    asked = await sent(world.co, f"/programmes/{programme_id}/enrolments", {"thing": thing, "until": FOREVER, **fields})
    assert asked["state"] == "requested"
    path = f"/programmes/{programme_id}/enrolments/{asked['id']}"
    admitted = await sent(world.op, f"{path}/decision", {"decision": "admit"}, 200)
    assert admitted["state"] == "active"
    return path


def event(*spans, **fields):
    now_us = time.time_ns() // 1000
    intervals = [
        {"from": format_rfc3339(now_us + begin * US), "until": format_rfc3339(now_us + end * US), "control": control}
        for begin, end, control in spans
    ]
    return {"title": "Evening", "intervals": intervals, **fields}


async def published(world, programme_id, *spans, **fields):
    return await sent(world.op, f"/programmes/{programme_id}/events", event(*spans, **fields))


def value(world, thing, after_s=0.0, point=SETPOINT):
    return world.node.commands.commander.effective(thing, point, int((time.time() + after_s) * US)).value


def live(world, thing):
    return [one for one in world.node.commands.commander.commands(thing) if not one.final]


async def test_an_event_becomes_a_lease_and_ends_when_it_is_cancelled(world):
    thing, programme_id = await battery(world), await programme(world, primacy=7)
    await enrolled(world, programme_id, thing)
    made = await published(world, programme_id, (-60, 600, {"targetW": -2_000}), (600, 1_200, {"targetW": -1_000}))
    assert (made["status"], made["commands"]) == ("active", True)
    assert [value(world, thing, after) for after in (0, 601, 1_201)] == [-2_000, -1_000, 0]
    (command,) = live(world, thing)
    lease = command.lease
    assert (lease.principal, lease.authority.value, lease.priority) == (f"programme:{programme_id}", "aggregator", 248)
    ended = await sent(world.op, f"/programmes/{programme_id}/events/{made['id']}/cancel", {"reason": "rain"}, 200)
    assert (ended["status"], ended["reason"]) == ("cancelled", "rain")
    assert live(world, thing) == [] and value(world, thing) == 0
    (told,) = (await world.co.get(f"/programmes/{programme_id}/events/{made['id']}/responses")).json()
    assert (told["state"], [one["state"] for one in told["commands"]]) == ("cancelled", ["cancelled"])
    again = await world.op.post(f"/programmes/{programme_id}/events/{made['id']}/cancel")
    assert again.status_code == 409


async def test_signals_are_told_and_command_nothing(world):
    thing = await battery(world)
    prices = [{"payloadType": "PRICE", "units": "KWH", "currency": "EUR"}]
    programme_id = await programme(world, modes=[], signals=prices, intervalS=3600)
    await enrolled(world, programme_id, thing)
    body = {"title": "Tariff", "intervals": [{"from": at(0), "signals": [{"type": "PRICE", "values": [-0.03]}]}]}
    made = await sent(world.op, f"/programmes/{programme_id}/events", body)
    assert made["commands"] is False and live(world, thing) == []
    (seen,) = (await world.co.get(f"/programmes/{programme_id}/events")).json()
    assert seen["intervals"][0]["signals"] == [{"type": "PRICE", "values": [-0.03]}]
    (told,) = (await world.co.get(f"/programmes/{programme_id}/events/{made['id']}/responses")).json()
    assert (told["state"], told["commands"]) == ("informed", [])
    wrong = await world.op.post(f"/programmes/{programme_id}/events", json=event((0, 60, {"targetW": 1})))
    assert wrong.status_code == 400 and "not among the modes" in wrong.text


async def test_the_lower_primacy_supersedes_for_the_overlap(world):
    thing = await battery(world)
    worse, better = await programme(world, primacy=90), await programme(world, primacy=10)
    for one in (worse, better):
        await enrolled(world, one, thing)
    first = await published(world, worse, (60, 1_000, {"targetW": 1_000}))
    await published(world, better, (300, 600, {"targetW": 2_000}))
    assert [value(world, thing, after) for after in (0, 100, 400, 700, 1_001)] == [0, 1_000, 2_000, 1_000, 0]
    (told,) = (await world.co.get(f"/programmes/{worse}/events/{first['id']}/responses")).json()
    assert (told["state"], told["askedS"], told["heldS"]) == (
        "partly",
        pytest.approx(940, 0.01),
        pytest.approx(640, 0.01),
    )
    assert [one["state"] for one in told["commands"]] == ["cancelled", "accepted", "accepted"], "cut in two"
    (others,) = (await world.op.get(f"/programmes/{worse}/events/{first['id']}/responses")).json()
    assert others["commands"] == [], "the owner's commands are the owner's to see"


async def test_a_default_holds_while_no_event_does(world):
    thing, programme_id = (
        await battery(world, model=INVERTER),
        await programme(world, defaultControl={"exportLimitW": 2_000}),
    )
    path = await enrolled(world, programme_id, thing)
    assert value(world, thing, point="activePowerLimit") == 2_000
    made = await published(world, programme_id, (100, 200, {"exportLimitW": 5_000}))
    found = [value(world, thing, after, "activePowerLimit") for after in (0, 150, 250)]
    assert found == [2_000, 5_000, 2_000]
    await sent(world.op, f"/programmes/{programme_id}/events/{made['id']}/cancel", {}, 200)
    assert value(world, thing, 150, "activePowerLimit") == 2_000
    await sent(world.co, f"{path}/withdraw", {"reason": "sold the house"}, 200)
    assert value(world, thing, point="activePowerLimit") == 6_000 and live(world, thing) == []


async def test_the_owners_own_order_goes_before_an_aggregators_and_after_a_networks(world):
    order = {"point": SETPOINT, "value": 500, "durationS": 600}
    for authority, expected in (("aggregator", 500), ("network", -2_000)):
        thing, programme_id = await battery(world), await programme(world)
        await enrolled(world, programme_id, thing, authority=authority)
        await published(world, programme_id, (-10, 600, {"targetW": -2_000}))
        await sent(world.co, "/commands", {"thing": thing, **order})
        assert value(world, thing) == expected


async def test_opting_out_and_in_of_an_event_and_of_a_time(world):
    thing, programme_id = await battery(world), await programme(world)
    path = await enrolled(world, programme_id, thing)
    made = await published(world, programme_id, (-10, 600, {"targetW": -2_000}))
    await sent(world.co, f"{path}/opt-out", {"event": made["id"], "reason": "guests"}, 200)
    assert live(world, thing) == []
    (told,) = (await world.op.get(f"/programmes/{programme_id}/events/{made['id']}/responses")).json()
    assert told["state"] == "opted-out"
    await sent(world.co, f"{path}/opt-in", {"event": made["id"]}, 200)
    assert value(world, thing) == -2_000
    kept = await sent(world.co, f"{path}/opt-out", {"from": at(100), "until": at(300)}, 200)
    assert [value(world, thing, after) for after in (0, 200, 400)] == [-2_000, 0, -2_000]
    await sent(world.co, f"{path}/opt-in", {"optOut": kept["optOuts"][0]["id"]}, 200)
    assert value(world, thing, 200) == -2_000
    for body in ({}, {"until": at(-1)}, {"event": "urn:none"}):
        assert (await world.co.post(f"{path}/opt-out", json=body)).status_code in {400, 404}
    assert (await world.co.post(f"{path}/opt-in", json={"event": made["id"]})).status_code == 404


async def test_only_those_are_commanded_whom_an_event_is_for_as_they_consented(world):
    programme_id = await programme(world, targets=["north", "south"])
    north, south = await battery(world), await battery(world)
    paths = [await enrolled(world, programme_id, one, modes=["targetW"]) for one in (north, south)]
    await sent(world.op, f"{paths[0]}/decision", {"decision": "aim", "targets": ["north"]}, 200)
    made = await published(world, programme_id, (-10, 600, {"targetW": -2_000, "importLimitW": 0}), targets=["north"])
    assert (value(world, north), live(world, south)) == (-2_000, [])
    assert {one.lease.role for one in live(world, north)} == {"setpoint"}, "limits were not consented to"
    await sent(world.op, f"{paths[0]}/decision", {"decision": "aim", "targets": ["south"]}, 200)
    assert live(world, north) == []
    assert (await world.co.get(f"/programmes/{programme_id}/events/{made['id']}")).status_code == 404


async def test_a_site_divides_what_it_is_told(world):
    programme_id = await programme(world)
    things = [await battery(world), await battery(world)]
    site = (await sent(world.co, "/sites", {"title": "Home", "things": things, "importLimitW": 9_000}))["id"]
    path = await enrolled_site(world, programme_id, site)
    await published(world, programme_id, (-10, 600, {"targetW": -3_000}), (600, 900, {"importLimitW": 4_000}))
    assert [value(world, one) for one in things] == [-1_500, -1_500]
    shown = (await world.co.get(f"/sites/{site}/limits")).json()
    assert shown[0]["programmes"] == {programme_id: {"targetW": -3_000}}
    assert [one["tightest"] for one in shown[:2]] == [{"importLimitW": 9_000}, {"importLimitW": 4_000}]
    assert (await world.co.delete(f"/sites/{site}")).status_code == 409
    twice = await world.co.post(f"/programmes/{programme_id}/enrolments", json={"thing": things[0], "until": FOREVER})
    assert twice.status_code == 409
    await sent(world.op, f"{path}/decision", {"decision": "end"}, 200)
    assert [one.lease.principal[:5] for thing in things for one in live(world, thing)] == ["site:"] * 2
    assert (await world.co.delete(f"/sites/{site}")).status_code == 204


async def enrolled_site(world, programme_id, site):
    asked = await sent(world.co, f"/programmes/{programme_id}/enrolments", {"site": site, "until": FOREVER})
    path = f"/programmes/{programme_id}/enrolments/{asked['id']}"
    await sent(world.op, f"{path}/decision", {"decision": "admit"}, 200)
    return path


async def test_one_event_takes_the_place_of_another_and_chance_spreads_starts(world):
    programme_id = await programme(world)
    things = [await battery(world) for _ in range(3)]
    for thing in things:
        await enrolled(world, programme_id, thing)
    first = await published(world, programme_id, (60, 3_600, {"targetW": -2_000}), randomiseStartS=600)
    starts = {live(world, thing)[0].lease.from_us for thing in things}
    assert len(starts) == 3
    await published(world, programme_id, (60, 3_600, {"targetW": -1_000}), supersedes=first["id"])
    assert [value(world, thing, 100) for thing in things] == [-1_000] * 3
    found = (await world.op.get(f"/programmes/{programme_id}/events/{first['id']}")).json()
    assert found["status"] == "cancelled" and "superseded by" in found["reason"]


async def test_who_begins_later_by_chance_ends_as_much_later_where_the_length_is_kept(world):
    programme_id = await programme(world)
    things = [await battery(world) for _ in range(3)]
    for thing in things:
        await enrolled(world, programme_id, thing)
    chance = {"randomiseStartS": 600, "randomiseKeepsLength": True}
    made = await published(world, programme_id, (60, 1_260, {"targetW": -2_000}), **chance)
    leases = [live(world, thing)[0].lease for thing in things]
    assert {one.until_us - one.from_us for one in leases} == {600 * US}
    assert len({one.until_us for one in leases}) == 3
    path = f"/programmes/{programme_id}/events/{made['id']}"
    assert (await world.op.get(path)).json()["randomiseKeepsLength"] is True
    responses = (await world.op.get(f"{path}/responses")).json()
    assert [(one["state"], one["heldS"]) for one in responses] == [("holds", 600)] * 3


async def test_everything_goes_on_after_a_restart(tmp_path):
    async with running(tmp_path / "data") as world:
        world.number = 0
        thing, programme_id = await battery(world), await programme(world)
        await enrolled(world, programme_id, thing)
        made = await published(world, programme_id, (-10, 600, {"targetW": -2_000}), randomiseDurationS=60)
        before = [one.id for one in live(world, thing)]
    async with running(tmp_path / "data") as world:
        await world.node.controls.desk.look(world.node.controls.desk.holders_of(programme_id))
        assert [one.id for one in live(world, thing)] == before
        await sent(world.op, f"/programmes/{programme_id}/events/{made['id']}/cancel", {}, 200)
        assert live(world, thing) == []


async def test_retiring_a_programme_ends_all_of_it(world):
    thing, programme_id = await battery(world), await programme(world, defaultControl={"importLimitW": 1_000})
    await enrolled(world, programme_id, thing)
    made = await published(world, programme_id, (-10, 600, {"targetW": -2_000}))
    assert len(live(world, thing)) == 2
    assert (await world.op.delete(f"/programmes/{programme_id}")).status_code == 204
    assert live(world, thing) == []
    assert (await world.op.get(f"/programmes/{programme_id}/events/{made['id']}")).json()["status"] == "cancelled"
    assert (await world.co.get(f"/programmes/{programme_id}")).json()["retired"]
    assert (
        await world.op.post(f"/programmes/{programme_id}/events", json=event((0, 9, {"targetW": 1})))
    ).status_code == 409
    _, other = world.client("northside-networks", "auditor")
    assert (await other.delete(f"/programmes/{programme_id}")).status_code == 403


async def test_a_programme_is_changed_by_its_tag(world):
    programme_id = await programme(world)
    body = {"title": "Q", "modes": ["targetW"], "open": True}
    stale = await world.op.put(f"/programmes/{programme_id}", json=body, headers={"If-Match": '"9"'})
    assert stale.status_code == 412
    changed = await world.op.put(f"/programmes/{programme_id}", json=body, headers={"If-Match": '"1"'})
    assert (changed.json()["title"], changed.headers["etag"]) == ("Q", '"2"')


async def test_others_see_nothing_of_what_is_not_open(world):
    hidden = await programme(world, open=False)
    made = await published(world, hidden, (0, 600, {"targetW": 1}))
    nowhere = "urn:uuid:01a1fe2e-232a-7d9a-8429-486e043c2b3e"
    for path in ("/programmes/{}", "/programmes/{}/events", "/programmes/{}/enrolments", "/programmes/{}/reports",
                 f"/programmes/{{}}/events/{made['id']}/responses"):  # fmt: skip
        answers = [await world.co.get(path.format(one)) for one in (hidden, nowhere)]
        assert [one.status_code for one in answers] == [404, 404], path
        assert answers[0].text == answers[1].text
    assert hidden not in (await world.co.get("/programmes")).text
    thing = await battery(world)
    asked = {"thing": thing, "until": FOREVER}
    assert (await world.co.post(f"/programmes/{hidden}/enrolments", json=asked)).status_code == 404


async def test_nobody_enrols_what_is_not_theirs_nor_decides_for_others(world):
    programme_id, own = await programme(world), await battery(world, world.op)
    asked = await world.co.post(f"/programmes/{programme_id}/enrolments", json={"thing": own, "until": FOREVER})
    assert asked.status_code == 404
    thing = await battery(world)
    path = await enrolled(world, programme_id, thing)
    assert (await world.co.post(f"{path}/decision", json={"decision": "end"})).status_code == 404
    for verb in ("withdraw", "opt-out", "opt-in"):
        assert (await world.op.post(f"{path}/{verb}", json={})).status_code in {400, 404}, verb
    _, operator = world.client("brightfield", "operator")
    assert (await operator.post(f"{path}/withdraw")).status_code == 403, "it takes an owner"
    for body in ({"until": FOREVER}, {"thing": thing, "until": at(-1)}, {"thing": thing, "site": "x", "until": FOREVER},
                 {"thing": thing, "until": FOREVER, "modes": ["loadLimitW"]}):  # fmt: skip
        assert (await world.co.post(f"/programmes/{programme_id}/enrolments", json=body)).status_code == 400


async def test_an_own_programme_admits_at_once(world):
    programme_id, thing = await programme(world, open=False), await battery(world, world.op)
    body = {"thing": thing, "until": FOREVER}
    assert (await sent(world.op, f"/programmes/{programme_id}/enrolments", body))["state"] == "active"
    await published(world, programme_id, (-10, 600, {"targetW": 700}))
    assert value(world, thing) == 700


async def test_an_enrolments_end_ends_its_leases_by_itself(world):
    thing, programme_id = await battery(world), await programme(world)
    await enrolled(world, programme_id, thing, until=at(300))
    await published(world, programme_id, (-10, 600, {"targetW": 700}))
    (command,) = live(world, thing)
    assert abs(command.lease.until_us / US - time.time() - 300) < 60
    assert value(world, thing, 301) == 0


async def test_all_stop_is_not_undone(world):
    thing, programme_id = await battery(world), await programme(world)
    await enrolled(world, programme_id, thing)
    await published(world, programme_id, (-10, 600, {"targetW": 700}))
    await sent(world.op, "/all-stop", {"reason": "smoke"}, 200)
    await sent(world.op, "/all-stop?release=true", {"reason": "steam"}, 200)
    await world.node.controls.desk.look(world.node.controls.desk.holders_of(programme_id))
    assert live(world, thing) == []


async def test_every_step_is_in_the_ledger(world):
    thing, programme_id = await battery(world), await programme(world)
    path = await enrolled(world, programme_id, thing)
    id_ = path.rpartition("/")[2]
    found = []
    for _ in range(500):
        answer = await world.op.get("/receipts", params={"subject": id_})
        assert answer.status_code == 200, answer.text
        if len(found := answer.json()) == 2:
            break
        await asyncio.sleep(0.01)
    assert [one["type"] for one in found] == ["programme-enrolment.requested", "programme-enrolment.active"]
    assert (await world.co.get(f"/receipts/{found[0]['id']}")).status_code == 200, "the other side sees it too"
    world.node.identity.directory.add_organisation("third", "Third")
    _, third = world.client("third", "operator", "owner")
    assert (await third.get("/receipts", params={"subject": id_})).status_code == 404
