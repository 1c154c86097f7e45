"""Too many connections, readers that stop, a flood: who was there is served, the rest told, memory bounded."""

import asyncio
import contextlib
import socket

import httpx
import msgspec
import numpy as np
import psutil
import pytest
from killing import read_said
from running_node import BEGIN_S, SENML, running, settings_for, until
from running_streams import stalled_stream

from gridspine.infra.log import writer
from gridspine.infra.log.writer import Priority
from gridspine.kernel.codecs.arrow import encode_arrow

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
FILES = 400


def open_many(port, count):
    opened = []
    for _ in range(count):
        raw = socket.socket()
        raw.settimeout(2)
        try:
            raw.connect(("127.0.0.1", port))
        except OSError:
            raw.close()
            break
        opened.append(raw)
    return opened


def shut(opened):
    for raw in opened:
        raw.close()


def shut_by_node(raw):
    """Whether the node turned a connection away that it had no place for: closed, or told 503 and closed."""
    raw.setblocking(False)
    try:
        said = raw.recv(1000)
        return said == b"" or said.startswith(b"HTTP/1.1 503")
    except BlockingIOError:
        return False
    except OSError:
        return True


async def test_a_node_out_of_descriptors_serves_whom_it_has_and_recovers(nursery, tmp_path, tally):
    data = tmp_path / "data"
    async with running(data, settings_for()) as world:
        point, _, _ = await world.shared()
        principals = [world.op_id]
    ready = tmp_path / "ready"
    settings = msgspec.to_builtins(settings_for())
    process = nursery.fork(
        "node", data=str(data), ready=str(ready), principals=principals, settings=settings, files=FILES
    )
    opened: list[socket.socket] = []
    try:
        said = await asyncio.to_thread(read_said, ready, process)
        headers = {"Authorization": f"Bearer {said['tokens'][0]}"}
        url = f"http://127.0.0.1:{said['port']}"
        async with httpx.AsyncClient(base_url=url, headers=headers, verify=False, timeout=30) as kept:
            assert (await kept.get("/health")).status_code == 200
            opened = await asyncio.to_thread(open_many, said["port"], 2 * FILES)
            for at in range(20):  # whoever is connected is answered, and what needs files gets them
                body = [{"n": point, "v": at, "t": BEGIN_S + at}]
                answer = await kept.post("/readings", json=body, headers=SENML)
                assert answer.json()["accepted"] == 1, answer.text
            assert psutil.Process(process.pid).num_fds() <= FILES
            assert sum(map(shut_by_node, opened)) >= len(opened) - FILES  # the others were let go, not left hanging
            assert (await kept.get("/status")).status_code == 200
            shut(opened)
            deadline = asyncio.get_running_loop().time() + 30
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    async with httpx.AsyncClient(base_url=url, verify=False) as fresh:
                        if (await fresh.get("/health")).status_code == 200:
                            break
                assert asyncio.get_running_loop().time() < deadline, "nobody is let in any more"
                await asyncio.sleep(0.1)
    finally:
        process.kill()
        shut(opened)
    assert "Traceback" not in nursery.said("node")
    tally("no file descriptors left", "node", 1)


def rows(points, first, count):
    at = np.arange(first, first + count)
    values = at.astype(np.float64)
    point = (at % len(points)).astype(np.int32)
    return encode_arrow(points, point, (int(BEGIN_S) + at) * 1_000_000, values, np.zeros(count, np.uint16))


async def test_readers_that_stop_reading_cost_little_memory_and_are_cut(world, tally):
    """Twenty streams nobody reads, under a load of many megabytes each: what waits for them is bounded."""
    point, product, grant = await world.shared()
    stalled = [await stalled_stream(world, f"/products/{product}/stream") for _ in range(20)]
    await until(lambda: world.node.hub.subscriptions == 20)
    me = psutil.Process()
    await world.op.post("/readings", content=rows([point], 0, 20_000), headers=ARROW)
    before = me.memory_info().rss
    for at in range(1, 40):
        answer = await world.op.post("/readings", content=rows([point], at * 20_000, 20_000), headers=ARROW)
        assert answer.json()["accepted"] == 20_000
    # 780,000 readings of 22 bytes for each of 20 readers, were they all kept, are 340 MB; as text six times that.
    assert me.memory_info().rss - before < 250 << 20
    await world.op.post(f"/grants/{grant}/revoke", json={"reason": "enough"})
    await until(lambda: world.node.hub.subscriptions == 0)
    for raw in stalled:
        raw.close()
    tally("a subscriber stops reading", "streams", 20)


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(writer, "LIMITS", {Priority.CONTROL: 100_000, Priority.LIVE: 40_000, Priority.BACKFILL: 20_000})


async def test_a_flood_costs_the_others_nothing(world, small_limits, tally):
    """One source sends as fast as it can from many connections; every post of the others is taken.

    The disk is slow all the while, so that the flood's share of the queue stays full.
    """
    point, _, _ = await world.shared()
    others = [world.client("northside-networks", "operator")[1] for _ in range(4)]
    append, node = world.node.log.append, world.node

    def slowly(records):
        import time

        time.sleep(0.01)
        return append(records)

    node.log.append = slowly
    me, stop, flood = psutil.Process(), asyncio.Event(), {200: 0, 429: 0}
    body = rows([point], 0, 5000)
    before = me.memory_info().rss

    async def pour():
        while not stop.is_set():
            answer = await world.op.post("/readings", content=body, headers=ARROW)
            flood[answer.status_code] += 1

    async def steady(http, who):
        for at in range(25):
            sent = rows([point], 10_000_000 * (who + 1) + at * 100, 100)
            answer = await http.post("/readings", content=sent, headers=ARROW)
            assert answer.status_code == 200, answer.text
            assert answer.json()["accepted"] == 100

    pouring = [asyncio.ensure_future(pour()) for _ in range(16)]
    await until(lambda: flood[429] > 0, 60)
    await asyncio.gather(*(steady(http, who) for who, http in enumerate(others)))
    refused_meanwhile = flood[429]
    stop.set()
    await asyncio.gather(*pouring)
    assert refused_meanwhile > 0
    assert flood[200] > 0  # it gets its share, and no more
    assert me.memory_info().rss - before < 150 << 20
    tally("a source floods", "posts of others, all taken", 100)
