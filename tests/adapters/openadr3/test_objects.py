"""Programs, events, reports, VENs and resources of 3.1.0, as their clients see them."""

import asyncio

from openadr3_said import LIMIT, PRICE, at, event, made, program

from gridspine.adapters.openadr3.book import Book
from gridspine.adapters.openadr3.reported import Reported
from gridspine.apps.node.caller_programmes import CallerProgrammes
from gridspine.kernel.errors import NotFound, Unavailable

BATTERY = "https://gridspine.org/models/battery"
APPLIANCE = "https://gridspine.org/models/appliance"


def without(document):
    times = ("id", "createdDateTime", "modificationDateTime", "objectType", "clientID")
    return {name: value for name, value in document.items() if name not in times}


async def test_tokens_tell_their_scopes(vtn) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    assert {"read_all", "write_programs", "write_events"} <= set(bl.scope)
    assert set(ven.scope) == {
        "read_targets", "read_ven_objects", "write_reports", "write_subscriptions", "write_vens"
    }  # fmt: skip
    assert "write_programs" not in (await vtn.client("operator", "owner", scope="read_targets")).scope
    server = (await bl.get("/auth/server")).json()["tokenURL"]
    assert server == f"{vtn.url}/3.1.0/auth/token"
    form = {"grant_type": "client_credentials", "client_id": bl.id, "client_secret": "wrong"}
    answer = await bl.post("/auth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    answer = await bl.post("/auth/token", data={"grant_type": "password"})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    assert (await bl.get("/programs", headers={"authorization": "Bearer nonsense"})).status_code == 401
    assert (await bl.get("/programs", headers={"authorization": ""})).status_code == 401


async def test_a_program_comes_back_as_it_was_said_and_is_the_nodes_own(vtn) -> None:
    bl = await vtn.client("operator")
    body = {
        "programName": "ResTOU", "payloadDescriptors": [PRICE], "targets": ["north"],
        "intervalPeriod": {"start": "2026-01-01T00:00:00Z", "duration": "PT1H"},
        "programDescriptions": [{"URL": "https://example.org/p"}],
        "attributes": [{"type": "LONG_NAME", "values": ["Residential", 1, True, {"x": 1.0, "y": 2.0}]}],
    }  # fmt: skip
    one = await made(bl, "/programs", body)
    assert without(one) == body
    assert (await bl.get(f"/programs/{one['id']}")).json() == one
    noun = (await vtn.world.op.get("/programmes")).json()[0]
    assert (noun["title"], noun["intervalS"], noun["open"]) == ("ResTOU", 3600, False)
    assert (await bl.post("/programs", json=body)).status_code == 409
    changed = (await bl.put(f"/programs/{one['id']}", json=body | {"programName": "Q"})).json()
    assert (changed["programName"], changed["createdDateTime"]) == ("Q", one["createdDateTime"])
    assert changed["modificationDateTime"] > one["modificationDateTime"]
    assert (await bl.delete(f"/programs/{one['id']}")).json()["programName"] == "Q"
    assert (await bl.get(f"/programs/{one['id']}")).status_code == 404
    assert (await bl.get("/programs")).json() == []


async def test_an_event_comes_back_and_is_superseded_and_cancelled(vtn) -> None:
    bl = await vtn.client("operator")
    of = await program(bl)
    body = event(of, eventName="E", priority=3, reportDescriptors=[{"payloadType": "USAGE", "units": "KWH"}])
    one = await made(bl, "/events", body)
    assert without(one) == body
    path = f"/programmes/urn:uuid:{of['id']}/events"
    nouns = (await vtn.world.op.get(path)).json()
    assert [(n["title"], n["priority"], n["status"]) for n in nouns] == [("E", 3, "scheduled")]
    later = (await bl.put(f"/events/{one['id']}", json=body | {"eventName": "F"})).json()
    assert (later["id"], later["eventName"]) == (one["id"], "F")
    assert [n["status"] for n in (await vtn.world.op.get(path)).json()] == ["scheduled", "cancelled"]
    assert [e["id"] for e in (await bl.get("/events", params={"programID": of["id"]})).json()] == [one["id"]]
    assert (await bl.get("/events", params={"programID": "other"})).json() == []
    assert (await bl.delete(f"/events/{one['id']}")).status_code == 200
    assert (await bl.get(f"/events/{one['id']}")).status_code == 404
    assert {n["status"] for n in (await vtn.world.op.get(path)).json()} == {"cancelled"}


async def test_what_was_made_elsewhere_is_seen_and_what_ended_elsewhere_is_gone(vtn) -> None:
    bl = await vtn.client("operator")
    native = await made(vtn.world.op, "/programmes", {
        "title": "N", "signals": [{"payloadType": "PRICE", "units": "EUR/MWh"}], "modes": ["importLimitW"],
    })  # fmt: skip
    interval = {"from": at(60), "until": at(120), "control": {"importLimitW": 5000},
                "signals": [{"type": "PRICE", "values": [-1.5]}]}  # fmt: skip
    body = {"title": "NE", "intervals": [interval], "randomiseStartS": 5}
    noun = await made(vtn.world.op, f"/programmes/{native['id']}/events", body)
    (seen,) = (await bl.get("/events")).json()
    assert seen["programID"] == native["id"].removeprefix("urn:uuid:")
    assert seen["intervals"][0]["payloads"] == [
        {"type": "PRICE", "values": [-1.5]}, {"type": "IMPORT_CAPACITY_LIMIT", "values": [5.0]}
    ]  # fmt: skip
    assert seen["intervalPeriod"]["randomizeStart"] == "PT5S"
    assert (await bl.get(f"/events/{seen['id']}")).json() == seen
    assert (await vtn.world.op.post(f"/programmes/{native['id']}/events/{noun['id']}/cancel")).status_code == 200
    assert (await bl.get("/events")).json() == []
    assert (await bl.get(f"/events/{seen['id']}")).status_code == 404


async def test_a_limit_becomes_leases_of_who_is_enrolled_and_ends_with_the_event(vtn) -> None:
    bl, world = await vtn.client("operator"), vtn.world
    of = await program(bl, payloadDescriptors=[PRICE, LIMIT])
    noun = f"urn:uuid:{of['id']}"
    assert (await world.op.get(f"/programmes/{noun}")).json()["modes"] == ["importLimitW"]
    thing = await world.thing("urn:example:b1", BATTERY)
    await made(world.op, f"/programmes/{noun}/enrolments", {"thing": thing, "until": "2100-01-01T00:00:00Z"})
    intervals = [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [2.5]}]}]
    one = await made(bl, "/events", event(of, 0) | {"intervals": intervals})
    (command,) = (await world.op.get("/commands", params={"thing": thing})).json()
    assert (command["thing"], command["value"]) == (thing, 2500)
    await bl.delete(f"/events/{one['id']}")
    states = {c["state"] for c in (await world.op.get("/commands", params={"thing": thing})).json()}
    assert states <= {"cancelled", "ended", "superseded"}, states


async def test_a_limit_that_the_program_does_not_describe_stays_a_signal(vtn) -> None:
    bl = await vtn.client("operator")
    of = await program(bl)
    intervals = [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [2.5]}]}]
    await made(bl, "/events", event(of) | {"intervals": intervals, "payloadDescriptors": [LIMIT]})
    (noun,) = (await vtn.world.op.get(f"/programmes/urn:uuid:{of['id']}/events")).json()
    assert (noun["commands"], noun["intervals"][0]["signals"][0]["values"]) == (False, [2.5])


async def test_events_that_say_nothing_any_more_are_kept_for_the_wire(vtn) -> None:
    bl = await vtn.client("operator")
    of = await program(bl)
    over = await made(bl, "/events", event(of, -7200))
    empty = await made(bl, "/events", {"programID": of["id"]})
    assert [e["id"] for e in (await bl.get("/events")).json()] == [over["id"], empty["id"]]
    assert [e["id"] for e in (await bl.get("/events", params={"active": "true"})).json()] == [empty["id"]]
    assert (await vtn.world.op.get(f"/programmes/urn:uuid:{of['id']}/events")).json() == []
    again = await bl.put(f"/events/{over['id']}", json=event(of, 60))
    assert again.status_code == 200
    assert len((await vtn.world.op.get(f"/programmes/urn:uuid:{of['id']}/events")).json()) == 1


async def test_a_ven_sees_what_its_targets_match_and_nothing_else(vtn) -> None:
    bl, ven, other = await vtn.client("operator"), await vtn.client("owner"), await vtn.client("owner")
    everybody, north = await program(bl, "all"), await program(bl, "north", targets=["north"])
    for_all, aimed = (
        await made(bl, "/events", event(north)),
        await made(bl, "/events", event(everybody, targets=["v1"])),
    )
    assert [p["programName"] for p in (await ven.get("/programs")).json()] == ["all"]
    assert (await ven.get(f"/programs/{north['id']}")).status_code == 404
    assert (await ven.get(f"/events/{for_all['id']}")).status_code == 404
    assert (await ven.get("/events")).json() == []
    body = {"objectType": "BL_VEN_REQUEST", "clientID": ven.id, "venName": "v1", "targets": ["north"]}
    one = await made(bl, "/vens", body)
    assert (one["objectType"], one["clientID"]) == ("VEN", ven.id)
    assert {p["programName"] for p in (await ven.get("/programs")).json()} == {"all", "north"}
    assert {e["id"] for e in (await ven.get("/events")).json()} == {for_all["id"], aimed["id"]}
    assert [e["id"] for e in (await ven.get("/events", params={"targets": "v1"})).json()] == [aimed["id"]]
    assert (await other.get("/events")).json() == []
    assert (await other.get(f"/vens/{one['id']}")).status_code == 404
    assert [v["id"] for v in (await ven.get("/vens")).json()] == [one["id"]]


async def test_a_ven_gives_itself_no_targets(vtn) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    await program(bl, "north", targets=["north"])
    for body, status in (
        ({"objectType": "BL_VEN_REQUEST", "clientID": ven.id, "venName": "x", "targets": ["north"]}, 403),
        ({"objectType": "VEN_VEN_REQUEST", "venName": "north"}, 201),
        ({"objectType": "VEN_VEN_REQUEST", "venName": "north"}, 409),
        ({"venName": "y"}, 400),
    ):
        assert (await ven.post("/vens", json=body)).status_code == status, body
    own = (await ven.get("/vens", params={"venName": "north"})).json()[0]
    resource = {"objectType": "VEN_RESOURCE_REQUEST", "resourceName": "north", "venID": own["id"]}
    kept = await made(ven, "/resources", resource)
    assert (kept["clientID"], kept["venID"]) == (ven.id, own["id"])
    assert (await ven.get("/programs")).json() == []
    given = {"objectType": "BL_RESOURCE_REQUEST", "clientID": ven.id, "resourceName": "r", "venID": own["id"],
             "targets": ["north"]}  # fmt: skip
    await made(bl, "/resources", given)
    assert [p["programName"] for p in (await ven.get("/programs")).json()] == ["north"]
    assert len((await ven.get("/resources", params={"venID": own["id"]})).json()) == 2
    assert (await ven.delete(f"/vens/{own['id']}")).status_code == 200
    assert (await bl.get("/resources")).json() == []
    assert (await ven.get("/programs")).json() == []


async def test_who_runs_no_programmes_changes_none(vtn) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    stranger = await vtn.client("operator", organisation="brightfield")
    of = await program(bl)
    one = await made(bl, "/events", event(of))
    for http, status in ((ven, 403), (stranger, 404)):
        assert (await http.put(f"/programs/{of['id']}", json={"programName": "X"})).status_code == status
        assert (await http.delete(f"/events/{one['id']}")).status_code == status
    assert (await ven.post("/programs", json={"programName": "X"})).status_code == 403
    assert (await ven.post("/events", json=event(of))).status_code == 403
    assert (await stranger.post("/events", json=event(of))).status_code == 400
    assert (await stranger.get("/events")).json() == [], "its organisation is not enrolled"
    nobody = await vtn.client()
    for path in ("/programs", "/events", "/reports", "/vens", "/resources", "/subscriptions"):
        assert (await nobody.get(path)).status_code == 403


async def test_reports_are_the_vens_own_and_who_runs_the_program_reads_them(vtn) -> None:
    bl, ven, other = await vtn.client("operator"), await vtn.client("owner"), await vtn.client("owner")
    of = await program(bl)
    one = await made(bl, "/events", event(of))
    intervals = [{"id": 0, "payloads": [{"type": "USAGE", "values": [1.5]}]}]
    body = {"eventID": one["id"], "clientName": "ven", "resources": [{"resourceName": "r", "intervals": intervals}]}
    told = await made(ven, "/reports", body)
    assert without(told) == body
    assert told["clientID"] == ven.id
    assert [r["id"] for r in (await bl.get("/reports", params={"programID": of["id"]})).json()] == [told["id"]]
    assert (await other.get("/reports")).json() == []
    assert (await other.get(f"/reports/{told['id']}")).status_code == 404
    assert (await bl.put(f"/reports/{told['id']}", json=body)).status_code == 403
    assert (await ven.put(f"/reports/{told['id']}", json=body | {"clientName": "x"})).json()["clientName"] == "x"
    assert (await ven.post("/reports", json=body | {"eventID": "none"})).status_code == 400
    assert (await ven.delete(f"/reports/{told['id']}")).status_code == 200
    assert (await bl.get("/reports")).json() == []


async def test_what_a_ven_reports_of_a_thing_that_it_speaks_for_are_its_readings(vtn) -> None:
    bl, ven, other = await vtn.client("operator"), await vtn.client("owner"), await vtn.client("owner")
    where = {"adapter": "openadr3", "connection": {"resource": "pump"}}
    thing = await vtn.world.thing("urn:example:p1", APPLIANCE, devices=[ven.id], **where)
    one = await made(bl, "/events", event(await program(bl)))

    def told(value, at_s, units="KW"):
        period = {"start": at(at_s), "duration": "PT1S"}
        intervals = [{"id": 0, "intervalPeriod": period, "payloads": [{"type": "DEMAND", "values": [value]}]}]
        descriptor = {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": "DEMAND", "units": units}
        resources = [{"resourceName": name, "intervals": intervals} for name in ("pump", "another")]
        return {"eventID": one["id"], "clientName": "v", "payloadDescriptors": [descriptor], "resources": resources}

    async def power():
        points = (await vtn.world.op.get(f"/things/{thing}/properties")).json()
        return next(point["value"] for point in points if point["name"] == "activePower")

    for _ in range(100):  # the adapter hears of the Thing a moment later
        made_ = await made(ven, "/reports", told(1.8, -10))
        if await power() is not None:
            break
        await ven.delete(f"/reports/{made_['id']}")
    assert await power() == 1800
    await made(other, "/reports", told(5, -5))
    assert await power() == 1800, "only who speaks for it"
    assert (await ven.put(f"/reports/{made_['id']}", json=told(900, -4, "W"))).status_code == 200
    assert await power() == 900
    assert (await ven.post("/reports", json=told(1, -3, "HORSES"))).status_code == 400
    assert (await ven.post("/reports", json=told(int("9" * 400), -2))).status_code == 400, "what no float can be"
    totals = vtn.world.node.intake.books.totals
    refused = totals.refused
    for value, at_s in ((1e308, -1), (1e20, 0), (2, 86_400)):  # what kW make of it; of a VEN whose clock is ahead
        await made(ven, "/reports", told(value, at_s))
    assert (await power(), totals.refused - refused) == (900, 3)


async def test_pages_and_bad_questions(vtn) -> None:
    bl = await vtn.client("operator")
    of = await program(bl)
    ids = [(await made(bl, "/events", event(of)))["id"] for _ in range(3)]
    assert [e["id"] for e in (await bl.get("/events", params={"skip": 1, "limit": 1})).json()] == [ids[1]]
    for query in ({"skip": -1}, {"limit": 51}, {"limit": "x"}, {"targets": ""}, {"active": "maybe"}):
        assert (await bl.get("/events", params=query)).status_code == 400, query
    for body in (b"", b"{", b"[]", b'{"programName": 1}', b'{"programName": ""}', b'{"programName": "  "}', b"\xff"):
        assert (await bl.post("/programs", content=body)).status_code == 400, body
    assert (await bl.patch(f"/programs/{of['id']}")).status_code == 405
    assert (await bl.get("/nothing")).status_code == 404
    assert (await bl.get("/notifiers")).json() == {"WEBHOOK": True}
    assert (await bl.get("/notifiers/mqtt/topics/programs")).status_code == 404


async def test_polling_is_answered_by_304_until_something_changes(vtn) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    of = await program(bl)
    await made(bl, "/events", event(of))
    first = await ven.get("/events")
    tag = first.headers["etag"]
    again = await ven.get("/events", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    await made(bl, "/events", event(of))
    assert len((await ven.get("/events", headers={"if-none-match": tag})).json()) == 2


async def test_all_is_there_after_a_restart(served, tmp_path) -> None:
    async with served(tmp_path / "data") as vtn:
        bl = await vtn.client("operator")
        of = await program(bl, targets=["t"])
        one = await made(bl, "/events", event(of))
        body = {"objectType": "BL_VEN_REQUEST", "clientID": "c", "venName": "v", "targets": ["t"]}
        await made(bl, "/vens", body)
        before = [(await bl.get(path)).json() for path in ("/programs", "/events", "/vens")]
    async with served(tmp_path / "data") as vtn:
        bl = await vtn.client("operator")
        assert [(await bl.get(path)).json() for path in ("/programs", "/events", "/vens")] == before
        assert (await bl.delete(f"/events/{one['id']}")).status_code == 200


async def test_an_event_whose_record_is_not_kept_commands_nothing(vtn, monkeypatch) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "P")
    keep = Book.keep

    async def keep_none(self, record):
        if record.kind == "EVENT":
            raise Unavailable("the disk is away")
        return await keep(self, record)

    monkeypatch.setattr(Book, "keep", keep_none)
    assert (await bl.post("/events", json=event(of))).status_code >= 500
    (found,) = (await vtn.world.op.get(f"/programmes/urn:uuid:{of['id']}/events")).json()
    assert found["status"] == "cancelled"
    assert (await bl.get("/events")).json() == []


async def test_what_is_let_go_while_a_list_is_read_is_left_out(vtn, monkeypatch) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "P")
    await made(bl, "/events", event(of))

    def gone(self, id):
        raise NotFound("there is no such event")

    monkeypatch.setattr(CallerProgrammes, "find_event", gone)
    answer = await bl.get("/events", params={"active": "true"})
    assert (answer.status_code, answer.json()) == (200, [])


async def test_while_a_report_becomes_durable_others_write_and_it_is_answered_afterwards(
    served, tmp_path, monkeypatch
) -> None:
    slow, reached, taken, take = asyncio.Event(), asyncio.Queue(), [], Reported.take

    async def late(self, source, report):
        reached.put_nowait(report)
        await slow.wait()
        await take(self, source, report)
        taken.append(report)

    monkeypatch.setattr(Reported, "take", late)
    async with served(tmp_path / "data") as vtn:
        bl, ven = await vtn.client("operator"), await vtn.client("owner")
        of = await program(bl)
        stays, goes = await made(bl, "/events", event(of)), await made(bl, "/events", event(of))
        body = {"clientName": "ven", "resources": [{"resourceName": "r", "intervals": []}]}
        told = [asyncio.create_task(ven.post("/reports", json=body | {"eventID": one["id"]})) for one in (stays, goes)]
        async with asyncio.timeout(60):
            for _ in told:
                await reached.get()
            assert (await bl.delete(f"/events/{goes['id']}")).status_code == 200
            await made(bl, "/programs", {"programName": "Another"})
        assert not any(one.done() for one in told)
        assert (await bl.get("/reports")).json() == []
        slow.set()
        kept, refused = await told[0], await told[1]
        assert (kept.status_code, refused.status_code, len(taken)) == (201, 400, 2)
        assert [one["id"] for one in (await bl.get("/reports")).json()] == [kept.json()["id"]]
        changed = body | {"eventID": stays["id"], "clientName": "other"}
        assert (await ven.put(f"/reports/{kept.json()['id']}", json=changed)).json()["clientName"] == "other"
        assert len(taken) == 3
