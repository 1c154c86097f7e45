"""However many receivers hold their connections, those that answer are told."""

import asyncio

import pytest

from gridspine.adapters.openadr3.seats import AT_ONCE_NEW, AT_ONCE_OF_ONE, Seats


async def test_receivers_that_never_answer_keep_nobody_waiting_who_does() -> None:
    seats, never = Seats(), asyncio.Event()
    async with seats.seat("c", "good"):
        pass

    async def hold(at):
        async with seats.seat("attacker", f"slow {at}"):
            await never.wait()

    tasks = [asyncio.create_task(hold(at % 50)) for at in range(200)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60), seats.seat("c", "good"):
        pass
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_receiver_has_so_many_seats_and_loses_them_when_it_fails() -> None:
    seats, held, most = Seats(), 0, 0
    end = asyncio.Event()

    async def post(receiver):
        nonlocal held, most
        async with seats.seat("c", receiver):
            held, most = held + 1, max(most, held + 1)
            await end.wait()
            held -= 1

    async def most_of(receiver):
        nonlocal most
        most = 0
        end.clear()
        tasks = [asyncio.create_task(post(receiver)) for _ in range(20)]
        await asyncio.sleep(0.01)
        end.set()
        await asyncio.gather(*tasks)
        return most

    assert await most_of("r") == 1
    assert await most_of("r") == AT_ONCE_OF_ONE
    with pytest.raises(OSError, match="gone"):
        async with seats.seat("c", "r"):
            raise OSError("gone")
    assert await most_of("r") == 1
    assert AT_ONCE_NEW > 1
    assert not seats._of_one, "nobody waits, so nothing is kept"
