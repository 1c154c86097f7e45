"""Supervised tasks: started again, told of while they fail and no longer, ended with the node."""

import asyncio
import threading

import pytest

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.infra.runtime.tasks import FIRST_BACK_OFF_S, Supervisor, to_the_end


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_task_that_failed_is_told_of_until_it_ran_for_a_minute() -> None:
    clock, starts = VirtualClock(), 0
    supervisor = Supervisor(clock)

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise ValueError("no luck")
        await asyncio.Event().wait()

    supervisor.start("worker", work)
    await settle()
    (state,) = supervisor.states()
    assert (state.failures, state.error) == (1, "ValueError: no luck")
    await clock.advance(FIRST_BACK_OFF_S + 0.01)
    await settle()
    assert starts == 2
    assert supervisor.states()[0].failures == 1, "it has only just begun"
    await clock.advance(61)
    assert (supervisor.states()[0].failures, supervisor.states()[0].error) == (0, "")
    await supervisor.close()
    assert supervisor.states() == []


async def test_a_task_that_fails_for_ever_is_told_of_for_ever() -> None:
    clock, starts = VirtualClock(), 0
    supervisor = Supervisor(clock)

    async def work() -> None:
        nonlocal starts
        starts += 1
        raise ValueError("never")

    supervisor.start("worker", work)
    for _ in range(12):
        await settle()
        await clock.advance(61)  # longer than it ever waits, and than it takes to be healthy
    assert starts > 10
    assert supervisor.states()[0].failures == starts
    await supervisor.close()


async def test_a_task_that_returns_is_over() -> None:
    supervisor = Supervisor(VirtualClock())

    async def work() -> None:
        return

    supervisor.start("worker", work)
    await settle()
    assert not supervisor.states()[0].running
    await supervisor.close()


async def _fails_as_it_is_ended() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise OSError("the disk is full")


async def _fails_in_a_child() -> None:
    async def child() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("no luck") from None

    async with asyncio.TaskGroup() as group:
        group.create_task(child())


@pytest.mark.parametrize("work", [_fails_as_it_is_ended, _fails_in_a_child])
async def test_a_task_that_fails_as_it_is_ended_is_over(work) -> None:
    supervisor = Supervisor(VirtualClock())
    supervisor.start("worker", work)
    await settle()
    closing = asyncio.create_task(supervisor.close())
    done, _ = await asyncio.wait([closing], timeout=5)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # once more: else the test would never end without what it is for
    assert done, "it was begun anew"
    assert supervisor.states() == []


async def test_who_is_cancelled_waits_for_the_end_of_what_a_thread_does() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        go_on.wait(60)
        ended.append(True)

    task = asyncio.create_task(to_the_end(work))
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    await settle()
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
    assert await to_the_end(lambda: 7) == 7
