"""Devices read on request: one request for a Thing at a time, answered when what was read is durable, or why not."""

import asyncio
from types import SimpleNamespace

import pytest

from gridspine.apps.node import read_now
from gridspine.apps.node.read_now import TIMEOUT_S, Reads
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, Overloaded, Unavailable

THING = "urn:example:b1"


@pytest.fixture
def reads():
    return Reads(SimpleNamespace(get=lambda _: SimpleNamespace(adapter="bus")), VirtualClock())


async def following(reads: Reads) -> "asyncio.Queue[object]":
    """Follow the requests as an adapter would."""
    queue: asyncio.Queue[object] = asyncio.Queue()

    async def follow() -> None:
        async for request in reads.requests("bus"):
            queue.put_nowait(request)

    queue.task = asyncio.ensure_future(follow())  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    return queue


async def test_a_request_ends_when_the_adapter_says_so(reads):
    queue = await following(reads)
    first, again = asyncio.ensure_future(reads.read(THING)), asyncio.ensure_future(reads.read(THING))
    other = asyncio.ensure_future(reads.read(THING, ["voltage"]))
    request, second = await queue.get(), await queue.get()
    assert (request.thing, request.points, second.points) == (THING, (), ("voltage",))
    reads.ended(request.id)
    await asyncio.gather(first, again)
    assert queue.empty(), "whoever asked for the same waited for the same answer"
    reads.ended(second.id, "the device does not answer")
    with pytest.raises(Unavailable, match="does not answer"):
        await other
    reads.ended("unknown")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not reads._ends and not reads._under_way
    queue.task.cancel()
    await asyncio.gather(queue.task, return_exceptions=True)
    with pytest.raises(Conflict, match="cannot be read on request"):
        await reads.read(THING)


async def test_what_is_never_answered_is_given_up(reads, monkeypatch):
    monkeypatch.setattr(read_now, "MAX_WAITING", 1)
    queue = await following(reads)
    asked = asyncio.ensure_future(reads.read(THING))
    await queue.get()
    with pytest.raises(Overloaded):
        await reads.read(THING, ["voltage"])
    await reads._clock.advance(TIMEOUT_S + 1)
    with pytest.raises(Unavailable, match="was not read within"):
        await asked
    assert not reads._ends
    queue.task.cancel()


async def test_whoever_goes_away_does_not_end_it_for_others(reads):
    queue = await following(reads)
    first, second = asyncio.ensure_future(reads.read(THING)), asyncio.ensure_future(reads.read(THING))
    request = await queue.get()
    first.cancel()
    await asyncio.sleep(0)
    reads.ended(request.id)
    await second
    queue.task.cancel()
