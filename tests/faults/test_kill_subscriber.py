"""``kill -9`` of a subscriber at random moments: it goes on from the cursor it kept, and has every reading once."""

import asyncio
import itertools
import json

import pytest
from killing import Moments
from running_node import BEGIN_S, running, settings_for, until


def kept_values(path):
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines()
    return [value for line in whole for value in json.loads(line)["values"]]


async def kill_often(nursery, folder, kills):
    moments, kept, numbers = Moments(), folder / "kept", itertools.count()
    async with running(folder / "data", settings_for()) as world:
        point, product, _ = await world.shared()
        token = world.co.headers["authorization"].removeprefix("Bearer ")
        arguments = {"port": world.running.port, "token": token, "product": product, "kept": str(kept)}
        stop = asyncio.Event()

        async def load():
            while not stop.is_set():
                first = next(numbers) * 10
                await world.send(point, range(first, first + 10), begin_s=BEGIN_S + first)
                await asyncio.sleep(0.005)

        loading = asyncio.ensure_future(load())
        for _ in range(kills):
            process = nursery.fork("subscriber", **arguments)
            await asyncio.sleep(moments.within(0.25))
            await asyncio.to_thread(process.kill)
        stop.set()
        await loading
        wanted = [float(value) for value in range(next(numbers) * 10)]
        process = nursery.fork("subscriber", **arguments)
        await until(lambda: len(kept_values(kept)) >= len(wanted), 60)
        process.kill()
        assert kept_values(kept) == wanted
        await until(lambda: world.node.hub.subscriptions == 0)  # no place is held for the dead
    return len(wanted)


async def test_a_subscriber_survives_kills(nursery, tmp_path, tally):
    assert await kill_often(nursery, tmp_path, 6) > 0
    tally("kill -9", "subscriber", 6)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_subscriber_survives_many_kills(nursery, tmp_path, tally):
    assert await kill_often(nursery, tmp_path, 80) > 1000
    tally("kill -9", "subscriber", 80)
