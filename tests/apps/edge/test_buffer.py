"""Readings that wait: durable, in order, live first, bounded, and nothing acknowledged is given up."""

import asyncio

import pytest

from gridspine.apps.edge.ballast import Ballast
from gridspine.apps.edge.buffer import LIVE_US, Buffer, Record
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import DiskFull
from gridspine.kernel.time import US


def records(count, begin_us, point="urn:x:m/power"):
    return [Record(point, "W", begin_us + at * US, float(at), 0) for at in range(count)]


@pytest.fixture
async def made(tmp_path):
    buffers = []

    async def make(clock=None, **bounds):
        if buffers:
            await asyncio.to_thread(buffers[-1].close)
        buffer = Buffer(tmp_path, clock or VirtualClock(), Ballast(tmp_path, 0), **({"reserve_bytes": 0} | bounds))
        await buffer.load()
        buffers.append(buffer)
        return buffer

    yield make
    await asyncio.to_thread(buffers[-1].close)


async def test_live_ones_go_first_and_history_in_order(made):
    clock = VirtualClock()
    buffer = await made(clock)
    for _hour in range(5):
        await buffer.keep(records(3, clock.now_us()))
        await clock.advance(3600)
    assert await buffer.live(100) == []
    await buffer.keep(records(1, clock.now_us()))
    (live,) = await buffer.live(100)
    assert live.kept_us == clock.now_us()
    await buffer.done([live])
    seen = []
    while buffer.waiting:
        postings = await buffer.oldest(4)
        seen += [posting.kept_us for posting in postings]
        await buffer.done(postings)
    assert seen == sorted(seen) and len(seen) == 5
    assert (buffer.buffered, buffer.sent) == (16, 16)


async def test_what_was_kept_before_a_start_is_history(made):
    buffer = await made()
    await buffer.keep(records(2, 0))
    buffer = await made()
    assert await buffer.live(100) == []
    assert buffer.waiting == 2
    (posting,) = await buffer.oldest(100)
    assert posting.records == records(2, 0)


async def test_declared_history_is_never_live(made):
    buffer = await made()
    await buffer.keep(records(2, 0), backfill=True)
    assert await buffer.live(100) == []
    assert (await buffer.oldest(100))[0].backfill


async def test_when_it_is_full_new_ones_are_refused_and_none_is_lost(made):
    clock = VirtualClock()
    buffer = await made(clock, max_bytes=20_000)
    kept = 0
    with pytest.raises(DiskFull):
        while True:
            await buffer.keep(records(10, clock.now_us()))
            kept += 10
    assert buffer.waiting == kept > 0
    assert buffer.refused == 10
    await buffer.done(await buffer.oldest(20))
    await buffer.keep(records(10, clock.now_us()))


async def test_the_reserve_of_the_disk_is_for_orders(made):
    buffer = await made(reserve_bytes=1 << 60)
    with pytest.raises(DiskFull, match="for orders"):
        await buffer.keep(records(1, 0))


async def test_only_the_owners_word_drops_what_is_old_and_it_is_counted(made):
    clock = VirtualClock()
    buffer = await made(clock)
    await buffer.keep(records(3, clock.now_us()))
    await clock.advance(400 * 86_400)
    await buffer.sweep()
    assert buffer.waiting == 3
    buffer = await made(clock, keep_days=30)
    await buffer.keep(records(2, clock.now_us()))
    await buffer.sweep()
    assert (buffer.waiting, buffer.dropped) == (2, 3)
    assert (await buffer.report()).dropped == 3


async def test_many_at_once_are_each_kept_whole(made):
    buffer = await made()
    await asyncio.gather(*(buffer.keep(records(5, at * US)) for at in range(200)))
    assert buffer.waiting == 1000
    postings = await buffer.oldest(10_000)
    assert sum(len(one.records) for one in postings) == 1000
    assert LIVE_US > 0
