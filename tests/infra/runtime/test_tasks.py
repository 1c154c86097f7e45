"""Supervised tasks: started again, told of while they fail and no longer, ended with the node."""

import asyncio

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.infra.runtime.tasks import FIRST_BACK_OFF_S, Supervisor


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
