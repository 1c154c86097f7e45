"""A node that is told to stop while it is at work: what it was doing is over when it has stopped."""

import asyncio
import threading
import time

from running_node import running, settings_for, until

from gridspine.apps.node import node as composition
from gridspine.infra.archive.query import QueryPool, Stopped
from gridspine.infra.runtime.settings import Archive
from gridspine.things.twin import TwinState

SLOW = "SELECT sum(hash(range)) FROM range(100000000000000)"


async def test_a_snapshot_under_way_is_whole_before_the_last_one_is_written(tmp_path, monkeypatch):
    data, write = tmp_path / "data", TwinState._write
    writing, at_once, most = threading.Event(), [], []

    def slowly(self, file, columns):
        at_once.append(file)
        most.append(len(at_once))
        writing.set()
        time.sleep(1)
        write(self, file, columns)
        at_once.remove(file)

    monkeypatch.setattr(composition, "SNAPSHOT_S", 0.05)
    async with running(data) as world:
        point, _, _ = await world.shared()
        await world.send(point, [1, 2])
        number = world.node.points.number(point)
        monkeypatch.setattr(TwinState, "_write", slowly)
        writing.clear()
        assert await asyncio.to_thread(writing.wait, 60)
    assert set(most) == {1}, "two wrote one file"
    kept = TwinState()
    assert kept.load(data / "twins.npz"), "the snapshot is damaged"
    assert kept.get(number).value == 2


async def test_a_query_ends_with_whoever_asked_for_it(tmp_path, monkeypatch):
    settings, ended, run = settings_for(archive=Archive(query_seconds=600)), [], QueryPool.run

    def watched(self, *given, **more):
        try:
            return run(self, *given, **more)
        except Stopped as stopped:
            ended.append(stopped.detail)
            raise

    monkeypatch.setattr(QueryPool, "run", watched)
    async with running(tmp_path / "data", settings) as world:
        asking = asyncio.ensure_future(world.op.post("/query", json={"sql": SLOW}, timeout=None))
        await asyncio.sleep(1)
        assert not asking.done(), asking.result().text
        await world.running.stop()
        await until(lambda: ended)
        await asyncio.wait_for(asyncio.gather(asking, return_exceptions=True), 60)
        world.running.stop = _nothing


async def _nothing():
    """It was stopped already."""
