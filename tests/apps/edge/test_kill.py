"""An edge killed at random moments, cut off and while it sends: what it acknowledged the node has, once each."""

import asyncio
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from running_node import METER, until

from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import READINGS
from gridspine.kernel.codecs.batch import decode_batch

METER_ID = "urn:example:meter"
KILLS_OFFLINE, KILLS_SENDING = 8, 6
pytestmark = pytest.mark.slow


def settings(folder: Path, node: str) -> Path:
    path = folder / "edge.toml"
    path.write_text(f"node = '{node}'\nkey = 'edge.json'\ndata = 'data-edge'\nadapters = ['counter']\nbatch = 20\n")
    return path


def start(folder: Path, node: str, **environment: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, str(Path(__file__).with_name("process.py"))]
    arguments = [str(settings(folder, node)), str(folder / "notes")]
    with (folder / "edge.log").open("ab") as out:
        return subprocess.Popen([*program, *arguments], stderr=out, env={"PATH": "", **environment})


async def killed(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait, 10)


def acknowledged(folder: Path) -> list[str]:
    notes = folder / "notes"
    return notes.read_text().split("\n")[:-1] if notes.exists() else []


async def test_what_was_acknowledged_is_at_the_node_once_however_often_the_edge_dies(beside, world, tmp_path):
    chance = random.Random(7)
    await beside.thing(METER_ID, METER)
    await world.node.things.change(
        METER_ID, actor="test", connection={"edge": beside.id, "adapter": "counter", "connection": {}}
    )
    process = start(tmp_path, world.url)
    try:
        await until(lambda: len(acknowledged(tmp_path)) > 5, 30)
        await killed(process)
        for _ in range(KILLS_OFFLINE):
            before = len(acknowledged(tmp_path))
            process = start(tmp_path, "http://127.0.0.1:9")
            await until(lambda before=before: len(acknowledged(tmp_path)) > before, 30)
            await asyncio.sleep(chance.uniform(0, 0.3))
            await killed(process)
        for _ in range(KILLS_SENDING):
            before = world.node.stored
            process = start(tmp_path, world.url)
            await until(lambda before=before: world.node.stored > before, 30)
            await asyncio.sleep(chance.uniform(0, 0.1))
            await killed(process)
        process = start(tmp_path, world.url, MOST="1")
        told = set(acknowledged(tmp_path))
        await drained(tmp_path, process)
    finally:
        await killed(process)
    kept = await asyncio.to_thread(kept_at_node, world)
    missing = told - set(kept)
    assert not missing, f"{len(missing)} of {len(told)} acknowledged readings are not at the node"
    assert len(kept) == len(set(kept)), "the node counts a reading twice"
    totals = world.node.intake.books.totals
    assert totals.refused == 0
    print(f"{len(told)} acknowledged, {len(kept)} kept, {totals.duplicate} known again")


async def drained(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until nothing waits at the edge any more."""
    with contextlib.closing(sqlite3.connect(folder / "data-edge" / "readings.db")) as db:
        async with asyncio.timeout(60):
            while db.execute("SELECT count(*) FROM postings").fetchone() != (0,):
                assert process.poll() is None, (folder / "edge.log").read_text()[-2000:]
                await asyncio.sleep(0.1)


def kept_at_node(world) -> list[str]:
    """Return what the node has taken in, as the edge notes it, in the order it came."""
    log = world.node.log
    found = []
    for partition, (first, following) in enumerate(log.bounds(READINGS)):
        for record in scan(log, READINGS, partition, first, following):
            batch = decode_batch(record.body)
            found += [f"{round(v)}@{at}" for v, at in zip(batch.value, batch.observed_us, strict=True)]
    return found
