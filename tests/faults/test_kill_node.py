"""``kill -9`` of the node at random moments, at its start and under load: what it answered is there, and only once."""

import asyncio
import contextlib
import itertools
import shutil
import time
from collections import Counter

import httpx
import msgspec
import pytest
from killing import Moments, left_over, read_said
from running_node import BATTERY, BEGIN_S, SENML, running, settings_for

from gridspine.infra.ledger.note import parse_key
from gridspine.infra.ledger.receipt import decode_proof, verify
from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.codecs.batch import decode_batch

BATTERY_ID, SETPOINT = "urn:example:battery", "activePowerSetpoint"
KILLS_A_DIRECTORY = 40
LOAD_S, START_S = 0.12, 0.15


class Truth:
    """What the node answered for, and what was found so far."""

    def __init__(self, folder, world):
        self.data = folder
        self.principals = [world.op_id, world.co_id]
        self.numbers = itertools.count()
        self.acknowledged: set[float] = set()
        self.found: set[float] = set()
        self.offset = 0
        self.grants: list[str] = []
        self.commands: list[str] = []
        self.things: list[str] = []

    def read_log(self):
        """Take up what the log has beyond the last look: no value twice."""
        log = SqliteEventLog(self.data / "log", [Topic("readings")], read_only=True)
        try:
            records = log.read("readings", 0, self.offset, max_records=1 << 30, max_bytes=1 << 30)
        finally:
            log.close()
        values = [value for record in records for value in decode_batch(record.body).value.tolist()]
        assert len(values) == len(set(values))
        assert self.found.isdisjoint(values)
        self.found.update(values)
        self.offset = records[-1].position.offset + 1 if records else self.offset
        lost = self.acknowledged - self.found
        assert not lost, f"{len(lost)} acknowledged readings are lost"


class Clients:
    """Both organisations' clients of a running node."""

    def __init__(self, said):
        url = f"http://127.0.0.1:{said['port']}"
        self.op, self.co = (
            httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, verify=False, timeout=30)
            for token in said["tokens"]
        )

    async def close(self):
        await self.op.aclose()
        await self.co.aclose()


async def prepare(folder):
    """Make a data directory with two organisations, two Things and a product."""
    async with running(folder, settings_for()) as world:
        point, product, _ = await world.shared()
        await world.thing(BATTERY_ID, BATTERY)
        return Truth(folder, world), point, product


async def check(clients, truth, point):
    """The node shows what the log has; standing data, commands and receipts that were answered are there."""
    await asyncio.to_thread(truth.read_log)
    thing, _, name = point.rpartition("/")
    shown = (await clients.op.get(f"/things/{thing}/properties/{name}")).json()["value"]
    assert shown == max(truth.found, default=None)
    key = parse_key((await clients.op.get("/ledger/key")).text.strip())
    for grant in truth.grants:
        assert (await clients.op.get(f"/grants/{grant}")).json()["state"] == "active"
        events = (await clients.op.get("/receipts", params={"subject": grant})).json()
        assert Counter(event["type"] for event in events) == {"grant.requested": 1, "grant.approve": 1}
        receipt = await clients.op.get(f"/receipts/{events[-1]['id']}")
        assert verify(decode_proof(receipt.content), key)
    for command in truth.commands:
        assert (await clients.op.get(f"/commands/{command}")).status_code == 200
    for one in truth.things:
        assert (await clients.op.get(f"/things/{one}")).status_code == 200
    for checked in (truth.grants, truth.commands, truth.things):
        checked.clear()
    assert left_over(truth.data) == []


async def send(http, truth, point):
    """Send batches until the node is gone."""
    while True:
        values = [float(next(truth.numbers)) for _ in range(20)]
        body = msgspec.json.encode([{"n": point, "v": value, "t": BEGIN_S + value} for value in values])
        answer = await http.post("/readings", content=body, headers=SENML)
        outcome = answer.json()
        assert answer.status_code == 200, outcome
        parts = sum(outcome[verdict] for verdict in ("accepted", "suppressed", "duplicate", "refused"))
        assert (outcome["received"], parts, outcome["accepted"]) == (20, 20, 20)
        truth.acknowledged.update(values)


async def arrange(clients, truth, product):
    """Ask for grants, approve them, command and register until the node is gone."""
    while True:
        asked = {"product": product, "purpose": "a", "until": "2100-01-01T00:00:00Z"}
        grant = (await clients.co.post("/grants", json=asked)).json()["id"]
        answer = await clients.op.post(f"/grants/{grant}/approve")
        assert answer.status_code == 200, answer.text
        truth.grants.append(grant)
        wanted = {"thing": BATTERY_ID, "point": SETPOINT, "value": 100, "durationS": 60}
        answer = await clients.op.post("/commands", json=wanted)
        assert answer.status_code == 201, answer.text
        truth.commands.append(answer.json()["id"])
        named = f"urn:example:more{next(truth.numbers)}"
        answer = await clients.op.post("/things", json={"id": named, "title": "M", "model": BATTERY})
        assert answer.status_code == 201, answer.text
        truth.things.append(named)


async def until_gone(work):
    with contextlib.suppress(httpx.HTTPError):
        await work


async def live(nursery, truth, point, product, moments):
    """One life of the node, ended by ``kill -9`` at its start or under load."""
    ready = truth.data.parent / "ready"
    settings = msgspec.to_builtins(settings_for())
    process = nursery.fork("node", data=str(truth.data), ready=str(ready), principals=truth.principals,
                           settings=settings)  # fmt: skip
    if moments.chance(0.15):
        await asyncio.sleep(moments.within(START_S))
        process.kill()
        ready.unlink(missing_ok=True)
        return
    said = await asyncio.to_thread(read_said, ready, process)
    assert said is not None, nursery.said("node")
    clients = Clients(said)
    try:
        await check(clients, truth, point)
        loads = [asyncio.ensure_future(until_gone(send(clients.op, truth, point))) for _ in range(3)]
        loads.append(asyncio.ensure_future(until_gone(arrange(clients, truth, product))))
        await asyncio.sleep(moments.within(LOAD_S))
        await asyncio.to_thread(process.kill)
        await asyncio.gather(*loads)
    finally:
        process.kill()
        await clients.close()


async def kill_often(nursery, folder, kills, template):
    """Kill ``kills`` times, on a fresh directory every `KILLS_A_DIRECTORY`; return how many readings were kept."""
    moments, kept = Moments(), 0
    _, point, product = await prepare(template)
    for first in range(0, kills, KILLS_A_DIRECTORY):
        data = folder / str(first) / "data"
        shutil.copytree(template, data)
        async with running(data, settings_for()) as world:  # the same principals, on a copy
            truth = Truth(data, world)
        for _ in range(min(KILLS_A_DIRECTORY, kills - first)):
            await live(nursery, truth, point, product, moments)
        async with running(data, settings_for()) as world:
            truth.read_log()
            status = (await world.op.get("/status")).json()
            assert not [wrong for wrong in status["wrong"] if "task" in wrong]
            sent = sorted(truth.found)[-200:]
            again = [{"n": point, "v": value, "t": BEGIN_S + value} for value in sent]
            if again:  # what is sent once more is a duplicate, whether or not its answer was heard
                outcome = (await world.op.post("/readings", json=again, headers=SENML)).json()
                assert outcome["duplicate"] == len(again)
            assert left_over(data) == []
        kept += len(truth.acknowledged)
        shutil.rmtree(data)
    return kept


async def test_the_node_survives_kills(nursery, tmp_path, tally):
    started = time.monotonic()
    assert await kill_often(nursery, tmp_path, 30, tmp_path / "template") > 100
    tally("kill -9", "node", 30)
    print(f"{(time.monotonic() - started) / 30:.2f} s a kill")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("series", range(7))
async def test_the_node_survives_very_many_kills(nursery, tmp_path, tally, series):
    """Seven hundred in all; a series of its own each, so that a failure tells which seed it was."""
    assert await kill_often(nursery, tmp_path, 100, tmp_path / "template") > 1_000
    tally("kill -9", "node", 100)
