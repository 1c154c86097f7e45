"""The node as a VEN of another node's VTN: what that publishes becomes programmes, leases and reports of this one."""

import asyncio
import time

import pytest
from openadr3_home import OVER, VEN, eventually, home, limited
from openadr3_said import LIMIT, PRICE, at, event, made, program
from running_node import until

from gridspine.adapters.openadr3.remote_record import Kept
from gridspine.apps.node import retired_programmes
from gridspine.kernel.errors import Unavailable


@pytest.mark.parametrize("edition", ["3.1.0", "3.0.1"])
async def test_events_become_leases_and_end_with_them(vtn, tmp_path, edition) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "Evening", payloadDescriptors=[PRICE, LIMIT])
    async with home(tmp_path / "home", vtn, edition) as one:
        await one.follow()
        (programme,) = await eventually(one.programmes, lambda found: len(found) == 1)
        assert (programme["title"], programme["modes"], programme["open"]) == ("Evening", ["importLimitW"], False)
        published = await made(bl, "/events", limited(of, 2.5, eventName="Tonight"))
        (found,) = await eventually(one.events, lambda found: len(found) == 1)
        assert (found["title"], found["intervals"][0]["control"]["importLimitW"]) == ("Tonight", 2500)
        assert found["intervals"][0]["signals"] == [{"type": "PRICE", "values": [0.3]}]
        await eventually(one.commands, lambda found: [command["value"] for command in found] == [2500])
        await bl.put(f"/events/{published['id']}", json=limited(of, 1.5, eventName="Less"))
        found = await eventually(one.events, lambda found: len(found) == 2)
        assert [(e["title"], e["status"]) for e in found] == [("Less", "active"), ("Tonight", "cancelled")]
        await bl.delete(f"/events/{published['id']}")
        await eventually(one.events, lambda found: {e["status"] for e in found} == {"cancelled"})
        await eventually(one.commands, lambda found: {command["state"] for command in found} <= OVER)
        await bl.delete(f"/programs/{of['id']}")
        await eventually(one.programmes, lambda found: all(p["retired"] for p in found))
        assert await one.connected() == 1
        assert [v["venName"] for v in (await bl.get("/vens")).json()] == ["home"]


async def test_what_was_read_holds_while_the_vtn_is_gone_and_after_a_restart(served, tmp_path) -> None:
    async with served(tmp_path / "utility") as vtn:
        bl = await vtn.client("operator")
        client = await asyncio.to_thread(vtn.credentials, "owner")
        of = await program(bl, "P", payloadDescriptors=[LIMIT])
        await made(bl, "/events", limited(of, 2.5))
        async with home(tmp_path / "home", vtn, client=client) as one:
            await one.follow()
            before = await eventually(one.events, lambda found: len(found) == 1)
            await eventually(one.commands, lambda found: len(found) == 1)
    async with home(tmp_path / "home", vtn, client=client) as one:
        await eventually(one.connected, 0)
        assert await one.events() == before
        assert len(await one.programmes()) == 1
        assert [command["value"] for command in await one.commands()] == [2500]


async def test_a_programme_that_was_retired_here_and_let_go_keeps_no_other_from_being_followed(
    vtn, tmp_path, monkeypatch
) -> None:
    bl = await vtn.client("operator")
    client = await asyncio.to_thread(vtn.credentials, "owner")
    old = await program(bl, "Old", payloadDescriptors=[LIMIT])
    async with home(tmp_path / "home", vtn, client=client) as one:
        await one.follow()
        (found,) = await eventually(one.programmes, lambda found: len(found) == 1)
        assert (await one.world.op.delete(f"/programmes/{found['id']}")).status_code == 204
        with monkeypatch.context() as patch:
            patch.setattr(retired_programmes, "KEPT", 0)
            patch.setattr(retired_programmes, "KEPT_OVER_US", 0)
            assert (await one.world.op.post("/programmes", json={"title": "Own"})).status_code == 201
        assert [p["title"] for p in await one.programmes()] == ["Own"]
    new = await program(bl, "New", payloadDescriptors=[LIMIT])
    await made(bl, "/events", limited(new, 2.5))
    async with home(tmp_path / "home", vtn, client=client) as one:
        await eventually(one.commands, lambda found: [command["value"] for command in found] == [2500], seconds=60)
        await bl.delete(f"/programs/{old['id']}")
        await made(bl, "/events", limited(new, 1.5, begin_s=3600))
        await eventually(one.events, lambda found: len(found) == 2, seconds=60)
        assert {p["title"] for p in await one.programmes()} == {"Own", "New"}


async def test_a_ven_follows_what_is_aimed_at_it_and_commands_only_what_was_consented_to(vtn, tmp_path) -> None:
    bl = await vtn.client("operator")
    client = await asyncio.to_thread(vtn.credentials, "owner")
    north = await program(bl, "north", payloadDescriptors=[PRICE, LIMIT], targets=["north"])
    await program(bl, "south", targets=["south"])
    await made(bl, "/events", limited(north, 3, begin_s=60, targets=["elsewhere"]))
    body = {"objectType": "BL_VEN_REQUEST", "clientID": client[0], "venName": "home", "targets": ["north"]}
    await made(bl, "/vens", body)
    await made(bl, "/events", limited(north, 4, begin_s=60, targets=["north"]))
    async with home(tmp_path / "home", vtn, client=client) as one:
        await one.follow(modes=[])
        (found,) = await eventually(one.events, lambda found: len(found) == 1)
        assert [p["title"] for p in await one.programmes()] == ["north"]
        assert (found["commands"], len(found["intervals"][0]["signals"])) == (False, 2)
        assert await one.commands() == []


async def test_what_is_aimed_at_a_ven_by_a_new_word_is_heard_of_at_once(vtn, tmp_path) -> None:
    bl = await vtn.client("operator")
    client = await asyncio.to_thread(vtn.credentials, "owner")
    of = await program(bl, "P", payloadDescriptors=[LIMIT])
    body = {"objectType": "BL_VEN_REQUEST", "clientID": client[0], "venName": "home"}
    ven = await made(bl, "/vens", body)
    async with home(tmp_path / "home", vtn, client=client) as one:
        await one.follow()
        await eventually(one.programmes, lambda found: len(found) == 1)
        answer = await bl.put(f"/vens/{ven['id']}", json={**body, "targets": ["feeder-3"]})
        assert answer.status_code == 200, answer.text
        await made(bl, "/events", limited(of, 2.5, targets=["feeder-3"]))
        await eventually(one.commands, lambda found: [command["value"] for command in found] == [2500], seconds=60)


async def test_a_notification_is_read_at_once_and_only_the_vtns(vtn, tmp_path) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "P")
    async with home(tmp_path / "home", vtn) as one:
        host, port = one.world.node.adapters.listening["openadr3.http"]
        await one.follow(pollS=3600, callback=f"http://{host}:{port}")
        await eventually(one.programmes, lambda found: len(found) == 1)
        (subscribed,) = await eventually(lambda: _subscriptions(bl), lambda found: len(found) == 1)
        url = subscribed["objectOperations"][0]["callbackUrl"]
        for bearer in ("", "Bearer nonsense"):
            answer = await one.world.nobody.post(url, json={}, headers={"authorization": bearer})
            assert answer.status_code == 404
        await made(bl, "/events", event(of))
        await eventually(one.events, lambda found: len(found) == 1)


async def test_mqtt_says_what_changed_and_an_opt_out_is_reported(served, tmp_path) -> None:
    async with served(tmp_path / "utility", more={"mqtt": {}}) as vtn:
        await until(lambda: "mqtt.mqtt" in vtn.world.node.adapters.listening)
        bl = await vtn.client("operator")
        of = await program(bl, "Evening", payloadDescriptors=[PRICE, LIMIT])
        async with home(tmp_path / "home", vtn) as one:
            await one.follow(pollS=3600)
            (programme,) = await eventually(one.programmes, lambda found: len(found) == 1)
            broker = vtn.world.node.adapters.notices.broker
            heard = f"programs/{of['id']}/events"
            await until(lambda: heard in broker.subjects("openadr3"))
            published = await made(bl, "/events", limited(of, 2.5))
            (found,) = await eventually(one.events, lambda found: len(found) == 1)
            await eventually(one.commands, lambda found: [command["value"] for command in found] == [2500])
            other = await program(bl, "Morning")
            await until(lambda: f"programs/{other['id']}/events" in broker.subjects("openadr3"))
            path = f"/programmes/{programme['id']}/enrolments"
            (enrolment,) = (await one.world.op.get(path)).json()
            for verb, state in (("opt-out", "RUNNING_OPTED_OUT"), ("opt-in", "NORMAL")):
                body = {"event": found["id"]}
                answer = await one.world.op.post(f"{path}/{enrolment['id']}/{verb}", json=body)
                assert answer.status_code == 200, answer.text
                told = await eventually(lambda: _states(bl), lambda found, state=state: state in found)
            assert told == dict.fromkeys(("RUNNING_OPTED_OUT", "NORMAL"), (published["id"], "home"))
            await bl.delete(f"/events/{published['id']}")
            await eventually(one.events, lambda found: {e["status"] for e in found} == {"cancelled"})


async def _states(bl):
    """Return event and resource by the operating state that is told of them."""
    return {
        one["intervals"][0]["payloads"][0]["values"][0]: (report["eventID"], one["resourceName"])
        for report in (await bl.get("/reports")).json()
        for one in report["resources"]
    }


async def _subscriptions(bl):
    return (await bl.get("/subscriptions")).json()


@pytest.mark.slow
async def test_what_a_thing_reported_is_told(vtn, tmp_path) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "P")
    intervals = [{"id": n, "payloads": [{"type": "PRICE", "values": [0.1]}]} for n in range(2)]
    asked = [{"payloadType": "USAGE", "units": "KWH"}, {"payloadType": "DEMAND"}, {"payloadType": "UNHEARD_OF"}]
    async with home(tmp_path / "home", vtn) as one:
        await one.follow(telemetry="urn:example:b1", resource="battery")
        await eventually(one.programmes, lambda found: len(found) == 1)
        period = {"start": at(1), "duration": "PT2S"}
        more = {"intervals": intervals, "reportDescriptors": asked, "intervalPeriod": period}
        published = await made(bl, "/events", {"programID": of["id"], **more})
        await eventually(one.events, lambda found: len(found) == 1)
        for n in range(7):
            rows = [{"n": "urn:example:b1/activePower", "v": 1000 + n, "t": time.time()},
                    {"n": "urn:example:b1/activeEnergyImport", "v": 5000 + 100 * n, "t": time.time()}]  # fmt: skip
            assert (await one.world.op.post("/readings", json=rows)).status_code == 200
            await asyncio.sleep(1)
        told = await eventually(lambda: _reports(bl), lambda found: len(found) == 2, seconds=60)
        by_type = {r["payloadDescriptors"][0]["payloadType"]: r for r in told}
        assert set(by_type) == {"USAGE", "DEMAND"}
        usage = by_type["USAGE"]["resources"][0]
        assert (by_type["USAGE"]["eventID"], usage["resourceName"]) == (published["id"], "battery")
        assert sum(i["payloads"][0]["values"][0] for i in usage["intervals"]) > 0.1
        powers = [i["payloads"][0]["values"][0] for i in by_type["DEMAND"]["resources"][0]["intervals"]]
        assert all(1.0 <= power <= 1.01 for power in powers), powers


async def _reports(bl):
    return (await bl.get("/reports")).json()


async def test_things_of_one_application_keep_their_programmes_apart(vtn, tmp_path) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "EveningX", payloadDescriptors=[PRICE, LIMIT])
    await made(bl, "/events", limited(of, 2.5))
    async with home(tmp_path / "home", vtn) as one:
        await one.follow()
        (first,) = await eventually(one.events, lambda found: len(found) == 1)
        await eventually(one.commands, lambda found: [command["value"] for command in found] == [2500])
        things = one.world.node.things
        connection = {**one.connection, "venName": "second", "modes": ["importLimitW"]}
        await one.world.thing(
            "urn:example:ven2", VEN, adapter="openadr3", connection=connection,
            devices=list(things.get("urn:example:ven").devices),
        )  # fmt: skip
        events = await eventually(one.events, lambda found: len(found) == 2)
        assert {(e["status"], len({e["programme"] for e in events})) for e in events} == {("active", 2)}
        await eventually(lambda: _vens(bl), {"home", "second"})
        versions = {p["id"]: p["version"] for p in await one.programmes()}
        await made(bl, "/events", limited(of, 2, begin_s=3600))
        await eventually(one.events, lambda found: len(found) == 4)  # both read again
        assert {p["id"]: p["version"] for p in await one.programmes()} == versions
        assert first in await one.events()
        standing = [command for command in await one.commands() if command["state"] not in OVER]
        assert 2500 in [command["value"] for command in standing]


async def test_what_was_made_and_not_noted_is_found_again(vtn, tmp_path, monkeypatch) -> None:
    bl = await vtn.client("operator")
    await program(bl, "P")
    keep, failed = Kept.note, []

    async def keep_later(self, id, known):
        if not failed:
            failed.append(known.noun)
            raise Unavailable("the disk is away")
        await keep(self, id, known)

    monkeypatch.setattr(Kept, "note", keep_later)
    async with home(tmp_path / "home", vtn) as one:
        await one.follow()
        await eventually(one.connected, 1)
        assert [p["id"] for p in await one.programmes()] == failed


async def _vens(bl):
    return {one["venName"] for one in (await bl.get("/vens")).json()}
