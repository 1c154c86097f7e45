"""Who looks, works, and then waits misses nothing that changed meanwhile."""

import asyncio

from gridspine.infra.runtime.waiting import Change


async def test_what_changes_while_somebody_works_is_not_missed() -> None:
    change, seen = Change(), []
    world = [1]

    async def follower() -> None:
        while True:
            change.look()
            seen.append(world[0])
            if seen[-1] == 3:
                return
            await asyncio.sleep(0)  # at work: the world goes on
            await change.wait()

    async def others() -> None:
        world[0] = 2
        change.tell()
        await asyncio.sleep(0.01)
        world[0] = 3
        change.tell()

    async with asyncio.timeout(40):
        task = asyncio.create_task(follower())
        await asyncio.sleep(0)
        await others()
        await task
    assert seen == [1, 2, 3]


async def test_who_looked_at_nothing_waits_for_the_next_change_only() -> None:
    change = Change()
    change.tell()
    waiting = asyncio.create_task(change.wait())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    change.tell()
    async with asyncio.timeout(40):
        await waiting


async def test_one_that_looked_once_is_woken_once() -> None:
    change = Change()
    change.look()
    change.look()
    change.tell()
    async with asyncio.timeout(40):
        await change.wait()
    again = asyncio.create_task(change.wait())
    await asyncio.sleep(0.01)
    assert not again.done()
    again.cancel()


def test_beside_the_loop_looking_is_harmless() -> None:
    Change().look()
