"""Clocks: virtual time wakes sleepers in order; the machine's own moves on."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.runtime.clock import SystemClock, VirtualClock
from gridspine.kernel.time import US


async def test_sleepers_wake_in_order_each_at_its_own_time() -> None:
    clock, woken = VirtualClock(), []
    start = clock.now_us()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now_us() - start))

    tasks = [asyncio.create_task(sleeper(name, s)) for name, s in (("c", 3), ("a", 1), ("b", 1), ("now", 0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == [("now", 0)]
    await clock.advance(2.5)
    assert woken == [("now", 0), ("a", US), ("b", US)]
    assert clock.now_us() - start == clock.monotonic_us() == 2.5 * US
    await clock.advance(10)
    await asyncio.gather(*tasks)
    assert woken[-1] == ("c", 3 * US)


async def test_a_sleeper_that_sleeps_again_wakes_within_one_advance() -> None:
    clock, beats = VirtualClock(), []

    async def beat() -> None:
        for _ in range(4):
            await clock.sleep(1)
            beats.append(clock.monotonic_us())

    task = asyncio.create_task(beat())
    await asyncio.sleep(0)
    await clock.advance(4)
    await task
    assert beats == [US, 2 * US, 3 * US, 4 * US]


async def test_a_cancelled_sleeper_does_not_stop_the_others() -> None:
    clock = VirtualClock()
    gone, stays = asyncio.create_task(clock.sleep(1)), asyncio.create_task(clock.sleep(2))
    await asyncio.sleep(0)
    gone.cancel()
    await clock.advance(3)
    await stays
    assert gone.cancelled()


async def test_the_wall_clock_may_jump_while_monotonic_time_does_not() -> None:
    clock = VirtualClock()
    start = clock.now_us()
    clock.step_wall(-5)
    assert (clock.now_us(), clock.monotonic_us()) == (start - 5 * US, 0)
    await clock.advance(1)
    assert (clock.now_us(), clock.monotonic_us()) == (start - 4 * US, US)


@given(st.integers(), st.integers(0, 100))
def test_a_seed_repeats_itself(seed: int, size: int) -> None:
    assert VirtualClock(seed=seed).randbytes(size) == VirtualClock(seed=seed).randbytes(size)


async def test_the_machine_s_clock() -> None:
    clock = SystemClock()
    before = clock.monotonic_us()
    await clock.sleep(0)
    assert clock.monotonic_us() >= before
    assert clock.now_us() > 1_700_000_000 * US
    assert len(clock.randbytes(16)) == 16
    assert clock.randbytes(16) != clock.randbytes(16)
