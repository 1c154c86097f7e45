"""The lives of Things on a whole node: gates, transfers, retirement, histories, and what a restart brings back."""

import asyncio

import pytest
from running_node import BATTERY, METER, SENML, World, settings_for

from gridspine.apps.node.backup import restore_backup, write_backup
from gridspine.infra.runtime.settings import Lifecycle
from gridspine.kernel.errors import DiskFull
from gridspine.things.change import Changer

BATTERY_ID, POINT = "urn:example:battery", "activePowerSetpoint"


def command(value=1000, duration_s=600):
    return {"thing": BATTERY_ID, "point": POINT, "value": value, "durationS": duration_s}


async def step(world, thing, to, why="because", **more):
    return await world.op.post(f"/things/{thing}/lifecycle", json={"to": to, "why": why, **more})


async def state(world, thing):
    return (await world.op.get(f"/things/{thing}/lifecycle")).json()["state"]


@pytest.fixture
async def strict(tmp_path):
    made = await World.start(tmp_path / "strict", settings_for(lifecycle=Lifecycle(commissioning="required")))
    yield made
    await made.stop()


async def test_a_step_is_receipted_and_gates_commands(world):
    await world.thing(BATTERY_ID, BATTERY, adapter="none")
    await world.op.post("/readings", json=[{"n": f"{BATTERY_ID}/stateOfCharge", "v": 50}], headers=SENML)
    running = (await world.op.post("/commands", json=command())).json()
    assert running["state"] == "accepted"
    life = (await step(world, BATTERY_ID, "suspended", "works on the line")).json()
    assert (life["state"], life["resumes"]) == ("suspended", "commissioned")
    ended = (await world.op.get(f"/commands/{running['id']}")).json()
    assert ended["state"] == "cancelled"
    assert "suspended: works on the line" in ended["reason"]
    refused = (await world.op.post("/commands", json=command())).json()
    assert (refused["state"], refused["reason"]) == (
        "refused", "the Thing is suspended: it takes none but safety's commands until it is resumed",
    )  # fmt: skip
    answer = await world.op.post("/readings", json=[{"n": f"{BATTERY_ID}/stateOfCharge", "v": 51}], headers=SENML)
    assert answer.json()["refused"] == 0, "its readings go on"
    receipt = await world.op.get(f"/receipts/{life['steps'][-1]['event']}")
    assert receipt.status_code == 200, receipt.text
    assert (await step(world, BATTERY_ID, "resumed", "done")).json()["state"] == "commissioned"
    assert (await world.op.post("/commands", json=command())).json()["state"] == "accepted"


async def test_steps_that_do_not_follow_or_say_nothing_are_refused(world):
    await world.thing(BATTERY_ID, BATTERY)
    for to, why, status in (
        ("commissioned", "again", 409), ("resumed", "why not", 409), ("suspended", "", 400), ("described", "x", 400),
        ("nonsense", "x", 400),
    ):  # fmt: skip
        answer = await step(world, BATTERY_ID, to, why)
        assert answer.status_code == status, (to, answer.text)
    assert await state(world, BATTERY_ID) == "commissioned"


async def test_a_retired_thing_takes_no_readings_and_no_commands_and_keeps_its_history(world):
    await world.thing(BATTERY_ID, BATTERY, adapter="none")
    assert (await world.op.post("/commands", json=command())).json()["state"] == "accepted"
    answer = await step(world, BATTERY_ID, "retired", "recycled", evidence=["urn:example:certificate"])
    assert answer.json()["state"] == "retired", answer.text
    sent = await world.op.post("/readings", json=[{"n": f"{BATTERY_ID}/stateOfCharge", "v": 1}], headers=SENML)
    assert (sent.json()["refused"], sent.json()["problems"][0]["reason"]) == (1, "out-of-service")
    told = {"thing.retired", "command.accepted", "command.cancelled"}
    async with asyncio.timeout(60):  # what became of a command is told a moment after it did
        while True:
            history = (await world.op.get(f"/things/{BATTERY_ID}/history")).json()
            types = [entry["type"] for entry in history["entries"]]
            if told <= set(types):
                break
            await asyncio.sleep(0.05)
    assert types[-1] == "thing.registered"
    retired = next(entry for entry in history["entries"] if entry["type"] == "thing.retired")
    assert (retired["words"], retired["by"], retired["data"]["evidence"]) == (
        "retired: recycled", world.op_id, ["urn:example:certificate"],
    )  # fmt: skip
    assert types.count("thing.retired") == 1
    assert (await step(world, BATTERY_ID, "retired")).status_code in {404, 409}
    await world.thing(BATTERY_ID, BATTERY, adapter="none")  # it comes again
    assert await state(world, BATTERY_ID) == "commissioned"
    assert (await world.op.post("/commands", json=command())).json()["state"] == "accepted"


async def test_a_transfer_takes_both_sides_and_leaves_each_its_own_time(world):
    await world.thing(BATTERY_ID, BATTERY, adapter="none")
    await world.op.post("/readings", json=[{"n": f"{BATTERY_ID}/stateOfCharge", "v": 50}], headers=SENML)
    running = (await world.op.post("/commands", json=command())).json()
    body = {"to": "brightfield", "why": "sold with the house"}
    offer = (await world.op.post(f"/things/{BATTERY_ID}/transfers", json=body)).json()
    assert offer["state"] == "offered"
    assert (await world.op.post(f"/things/{BATTERY_ID}/transfers", json=body)).status_code == 409
    assert (await world.co.get("/transfers")).json()[0]["id"] == offer["id"]
    wrong = await world.op.post(f"/transfers/{offer['id']}/accept", json={})
    assert wrong.status_code == 409, "who offers cannot accept"
    done = await world.co.post(f"/transfers/{offer['id']}/accept", json={"why": "bought it"})
    assert done.json()["state"] == "accepted", done.text
    assert (await world.op.get(f"/commands/{running['id']}")).status_code == 403
    assert (await world.op.get(f"/things/{BATTERY_ID}")).status_code == 403
    mine = (await world.co.get(f"/things/{BATTERY_ID}/lifecycle")).json()
    assert (mine["state"], mine["steps"][-1]["why"]) == ("described", "bought it")
    values = {one["name"]: one["value"] for one in (await world.co.get(f"/things/{BATTERY_ID}/properties")).json()}
    assert values["stateOfCharge"] is None, "what was read before stays the old owner's"
    new = (await world.co.get(f"/things/{BATTERY_ID}/history")).json()["entries"]
    old = (await world.op.get(f"/things/{BATTERY_ID}/history")).json()["entries"]
    assert not [entry for entry in new if entry["kind"] == "command"]
    assert "thing.registered" not in [entry["type"] for entry in new]
    assert {"command.accepted", "thing.transferred", "thing.registered"} <= {entry["type"] for entry in old}
    assert (await world.co.post(f"/transfers/{offer['id']}/accept", json={})).status_code == 409


async def test_an_offer_may_be_refused_or_withdrawn(world):
    await world.thing(BATTERY_ID, BATTERY)
    for http, verb, state_ in ((world.co, "refuse", "refused"), (world.op, "withdraw", "withdrawn")):
        offer = (await world.op.post(f"/things/{BATTERY_ID}/transfers", json={"to": "brightfield", "why": "w"})).json()
        answer = await http.post(f"/transfers/{offer['id']}/{verb}", json={"why": "changed our minds"})
        assert answer.json()["state"] == state_, answer.text
    for bad in (
        {"to": "nobody", "why": "w"},
        {"to": "northside-networks", "why": "w"},
        {"to": "brightfield", "why": ""},
    ):
        assert (await world.op.post(f"/things/{BATTERY_ID}/transfers", json=bad)).status_code == 400
    assert (await world.co.post(f"/things/{BATTERY_ID}/transfers", json={"to": "x", "why": "w"})).status_code == 403
    third = world.node.identity.directory.add_organisation("third", "Third")
    _, stranger = world.client(third.id, "owner")
    assert (await stranger.post(f"/transfers/{offer['id']}/accept", json={})).status_code == 404


async def test_a_meter_exchange_goes_on_counting(world):
    meter = await world.thing()
    name, now_us = f"{meter}/activeEnergyImport", world.node.clock.now_us()
    begin_s = now_us / 1e6 - 100
    await world.send(name, [81_000.0, 81_200.0], begin_s=begin_s)
    from gridspine.kernel.time import format_rfc3339

    body = {
        "at": format_rfc3339(round((begin_s + 2) * 1e6)), "oldSerial": "A1", "newSerial": "B2", "why": "recalibration",
        "final": {"activeEnergyImport": 81_240.0, "activeEnergyExport": 0.0},
        "first": {"activeEnergyImport": 12.0, "activeEnergyExport": 0.0},
    }  # fmt: skip
    kept = await world.op.post(f"/things/{meter}/meter-exchanges", json=body)
    assert kept.status_code == 201, kept.text
    assert (await world.op.get(f"/receipts/{kept.json()['event']}")).status_code == 200
    await world.send(name, [20.0, 480.0], begin_s=begin_s + 3)
    used = (await world.op.get(f"/things/{meter}/registers/activeEnergyImport/used")).json()
    assert (used["amount"], used["exchanges"], used["unexplained"]) == (240 + 468, 1, 0)
    assert (await world.op.post(f"/things/{meter}/meter-exchanges", json=body)).status_code == 400
    entry = (await world.op.get(f"/things/{meter}/history?kinds=life")).json()["entries"][0]
    assert entry["type"] == "thing.meter-exchanged"
    assert entry["data"]["final"]["activeEnergyImport"] == 81_240.0
    assert (await world.op.get(f"/things/{meter}/registers/voltage/used")).status_code == 404


async def test_where_commissioning_is_required_a_report_comes_first(strict):
    await strict.thing(BATTERY_ID, BATTERY, adapter="none")
    assert await state(strict, BATTERY_ID) == "described"
    assert (await strict.op.post("/commands", json=command())).json()["state"] == "refused"
    waiting = (await strict.op.get("/lives", params={"states": "described,provisioned"})).json()
    assert waiting == [{"thing": BATTERY_ID, "title": BATTERY_ID, "state": "described"}]
    assert (await strict.op.get("/lives", params={"states": "retired"})).json() == []
    assert (await strict.co.get("/lives")).json() == []
    assert (await strict.op.get("/lives", params={"after": BATTERY_ID})).json() == []
    assert (await strict.op.get("/lives", params={"states": "happy"})).status_code == 400
    assert (await step(strict, BATTERY_ID, "commissioned", "trust me")).status_code == 409
    report = (await strict.op.post(f"/things/{BATTERY_ID}/commissioning", json={})).json()
    assert report["passed"] is False
    assert {one["code"] for one in report["findings"]} == {"no-answer"}
    named = await step(strict, BATTERY_ID, "commissioned", "looks good", evidence=[report["id"]])
    assert named.status_code == 409
    assert "no-answer" in named.json()["detail"]
    evidence = [report["id"], "despite:no-answer"]
    done = await step(strict, BATTERY_ID, "commissioned", "it reports once it is switched on", evidence=evidence)
    assert done.json()["state"] == "commissioned", done.text
    assert (await strict.op.get("/lives")).json() == []
    assert (await strict.op.post("/commands", json=command())).json()["state"] == "accepted"


async def test_a_test_command_needs_consent_in_its_window(strict):
    from gridspine.kernel.time import format_rfc3339

    await strict.thing(BATTERY_ID, BATTERY, adapter="none")
    now_us = strict.node.clock.now_us()
    consent = {
        "by": "A. Owner", "words": "you may charge it for a minute", "safe": "half full, nobody works on it",
        "from": format_rfc3339(now_us - 60_000_000), "until": format_rfc3339(now_us + 600_000_000),
    }  # fmt: skip
    test = {"point": POINT, "value": 1000, "durationS": 60, "consent": consent}
    path = f"/things/{BATTERY_ID}/commissioning"
    for change in ({"until": format_rfc3339(now_us + 30_000_000)}, {"words": " "}, {"safe": ""}, {"by": ""},
                   {"from": format_rfc3339(now_us + 300_000_000)}):  # fmt: skip
        answer = await strict.op.post(path, json={"test": test | {"consent": consent | change}})
        assert (answer.status_code, "consent" in answer.json()["detail"]) == (400, True), answer.text
    assert (
        await strict.op.post(path, json={"test": {k: v for k, v in test.items() if k != "consent"}})
    ).status_code == 400
    report = (await strict.op.post(path, json={"test": test})).json()
    assert report["command"]
    given = (await strict.op.get(f"/commands/{report['command']}")).json()
    assert (given["state"], given["value"]) == ("accepted", 1000.0)
    assert "look again" in report["unchecked"]["test"]
    await strict.op.post(f"/commands/{report['command']}/cancel", json={"reason": "enough"})
    judged = (await strict.op.get(f"{path}/{report['id']}")).json()
    assert "no-effect" in {one["code"] for one in judged["findings"]}
    assert (await strict.op.post("/commands", json=command())).json()["state"] == "refused"
    _, auditor = strict.client("northside-networks", "auditor")
    assert (await auditor.post(path, json={})).status_code == 403


async def test_lives_survive_a_restart(tmp_path):
    first = await World.start(tmp_path / "data")
    await first.thing(BATTERY_ID, BATTERY, adapter="none")
    assert (await step(first, BATTERY_ID, "quarantined", "values make no sense")).status_code == 200
    before = (await first.op.get(f"/things/{BATTERY_ID}/history")).json()["entries"]
    await first.stop()
    (tmp_path / "data" / "history.db").write_bytes(b"damaged" * 1000)
    again = await World.start(tmp_path / "data")
    try:
        assert await state(again, BATTERY_ID) == "quarantined"
        after = (await again.op.get(f"/things/{BATTERY_ID}/history")).json()["entries"]
        assert (await again.op.post("/commands", json=command())).json()["state"] == "refused"
        assert [(one["type"], one["at"]) for one in after] == [(one["type"], one["at"]) for one in before]
    finally:
        await again.stop()


async def test_sql_over_a_product_leaves_out_things_that_changed_hands(tmp_path):
    """The archive knows readings by name, not by owner: neither may ask it for the other's time."""
    world = await World.start(tmp_path / "sold", settings_for(archive=True))
    try:
        point, product, _ = await world.shared()
        other = await world.thing("urn:example:stays")
        mixed = await world.product(point, f"{other}/activeEnergyImport")
        await world.send(point, [100.0])
        offer = (await world.op.post("/things/urn:example:m1/transfers", json={"to": "brightfield", "why": "w"})).json()
        assert (await world.co.post(f"/transfers/{offer['id']}/accept", json={})).status_code == 200
        body = {"sql": "select distinct point from points", "purpose": "a"}
        for http, one in ((world.co, product), (world.op, product)):
            answer = await http.post(f"/products/{one}/query", json=body)
            assert (answer.status_code, "pull the product" in answer.json()["detail"]) == (409, True), answer.text
        answer = await world.op.post(f"/products/{mixed}/query", json=body)
        assert answer.json()["rows"] == [[f"{other}/activeEnergyImport"]]
    finally:
        await world.stop()


async def test_a_transfer_cuts_nothing_that_was_granted_and_gives_the_rest_to_nobody_else(world):
    point, product, _ = await world.shared()
    await world.send(point, [100.0, 101.0])
    offer = (await world.op.post("/things/urn:example:m1/transfers", json={"to": "brightfield", "why": "w"})).json()
    assert (await world.co.post(f"/transfers/{offer['id']}/accept", json={})).status_code == 200
    _, mine = world.client("brightfield", "operator")
    sent = await mine.post("/readings", json=[{"n": point, "v": 555.0}], headers=SENML)
    assert sent.json()["accepted"] == 1, sent.text
    _, third = world.client("northside-networks", "owner")
    for http in (world.co, third):
        answer = await http.get(f"/products/{product}/readings")
        assert answer.status_code == 200, answer.text
        assert "555" not in answer.text, "what comes from now on is the new owner's"
        assert [one["v"] for one in answer.json()] == [100.0, 101.0]


async def test_what_people_did_is_noted_and_pages_go_back(world):
    await world.thing(BATTERY_ID, BATTERY)
    path = f"/things/{BATTERY_ID}/history"
    for n, what in enumerate(("serviced", "upgraded", "inspected", "relocated", "noted")):
        noted = await world.op.post(path, json={"what": what, "words": f"visit {n}", "evidence": ["urn:x:photo"]})
        assert noted.status_code == 201, noted.text
        assert (await world.op.get(f"/receipts/{noted.json()['event']}")).status_code == 200
    noted = {"what": "noted", "words": "w"}
    for bad in ({"what": "blessed"}, {"words": " "}, {"words": "x" * 3000}, {"evidence": [""]}):
        assert (await world.op.post(path, json=noted | bad)).status_code == 400
    found, place = [], ""
    while True:
        page = (await world.op.get(path, params={"limit": 2, "before": place})).json()
        found += [entry["words"] for entry in page["entries"]]
        place = page["next"]
        if not place:
            break
    assert found == [
        "noted: visit 4", "relocated: visit 3", "inspected: visit 2", "upgraded: visit 1", "serviced: visit 0",
        "registered",
    ]  # fmt: skip
    only = (await world.op.get(path, params={"kinds": "command,alarm"})).json()
    assert only["entries"] == []
    for bad in ({"before": "x"}, {"kinds": "nonsense"}, {"limit": 0}, {"limit": 501}):
        assert (await world.op.get(path, params=bad)).status_code == 400
    assert (await world.co.get(path)).status_code == 403
    assert (await world.op.get("/things/urn:example:none/history")).status_code == 403


async def test_a_backup_has_lives_files_and_histories(tmp_path):
    world = await World.start(tmp_path / "data")
    try:
        await world.thing(BATTERY_ID, BATTERY)
        await step(world, BATTERY_ID, "suspended", "works")
        params, headers = {"name": "log.txt"}, {"content-type": "text/plain"}
        path = f"/things/{BATTERY_ID}/attachments"
        kept = (await world.op.post(path, params=params, content=b"hello", headers=headers)).json()
        before = (await world.op.get(f"/things/{BATTERY_ID}/history")).json()["entries"]
        await asyncio.to_thread(write_backup, tmp_path / "data", tmp_path / "b.tar.zst")
    finally:
        await world.stop()
    await asyncio.to_thread(restore_backup, tmp_path / "b.tar.zst", tmp_path / "other")
    other = await World.start(tmp_path / "other")
    try:
        assert await state(other, BATTERY_ID) == "suspended"
        assert (await other.op.get(f"{path}/{kept['id']}")).content == b"hello"
        after = (await other.op.get(f"/things/{BATTERY_ID}/history")).json()["entries"]
        assert [entry["words"] for entry in after] == [entry["words"] for entry in before]
    finally:
        await other.stop()


async def test_what_others_say_of_a_thing_is_not_its_history_and_old_alarms_stay_with_the_old_owner(world):
    meter = await world.thing()
    await world.send(f"{meter}/voltage", [300.0], begin_s=world.node.clock.now_us() / 1e6)
    alarms = (await world.op.get("/alarms")).json()
    assert [one["kind"] for one in alarms] == ["high"]
    incident = {"subject": meter, "title": "hearsay", "owner": "o", "deadline": "2100-01-01T00:00:00Z", "evidence": "e"}
    for http in (world.co, world.op):
        assert (await http.post("/incidents", json=incident)).status_code == 201
    entries = (await world.op.get(f"/things/{meter}/history")).json()["entries"]
    assert [one["kind"] for one in entries] == ["incident", "alarm", "life"]
    assert entries[0]["data"]["organisation"] == "northside-networks"
    offer = (await world.op.post(f"/things/{meter}/transfers", json={"to": "brightfield", "why": "w"})).json()
    assert (await world.co.post(f"/transfers/{offer['id']}/accept", json={})).status_code == 200
    assert (await world.co.get("/alarms")).json() == []
    new = (await world.co.get(f"/things/{meter}/history")).json()["entries"]
    told = [one for one in new if one["kind"] != "alarm" or one["data"]["alarm"] == "high"]  # silence may be its own
    assert {one["kind"] for one in told} <= {"life", "change"}


async def test_a_retirement_that_could_not_be_kept_leaves_the_thing_as_it_was(world, monkeypatch):
    await world.thing(BATTERY_ID, BATTERY, adapter="none")
    kept = Changer._put

    def full(self, tx, thing, *more):
        if thing.retired:
            raise DiskFull("there is no room")
        return kept(self, tx, thing, *more)

    monkeypatch.setattr(Changer, "_put", full)
    assert (await step(world, BATTERY_ID, "retired")).status_code == 507
    merge = {"content-type": "application/merge-patch+json"}
    assert (await world.op.patch(f"/things/{BATTERY_ID}", json={"title": "New"}, headers=merge)).status_code == 204
    assert (await world.op.post("/commands", json=command())).json()["state"] == "accepted"


async def test_a_thing_keeps_its_model_while_it_is_ordered_something(world):
    """By another model there would be no such point, and nobody to tell the device to go back."""
    await world.thing(BATTERY_ID, BATTERY, adapter="none")
    running = (await world.op.post("/commands", json=command())).json()
    merge = {"content-type": "application/merge-patch+json"}
    answer = await world.op.patch(f"/things/{BATTERY_ID}", json={"gs:model": METER}, headers=merge)
    assert (answer.status_code, "end them" in answer.json()["detail"]) == (409, True), answer.text
    await world.op.post(f"/commands/{running['id']}/cancel")
    assert world.node.commands.commander.issued(BATTERY_ID, POINT).order.value is None
    answer = await world.op.patch(f"/things/{BATTERY_ID}", json={"gs:model": METER}, headers=merge)
    assert answer.status_code == 204, answer.text
