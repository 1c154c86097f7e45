"""A node that stops, or is stopped, and starts again: nothing acknowledged is lost, nothing in force is forgotten."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys

import httpx
import pytest
from running_node import BATTERY, BEGIN_S, METER, SENML, Sse, World, running, settings_for, until, with_http

from gridspine.apps.node.run import start
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.runtime.settings import Adapters, Tls
from gridspine.kernel.errors import DiskFull, GridspineError
from gridspine.kernel.readings import Channel, named_readings
from gridspine.things.adapter import Source
from gridspine.things.command import COMMANDS, OrderIssued, decode_event
from gridspine.things.offence import OffenceRule


async def properties(world, thing="urn:example:m1"):
    """Values, times and qualities of a Thing's points; how long ago is another matter."""
    shown = (await world.op.get(f"/things/{thing}/properties")).json()
    return [{name: one[name] for name in ("name", "value", "observed", "quality")} for one in shown]


async def fill(world):
    point, product, _ = await world.shared()
    await world.send(point, range(100))
    await world.send("urn:example:m1/voltage", [230, 300, 231])  # one beyond the limits
    await world.send("urn:example:m1/voltage", [10], begin_s=BEGIN_S - 1000, backfill="true")
    return point, product


@pytest.mark.parametrize("snapshot", ["as saved", "deleted", "damaged", "old"])
async def test_twins_come_back_from_snapshot_and_tail(tmp_path, snapshot):
    data = tmp_path / "data"
    async with running(data) as world:
        await fill(world)
        if snapshot == "old":
            world.node._save_twins()
            shutil.copy(data / "twins.npz", tmp_path / "old.npz")
        await world.send("urn:example:m1/voltage", [240], begin_s=BEGIN_S + 50)
        before = await properties(world)
    if snapshot == "deleted":
        (data / "twins.npz").unlink()
    elif snapshot == "damaged":
        whole = (data / "twins.npz").read_bytes()
        (data / "twins.npz").write_bytes(whole[: len(whole) // 2])
    elif snapshot == "old":
        shutil.copy(tmp_path / "old.npz", data / "twins.npz")
    async with running(data) as world:
        assert await properties(world) == before
        again = await world.send("urn:example:m1/activeEnergyImport", range(100))
        assert (again["accepted"], again["duplicate"]) == (0, 100)  # the screen's memory is back, too
        unchanged = await world.send("urn:example:m1/voltage", [240.1], begin_s=BEGIN_S + 60)
        assert unchanged["suppressed"] == 1


async def test_things_products_grants_and_cursors_go_on(tmp_path):
    data = tmp_path / "data"
    async with running(data) as world:
        point, product = await fill(world)
        records, cursor = await world.pull_all(product)
        assert len(records) == 100
        first = world.node.things.get("urn:example:m1").first
        token_client = world.co_id
    async with running(data) as world:
        assert world.node.identity.directory.active(token_client) is not None
        world.co.headers["authorization"] = f"Bearer {world.node.identity.demo.issue(token_client)}"
        assert world.node.things.get("urn:example:m1").first == first
        await world.send(point, [1000], begin_s=BEGIN_S + 1000)
        records, _ = await world.pull_all(product, cursor)
        assert [record["v"] for record in records] == [1000]
        records, _ = await world.pull_all(product)
        assert [record["v"] for record in records] == [*range(100), 1000]
        await world.thing("urn:example:m2")
        assert world.node.things.get("urn:example:m2").first >= first + 5


async def test_numbers_name_the_same_points_after_a_restart(tmp_path):
    """Things are read in the order of their ids, which is not that of their numbers."""
    data = tmp_path / "data"
    async with running(data) as world:
        for at in (11, 2, 10, 1, 3):
            await world.thing(f"urn:example:m{at}", BATTERY if at % 2 else METER)
        names = [world.node.points.point_id(number) for number in range(world.node.points.count)]
        assert names[0].startswith("urn:example:m11/")
        point = "urn:example:m2/activeEnergyImport"
        product = await world.product(point)
    async with running(data) as world:
        assert [world.node.points.point_id(number) for number in range(world.node.points.count)] == names
        assert [world.node.points.number(name) for name in names] == list(range(len(names)))
        mask = world.node.access.mask(world.node.access.product(product))
        assert (mask.units, mask.local[world.node.points.number(point)]) == (["Wh"], 0)


async def test_commands_in_force_are_sent_again_after_a_restart(tmp_path):
    """Whoever speaks to the device is told of the lease again; one that ended meanwhile, or was cancelled, is not."""
    data = tmp_path / "data"
    async with running(data) as world:
        await world.thing("urn:example:b1", BATTERY, adapter="bus")
        await world.thing("urn:example:b2", BATTERY, adapter="bus")
        await world.thing("urn:example:b3", BATTERY, adapter="bus")
        ids = {}
        for thing, duration in (("urn:example:b1", 600), ("urn:example:b2", 600), ("urn:example:b3", 0.3)):
            wanted = {"thing": thing, "point": "activePowerSetpoint", "value": 1500, "durationS": duration}
            answer = await world.op.post("/commands", json=wanted)
            assert answer.status_code == 201, answer.text
            ids[thing] = answer.json()["id"]
        await world.op.post(f"/commands/{ids['urn:example:b2']}/cancel")
        await asyncio.sleep(0.5)
    async with running(data) as world:
        orders = []

        async def adapter():
            async for order in world.node.commands.orders("bus"):
                orders.append(order)

        task = asyncio.ensure_future(adapter())
        await until(lambda: any(order.thing == "urn:example:b1" for order in orders))
        task.cancel()
        command = (await world.op.get(f"/commands/{ids['urn:example:b1']}")).json()
        assert command["state"] in {"accepted", "sent"}
        (order,) = [one for one in orders if one.thing == "urn:example:b1" and one.value == 1500]
        assert order.until_us > world.node.clock.now_us()
        assert all(one.value != 1500 for one in orders if one.thing != "urn:example:b1")
        states = {one: (await world.op.get(f"/commands/{ids[one]}")).json()["state"] for one in ids}
        assert states["urn:example:b2"] == "cancelled"
        assert states["urn:example:b3"] in {"ended", "expired", "failed"}


async def test_a_cancelled_order_is_not_sent_again_where_a_full_disk_kept_its_end_away(tmp_path, monkeypatch):
    data, append = tmp_path / "data", SqliteEventLog.append

    def full(self, records):
        if any(record.topic == COMMANDS and isinstance(decode_event(record.body), OrderIssued) for record in records):
            raise DiskFull("no room")
        return append(self, records)

    async with running(data) as world:
        await world.thing("urn:example:b1", BATTERY, adapter="bus")
        wanted = {"thing": "urn:example:b1", "point": "activePowerSetpoint", "value": 1500, "durationS": 600}
        command = (await world.op.post("/commands", json=wanted)).json()["id"]
        assert world.node.commands.commander.issued("urn:example:b1", "activePowerSetpoint") is not None
        monkeypatch.setattr(SqliteEventLog, "append", full)
        answer = await world.op.post(f"/commands/{command}/cancel")
        assert answer.json()["changes"][-1]["state"] == "cancelled"
    async with running(data) as world, contextlib.aclosing(world.node.commands.orders("bus")) as orders:
        heard = asyncio.ensure_future(anext(orders))
        await asyncio.sleep(0)  # it follows
        monkeypatch.undo()
        order = await asyncio.wait_for(heard, 30)
        assert (order.command, order.value) == (command, None), "its end, once there is room again"


async def test_all_stop_survives(tmp_path):
    data = tmp_path / "data"
    async with running(data) as world:
        await world.thing("urn:example:b1", BATTERY)
        assert (await world.op.post("/all-stop", json={"reason": "fire"})).json() == {"stopped": True}
    async with running(data) as world:
        wanted = {"thing": "urn:example:b1", "point": "activePowerSetpoint", "value": 1, "durationS": 60}
        refused = (await world.op.post("/commands", json=wanted)).json()
        assert refused["state"] == "refused"
        await world.op.post("/all-stop", params={"release": "true"}, json={"reason": "over"})
        assert (await world.op.post("/commands", json=wanted)).json()["state"] in {"accepted", "sent"}


async def test_quarantine_survives_and_the_session_is_told(tmp_path, monkeypatch):
    data = tmp_path / "data"
    async with running(data) as world:
        world.node.offences._rule = OffenceRule(limit=20)
        thing = await world.thing()
        body = [{"n": f"{thing}/activeEnergyImport", "v": -1, "t": BEGIN_S}] * 30
        await world.op.post("/readings", json=body, headers=SENML)
        outcome = await world.send(f"{thing}/activeEnergyImport", [1])
        assert outcome["problems"][0]["reason"] == "source-quarantined"
        culprit = world.op_id
        assert (await world.op.get("/status")).json()["quarantined"] == [culprit]
        await until(lambda: world.node.quarantine_watch._known)
        incidents = (await world.op.get("/incidents")).json()
        assert [one["subject"] for one in incidents] == [culprit]
    async with running(data) as world:
        assert (await world.op.get("/status")).json()["quarantined"] == [culprit]
        token = world.node.identity.demo.issue(culprit)
        async with httpx.AsyncClient(base_url=world.url, headers={"Authorization": f"Bearer {token}"}) as http:
            body = [{"n": f"{thing}/activeEnergyImport", "v": 5, "t": BEGIN_S + 5}]
            outcome = (await http.post("/readings", json=body, headers=SENML)).json()
            assert outcome["problems"][0]["reason"] == "source-quarantined"
            assert (await world.send(f"{thing}/activeEnergyImport", [6]))["accepted"] == 1  # others may
            released = await world.op.post("/quarantine/release", params={"principal": culprit})
            assert released.status_code == 200
            assert (await http.post("/readings", json=body, headers=SENML)).json()["accepted"] == 1
        assert len((await world.op.get("/incidents")).json()) == 1  # not a second one
    async with running(data) as world:
        assert (await world.op.get("/status")).json()["quarantined"] == []


async def test_a_second_node_on_the_same_data_is_refused_with_a_sentence(world):
    with pytest.raises(GridspineError) as refused:
        await start(settings_for(), world.folder)
    assert str(world.folder) in refused.value.detail
    assert str(os.getpid()) in refused.value.detail
    environment = os.environ | {"GRIDSPINE_HTTP__PORT": "0"}
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gridspine.apps.cli", "up", "--data", str(world.folder)],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "in use by another node" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (await world.nobody.get("/health")).status_code == 200


@pytest.mark.parametrize(("marker", "words"), [("3", "upgrade"), ("x", "number"), ("999999", "upgrade")])
async def test_a_format_of_another_release_is_refused_and_untouched(tmp_path, marker, words):
    data = tmp_path / "data"
    async with running(data):
        pass
    (data / "format").write_text(marker)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(GridspineError) as refused:
        await start(settings_for(), data)
    assert words in refused.value.detail
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (data / "format").write_text("1")
    async with running(data):
        pass


@pytest.mark.parametrize("fault", ["adapter", "port", "tls"])
async def test_a_node_that_cannot_start_lets_go_of_everything(tmp_path, fault):
    data = tmp_path / "data"
    async with running(tmp_path / "other") as other:
        settings = {
            "adapter": settings_for(adapters=Adapters(allow=["no-such-adapter"])),
            "port": settings_for(http={}),
            "tls": settings_for(tls=Tls(enabled=True, port=other.running.port)),
        }[fault]
        if fault == "port":
            settings = with_http(settings, port=other.running.port)
        with pytest.raises(GridspineError) as refused:
            await start(settings, data)
        assert refused.value.detail
    async with running(data):  # the lock is free again
        pass


async def test_a_graceful_stop_loses_nothing_under_load(tmp_path):
    """Posts go on while the node stops: every one that was answered 200 is there afterwards, no other is a must."""
    data = tmp_path / "data"
    world = await World.start(data)
    point, product, _ = await world.shared()
    acknowledged = []
    stream = Sse()
    following = asyncio.ensure_future(stream.follow(world.co, product))
    await stream.opened.wait()

    async def post(at):
        while True:
            values = range(at, at + 20)
            try:
                body = [{"n": point, "v": value, "t": BEGIN_S + value} for value in values]
                answer = await world.op.post("/readings", json=body, headers=SENML)
            except httpx.HTTPError:
                return
            if answer.status_code != 200:
                return
            assert answer.json()["accepted"] == 20
            acknowledged.extend(values)
            at += 1000

    posting = [asyncio.ensure_future(post(at * 20)) for at in range(8)]
    await until(lambda: len(acknowledged) > 1500)
    await world.running.stop()
    await asyncio.gather(*posting)
    await asyncio.wait_for(following, 60)
    assert stream.ended["reason"] == "node-stopping"
    await world.hang_up()
    async with running(data) as again:
        again.co.headers["authorization"] = f"Bearer {again.node.identity.demo.issue(world.co_id)}"
        records, _ = await again.pull_all(product)
        found = [record["v"] for record in records]
        assert len(found) == len(set(found))
        assert set(acknowledged) <= set(found)
        rest, _ = await again.pull_all(product, stream.ended["cursor"])
        streamed = [record["v"] for record in stream.records]
        assert sorted(streamed + [record["v"] for record in rest]) == sorted(found)


async def test_emulated_readings_never_move_a_twin_also_not_after_a_restart(tmp_path):
    data = tmp_path / "data"
    async with running(data) as world:
        await fill(world)
        before = await properties(world)
        batch = named_readings([("urn:example:m1/voltage", "V", (BEGIN_S + 900) * 1_000_000, 111.0, 0)])
        source = Source(world.op_id, "northside-networks", "x")
        for channel in (Channel.EMULATED, Channel.PLANNED, Channel.COMMANDED):
            assert (await world.node.intake.submit(batch, source, channel=channel)).accepted == 1
        assert await properties(world) == before
    (data / "twins.npz").unlink()
    async with running(data) as world:
        assert await properties(world) == before
        assert METER in {model.id for model in world.node.points.models()}
