"""Too much, and no room: stated answers, nothing half-kept unsaid, and recovery without anybody's help."""

import asyncio

import msgspec
import numpy as np
import pytest
from running_node import BATTERY, BEGIN_S, SENML, running, settings_for, until

from gridspine.infra.log import writer
from gridspine.infra.log.writer import Priority
from gridspine.infra.runtime.settings import Log
from gridspine.kernel.codecs.arrow import encode_arrow

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
RESERVE = 1 << 20


def rows(point, first, count):
    value = np.arange(first, first + count, dtype=np.float64)
    times = (BEGIN_S + np.arange(first, first + count)) * 1_000_000
    return encode_arrow([point], np.zeros(count, np.int32), times, value, np.zeros(count, np.uint16))


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(writer, "LIMITS", {Priority.CONTROL: 100_000, Priority.LIVE: 40_000, Priority.BACKFILL: 20_000})


async def test_a_flood_is_answered_429_and_what_was_not_refused_is_kept(world, small_limits):
    """The disk stands still: what fits waits, the rest is told to come again, and each answer is the truth."""
    point, product, _ = await world.shared()
    world.node.log._lock.acquire()  # as a disk that does not answer
    posts = []
    try:
        for at in range(12):
            posts.append(
                asyncio.ensure_future(world.op.post("/readings", content=rows(point, at * 5000, 5000), headers=ARROW))
            )
            await asyncio.sleep(0.02)
        await until(lambda: sum(post.done() for post in posts) >= 6)
    finally:
        world.node.log._lock.release()
    answers = await asyncio.gather(*posts)
    refused = [at for at, answer in enumerate(answers) if answer.status_code == 429]
    kept = [at for at, answer in enumerate(answers) if answer.status_code == 200]
    assert refused
    assert kept
    assert sorted(refused + kept) == list(range(12))
    for at in refused:
        assert int(answers[at].headers["retry-after"]) >= 1
        assert answers[at].json()["type"].endswith("/overloaded")
    for at in kept:
        assert answers[at].json()["accepted"] == 5000
    found, _ = await world.pull_all(product)
    wanted = [float(value) for at in kept for value in range(at * 5000, at * 5000 + 5000)]
    assert sorted(record["v"] for record in found) == wanted
    assert (await world.op.get("/status")).json()["readings"]["received"] == len(wanted)
    for at in refused:  # and later everything is taken
        answer = await world.op.post("/readings", content=rows(point, at * 5000, 5000), headers=ARROW)
        assert answer.json()["accepted"] == 5000


async def test_one_flooding_source_leaves_room_for_others(world, small_limits):
    point, _, _ = await world.shared()
    _, other = world.client("northside-networks", "operator")
    world.node.log._lock.acquire()
    try:
        flood = [
            asyncio.ensure_future(world.op.post("/readings", content=rows(point, at * 5000, 5000), headers=ARROW))
            for at in range(10)
        ]
        await until(lambda: any(post.done() for post in flood))
        quiet = asyncio.ensure_future(other.post("/readings", content=rows(point, 100_000, 5000), headers=ARROW))
        await asyncio.sleep(0.2)
        assert not quiet.done()  # it waits its turn, and is not refused
    finally:
        world.node.log._lock.release()
    assert (await quiet).status_code == 200
    assert {answer.status_code for answer in await asyncio.gather(*flood)} == {200, 429}


async def test_backfill_has_its_own_bound_and_live_goes_first(world, small_limits):
    point, _, _ = await world.shared()
    world.node.log._lock.acquire()
    try:
        history = [
            asyncio.ensure_future(
                world.op.post("/readings", content=rows(point, at * 5000, 5000), headers=ARROW | {"backfill": "true"})
            )
            for at in range(8)
        ]
        await until(lambda: any(post.done() for post in history))
        live = asyncio.ensure_future(world.send(point, [1e6], begin_s=BEGIN_S + 1e6))
        await asyncio.sleep(0.1)
    finally:
        world.node.log._lock.release()
    assert (await live)["accepted"] == 1
    assert {answer.status_code for answer in await asyncio.gather(*history)} == {200, 429}


async def check_control_goes_on(world, grant_product):
    """Commands, grants, decisions and their receipts do not need the room that readings have lost."""
    asked = {"product": grant_product, "purpose": "a", "until": "2100-01-01T00:00:00Z"}
    grant = (await world.co.post("/grants", json=asked)).json()
    answer = await world.op.post(f"/grants/{grant['id']}/approve")
    assert answer.status_code == 200, answer.text
    wanted = {"thing": "urn:example:battery", "point": "activePowerSetpoint", "value": 100, "durationS": 60}
    command = await world.op.post("/commands", json=wanted)
    assert command.status_code == 201, command.text
    assert command.json()["state"] in {"accepted", "sent"}, command.text
    for subject in (grant["id"], command.json()["id"]):
        async with asyncio.timeout(60):
            while not (await world.op.get("/receipts", params={"subject": subject})).json():
                await asyncio.sleep(0.02)
    denied = await world.co.get("/things/urn:example:battery")
    decision = denied.json()["decision"].encode()
    await until(lambda: any(decision in record.body for record in world.node.log.read("audit", 0, 0, max_records=9999)))


async def test_a_full_disk_refuses_readings_only_and_recovers_by_itself(tmp_path):
    free = [1 << 40]
    async with running(tmp_path / "data", settings_for(log=Log(reserve_bytes=RESERVE))) as world:
        world.node.room._free = lambda: free[0]
        point, product, _ = await world.shared()
        await world.thing("urn:example:battery", BATTERY)
        await world.send(point, range(10))
        free[0] = RESERVE // 2
        world.node.room._unchecked_bytes = 1 << 30  # look at the next write
        body = [{"n": point, "v": 100 + at, "t": BEGIN_S + 100 + at} for at in range(10)]
        answer = await world.op.post("/readings", json=body, headers=SENML)
        assert answer.status_code == 507, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"].endswith("/disk-full")
        assert (await world.nobody.get("/ready")).status_code == 503
        status = (await world.op.get("/status")).json()
        assert status["diskFull"]
        assert status["wrong"]
        assert status["readings"]["received"] == status["stored"] == 10
        await check_control_goes_on(world, product)
        records, _ = await world.pull_all(product)
        assert len(records) == 10
        value = (await world.op.get("/things/urn:example:m1/properties/activeEnergyImport")).json()["value"]
        assert value == 9  # the screen and the twin know nothing of what was refused
        free[0] = 1 << 40
        answer = await world.op.post("/readings", json=body, headers=SENML)
        assert answer.status_code == 200, answer.text
        assert answer.json()["accepted"] == 10  # not a duplicate: nothing of it was kept before
        async with asyncio.timeout(60):  # what else a busy machine kept from being ready may be a moment late
            while (await world.nobody.get("/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        assert not (await world.op.get("/status")).json()["diskFull"]


async def test_the_room_kept_back_is_the_settings(tmp_path):
    """A reserve that no disk has: readings are refused from the start, control is not."""
    settings = settings_for(log=Log(reserve_bytes=1 << 60))
    async with running(tmp_path / "data", settings) as world:
        point, product, _ = await world.shared()
        await world.thing("urn:example:battery", BATTERY)
        answer = await world.op.post("/readings", json=[{"n": point, "v": 1, "t": BEGIN_S}], headers=SENML)
        assert answer.status_code == 507
        await check_control_goes_on(world, product)
        assert msgspec.json.decode(answer.content)["status"] == 507
