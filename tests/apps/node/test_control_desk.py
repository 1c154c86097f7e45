"""Leases of controls in the long run: renewed before they end, ended when left behind, approved by a second person."""

import json
import time

import pytest
from running_node import BATTERY, World, running, settings_for, until

from gridspine.apps.node import control_desk
from gridspine.apps.node.control_plan import Holder
from gridspine.infra.runtime.settings import Commands
from gridspine.kernel.errors import DiskFull
from gridspine.kernel.time import US, format_rfc3339

FOREVER = "2100-01-01T00:00:00Z"
SHORT = {
    "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"gs": "https://gridspine.org/td#"}], "@type": "tm:ThingModel",
    "id": "urn:example:model:short", "title": "Short leases", "properties": {
        "activePowerLimit": {
            "type": "number", "unit": "W", "gs:readingType": {"unit": "W", "kind": "setting", "flow": "import"},
            "gs:lease": {"role": "limit_max", "minimum": 0, "maximum": 5000, "fallback": 5000, "reversion": "device",
                         "maxDurationS": 3},
        },
    },
}  # fmt: skip


async def sent(http, path, body, status=201):
    answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def at(seconds):
    return format_rfc3339(time.time_ns() // 1000 + round(seconds * US))


async def test_what_outlasts_a_lease_is_renewed_before_its_end(world: World) -> None:
    await sent(world.op, "/models", SHORT)
    thing = await world.thing("urn:example:short", SHORT["id"], adapter="none")
    site = (await sent(world.op, "/sites", {"title": "S", "things": [thing], "importLimitW": 1_000}))["id"]
    commands = world.node.controls.desk.commands_of
    (first,) = commands(Holder("site", site))
    assert first.lease.until_us - first.lease.from_us == 3 * US
    due_us = world.node.controls.desk._due_us[Holder("site", site)]
    assert due_us - world.node.clock.monotonic_us() <= 1.5 * US, "it is looked at when half of it is left"
    await until(lambda: len(commands(Holder("site", site))) >= 3)
    leases = [one.lease for one in commands(Holder("site", site))]
    assert len({one.until_us for one in leases}) == len(leases)
    assert {one.value for one in leases} == {1_000}


async def test_what_a_node_left_behind_ends_when_it_begins_anew(tmp_path) -> None:
    async with running(tmp_path / "data") as world:
        thing = await world.thing("urn:example:b", BATTERY, adapter="none")
        site = (await sent(world.op, "/sites", {"title": "S", "things": [thing], "importLimitW": 1_000}))["id"]
        sites = world.node.controls.sites  # as when the power fails between a change and what follows of it
        await sites.remove(sites.get(site), "somebody")
        assert [one.final for one in world.node.commands.commander.commands(thing)] == [False]
    async with running(tmp_path / "data") as world:
        known = world.node.commands.commander.commands
        await until(lambda: all(one.final for one in known(thing)))
        assert "no longer asked for" in known(thing)[0].reason


async def test_a_large_event_takes_a_second_person_who_did_not_publish_it(tmp_path) -> None:
    settings = settings_for(commands=Commands(approval_above_w=3_000, approval_window_s=60))
    async with running(tmp_path / "data", settings) as world:
        programme = (await sent(world.op, "/programmes", {"title": "P", "modes": ["targetW"]}))["id"]
        for number in range(2):
            thing = await world.thing(f"urn:example:b{number}", BATTERY, adapter="none")
            await sent(world.op, f"/programmes/{programme}/enrolments", {"thing": thing, "until": FOREVER})
        interval = {"from": at(-1), "until": at(600), "control": {"targetW": -2_000}}
        await sent(world.op, f"/programmes/{programme}/events", {"title": "E", "intervals": [interval]})
        waiting = (await world.op.get("/commands/awaiting")).json()
        assert len(waiting) == 2, "together they move 4 kW"
        path = f"/commands/{waiting[0]['id']}/approval"
        same = await world.op.post(path, json={"batch": True})
        assert same.status_code == 409 and "second person" in json.dumps(same.json())
        _, second = world.client("northside-networks", "operator")
        for one in waiting:
            assert (await second.post(f"/commands/{one['id']}/approval")).status_code == 200
        await world.node.controls.desk.look(world.node.controls.desk.holders_of(programme))
        states = [
            one.state for number in range(2) for one in world.node.commands.commander.commands(f"urn:example:b{number}")
        ]
        assert len(states) == 2 and set(states) <= {"accepted", "sent"}


async def test_what_was_refused_is_not_asked_for_at_every_look(world: World) -> None:
    thing = await world.thing("urn:example:local", BATTERY, adapter="none")
    await sent(world.op, f"/things/{thing}/local", {"reason": "at the breaker"}, 200)
    programme = (await sent(world.op, "/programmes", {"title": "P", "modes": ["targetW"]}))["id"]
    await sent(world.op, f"/programmes/{programme}/enrolments", {"thing": thing, "until": FOREVER})
    interval = {"from": at(-1), "until": at(600), "control": {"targetW": -2_000}}
    event = await sent(world.op, f"/programmes/{programme}/events", {"title": "E", "intervals": [interval]})
    for _ in range(3):
        await world.node.controls.desk.look([Holder("thing", thing)])
    states = [one.state for one in world.node.commands.commander.commands(thing)]
    assert states == ["refused"]
    path = f"/programmes/{programme}/events/{event['id']}/responses"
    (told,) = (await world.op.get(path)).json()
    assert "at the breaker" in told["commands"][0]["reason"]


@pytest.mark.parametrize("kind", ["site", "thing"])
async def test_what_is_not_there_owes_nothing(world: World, kind) -> None:
    await world.node.controls.desk.look([Holder(kind, "urn:example:nowhere")])
    assert world.node.controls.plan.owed(Holder(kind, "urn:example:nowhere"), 0) == []


async def test_an_event_of_the_day_after_tomorrow_is_not_forgotten(world: World) -> None:
    thing = await world.thing("urn:example:ahead", BATTERY, adapter="none")
    programme = (await sent(world.op, "/programmes", {"title": "P", "modes": ["targetW"]}))["id"]
    await sent(world.op, f"/programmes/{programme}/enrolments", {"thing": thing, "until": FOREVER})
    interval = {"from": at(2 * 86_400), "until": at(2 * 86_400 + 600), "control": {"targetW": -2_000}}
    await sent(world.op, f"/programmes/{programme}/events", {"title": "E", "intervals": [interval]})
    desk, holder = world.node.controls.desk, Holder("thing", thing)
    assert desk.commands_of(holder) == []
    assert desk._due_us[holder] - world.node.clock.monotonic_us() <= 900 * US, "it is looked at until then"


async def test_one_whose_plan_fails_takes_nobody_with_it(world: World, monkeypatch) -> None:
    sites = []
    for number in range(2):
        thing = await world.thing(f"urn:example:b{number}", BATTERY, adapter="none")
        sites.append((await sent(world.op, "/sites", {"title": "S", "things": [thing]}))["id"])
    desk = world.node.controls.desk
    owed = desk.plan.owed

    def fails(holder, now_us):
        if holder.id == sites[0]:
            raise OverflowError("cannot convert float infinity to integer")
        return owed(holder, now_us)

    monkeypatch.setattr(desk.plan, "owed", fails)
    await sent(world.op, f"/sites/{sites[1]}/envelopes", {"title": "E", "default": {"importLimitW": 1_000}})
    await desk.look([Holder("site", one) for one in sites])
    assert len(desk.commands_of(Holder("site", sites[1]))) == 1
    assert desk._due_us[Holder("site", sites[0])] > world.node.clock.monotonic_us()


async def test_who_changed_what_asks_is_behind_it_as_well(world: World) -> None:
    name, second = world.client("northside-networks", "operator")
    programme = (await sent(world.op, "/programmes", {"title": "P"}))["id"]
    site = (await sent(world.op, "/sites", {"title": "S"}))["id"]
    desk = world.node.controls.desk
    before = desk.behind(f"programme:{programme}"), desk.behind(f"site:{site}")
    assert name not in before[0] | before[1]
    wanted = {"title": "P", "modes": ["importLimitW"], "defaultControl": {"importLimitW": 0}}
    assert (await second.put(f"/programmes/{programme}", json=wanted)).status_code == 200
    assert (await second.put(f"/sites/{site}", json={"title": "S", "importLimitW": 0})).status_code == 200
    assert desk.behind(f"programme:{programme}") == before[0] | {name}
    assert desk.behind(f"site:{site}") == before[1] | {name}
    assert (await world.op.put(f"/programmes/{programme}", json={"title": "Q"})).status_code == 200
    assert (await world.op.put(f"/sites/{site}", json={"title": "T"})).status_code == 200
    assert name in desk.behind(f"programme:{programme}") & desk.behind(f"site:{site}"), "also when others did since"


async def test_who_changed_an_envelope_is_behind_its_site_for_good(world: World) -> None:
    name, second = world.client("northside-networks", "operator")
    site = (await sent(world.op, "/sites", {"title": "S"}))["id"]
    envelope = (await sent(world.op, f"/sites/{site}/envelopes", {"title": "E"}))["id"]
    path, desk = f"/sites/{site}/envelopes/{envelope}", world.node.controls.desk
    before = desk.behind(f"site:{site}")
    for who in (second, world.op):
        assert (await who.put(path, json={"title": "E", "default": {"importLimitW": 0}})).status_code == 200
    assert desk.behind(f"site:{site}") == before | {name}


async def test_an_opt_out_whose_leases_run_on_is_not_answered_as_done(world: World, monkeypatch) -> None:
    thing = await world.thing("urn:example:b", BATTERY, adapter="none")
    programme = (await sent(world.op, "/programmes", {"title": "P", "modes": ["targetW"]}))["id"]
    enrolment = await sent(world.op, f"/programmes/{programme}/enrolments", {"thing": thing, "until": FOREVER})
    interval = {"from": at(-1), "until": at(600), "control": {"targetW": -2_000}}
    event = await sent(world.op, f"/programmes/{programme}/events", {"title": "E", "intervals": [interval]})

    async def fails(id, reason):
        raise DiskFull("no room")

    monkeypatch.setattr(world.node.commands, "end", fails)
    path = f"/programmes/{programme}/enrolments/{enrolment['id']}/opt-out"
    answer = await world.op.post(path, json={"event": event["id"]})
    assert (answer.status_code, "no room" in answer.text) == (507, True)
    cancelled = await world.op.post(f"/programmes/{programme}/events/{event['id']}/cancel")
    assert (cancelled.status_code, "may run on" in cancelled.text) == (507, True)


async def test_what_could_not_be_ended_is_ended_later(world: World, monkeypatch) -> None:
    thing = await world.thing("urn:example:b", BATTERY, adapter="none")
    site = (await sent(world.op, "/sites", {"title": "S", "things": [thing], "importLimitW": 1_000}))["id"]
    desk, known = world.node.controls.desk, world.node.commands.commander.commands
    end = world.node.commands.end

    async def fails(id, reason):
        raise DiskFull("no room")

    monkeypatch.setattr(world.node.commands, "end", fails)
    monkeypatch.setattr(control_desk, "SOON_US", 0)
    answer = await world.op.delete(f"/sites/{site}")
    assert (answer.status_code, "may run on" in answer.text) == (507, True), "nobody is told that it ended"
    assert (await world.op.get(f"/sites/{site}")).status_code == 404, "the change itself is kept"
    assert [one.final for one in known(thing)] == [False]
    monkeypatch.setattr(world.node.commands, "end", end)
    await until(lambda: all(one.final for one in known(thing)))
    assert desk.commands_of(Holder("site", site)) == []


async def test_a_thing_is_in_a_programme_by_itself_or_by_its_site(world: World) -> None:
    thing = await world.thing("urn:example:b", BATTERY, adapter="none")
    site = (await sent(world.op, "/sites", {"title": "S"}))["id"]
    programme = (await sent(world.op, "/programmes", {"title": "P", "modes": ["importLimitW"]}))["id"]
    await sent(world.op, f"/programmes/{programme}/enrolments", {"site": site, "until": FOREVER})
    path = f"/programmes/{programme}/enrolments"
    alone = await sent(world.op, path, {"thing": thing, "until": FOREVER})
    refused = await world.op.put(f"/sites/{site}", json={"title": "S", "things": [thing]})
    assert refused.status_code == 409 and "by itself" in json.dumps(refused.json())
    await sent(world.op, f"{path}/{alone['id']}/withdraw", {}, 200)
    assert (await world.op.put(f"/sites/{site}", json={"title": "S", "things": [thing]})).status_code == 200


async def test_a_sites_own_limit_clamps_an_operator_who_asks_for_more(world: World) -> None:
    point = SHORT["properties"]["activePowerLimit"]
    rule = point["gs:lease"] | {"fallback": 1_000, "maxDurationS": 3_600}
    properties = {"activePowerLimit": point | {"gs:lease": rule}}
    model = SHORT | {"id": "urn:example:model:careful", "properties": properties}
    await sent(world.op, "/models", model)
    thing = await world.thing("urn:example:careful", model["id"], adapter="none")
    await sent(world.op, "/sites", {"title": "S", "things": [thing], "importLimitW": 3_000})
    commander = world.node.commands.commander
    now_us = world.node.clock.now_us()
    assert commander.effective(thing, "activePowerLimit", now_us).value == 1_000, "what it may by itself"
    body = {"thing": thing, "point": "activePowerLimit", "value": 5_000, "until": at(600)}
    await sent(world.op, "/commands", body)
    assert commander.effective(thing, "activePowerLimit", world.node.clock.now_us()).value == 3_000


async def test_twenty_thousand_intervals_of_an_operator_are_looked_at_a_part_at_a_time(world: World) -> None:
    thing = await world.thing("urn:example:many", BATTERY, adapter="none")
    programme = (await sent(world.op, "/programmes", {"title": "P", "modes": ["importLimitW", "targetW"]}))["id"]
    begin_us = time.time_ns() // 1000 + 60 * US
    parts = [
        {"from": format_rfc3339(begin_us + n * 2 * US), "until": format_rfc3339(begin_us + (n * 2 + 2) * US),
         "control": {"importLimitW": 100 + n, "targetW": 50 + n}}
        for n in range(300)
    ]  # fmt: skip
    for number in range(66):
        event = {"title": f"E{number}", "intervals": parts, "priority": number}
        await sent(world.op, f"/programmes/{programme}/events", event)
    await sent(world.op, f"/programmes/{programme}/enrolments", {"thing": thing, "until": FOREVER})
    plan, holder, now_us = world.node.controls.plan, Holder("thing", thing), world.node.clock.now_us()
    until_us = plan.until_us(holder, now_us)
    assert begin_us < until_us < begin_us + 40 * US, "15 intervals of each of the 66 events"
    claimed = [claim for one in plan.held(holder, now_us, until_us) for claim in one.held.values()]
    assert len(claimed) < 100
    owed = plan.owed(holder, now_us)
    assert {one.until_us for one in owed} == {until_us}
    due_us = world.node.controls.desk._due_us[holder] - world.node.clock.monotonic_us()
    assert due_us <= (until_us - now_us) // 2, "it is looked at again before that"
