"""One connection: serialised, timed out, backed off, and honest about what is not known."""

import asyncio
import contextlib
from typing import Any

import pytest
from modbus_bench import relaying

from gridspine.adapters.modbus.address import Endpoint
from gridspine.adapters.modbus.session import Backoff, Refused, Session, Silent, Unreachable
from gridspine.infra.runtime.clock import SystemClock, VirtualClock


def session(port: int, **more: Any) -> Session:
    return Session(Endpoint("tcp", host="127.0.0.1", port=port), SystemClock(), **more)


async def test_requests_of_several_units_never_overlap(start_device: Any):
    ports = {1: start_device("inverter").port, 2: start_device("battery", "--unit", "2").port}
    async with relaying(ports) as relay:
        line = session(relay.port)
        words = await asyncio.gather(*(line.read(unit, 40000, 2) for unit in (1, 2) * 20))
        await line.close()
    assert set(words) == {(0x5375, 0x6E53)}
    assert relay.overlaps == 0
    assert relay.connections == 1
    assert len(relay.requests) == 40


async def test_an_exception_is_a_refusal_and_the_connection_stays(start_device: Any):
    line = session(start_device("inverter").port)
    with pytest.raises(Refused) as refusal:
        await line.read(1, 3, 2)
    assert refusal.value.exception_code == 2
    assert await line.read(1, 40000, 2) == (0x5375, 0x6E53)
    assert line.generation == 1
    await line.close()


@pytest.mark.parametrize("code", [5, 6])
async def test_a_busy_device_is_read_again_and_never_written_again(start_device: Any, code: int):
    async with relaying({1: start_device("inverter").port}) as relay:
        line = session(relay.port)
        relay.refuse = {(1, 3): code, (1, 16): code}
        with pytest.raises(Refused):
            await line.read(1, 40000, 2)
        assert relay.refusals == 3
        with pytest.raises(Refused):
            await line.write(1, 40000, [1])
        assert relay.refusals == 4
        relay.refuse = {}
        assert await line.read(1, 40000, 2) == (0x5375, 0x6E53)
        await line.close()


async def test_a_unit_away_behind_a_gateway_is_silent_and_the_others_go_on(start_device: Any):
    async with relaying({1: start_device("inverter").port}) as relay:
        line = session(relay.port)
        with pytest.raises(Silent, match="behind"):
            await line.read(9, 40000, 2)
        assert await line.read(1, 40000, 2) == (0x5375, 0x6E53)
        assert relay.connections == 1
        await line.close()


async def test_no_answer_is_silence_and_after_three_the_connection_is_made_anew(start_device: Any):
    async with relaying({1: start_device("inverter").port}) as relay:
        line = session(relay.port, timeout_s=0.3)
        relay.mute = True
        for _ in range(3):
            with pytest.raises(Silent):
                await line.read(1, 40000, 2)
        relay.mute = False
        line.allow(20)
        assert await line.read(1, 40000, 2) == (0x5375, 0x6E53)
        assert relay.connections == 2
        assert line.generation == 2
        await line.close()


async def test_a_connection_cut_is_made_anew(start_device: Any):
    async with relaying({1: start_device("inverter").port}) as relay:
        line = session(relay.port)
        await line.read(1, 40000, 2)
        relay.cut()
        await asyncio.sleep(0.1)
        assert await line.read(1, 40000, 2) == (0x5375, 0x6E53)
        assert line.generation == 2
        await line.close()


async def test_nobody_there_is_unreachable_and_not_tried_again_at_once(unused_tcp_port: int):
    clock = VirtualClock()
    line = Session(Endpoint("tcp", host="127.0.0.1", port=unused_tcp_port), clock)
    with pytest.raises(Unreachable, match="cannot be reached"):
        await line.read(1, 40000, 2)
    with pytest.raises(Unreachable, match="waits"):
        await line.read(1, 40000, 2)
    await clock.advance(1.0)
    with pytest.raises(Unreachable, match="cannot be reached"):
        await line.read(1, 40000, 2)
    await line.close()


async def test_the_answer_to_a_cancelled_request_is_not_taken_for_the_next(start_device: Any):
    line = session(start_device("inverter").port)
    await line.read(1, 40000, 2)
    task = asyncio.create_task(line.read(1, 40002, 2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await line.read(1, 40000, 2) == (0x5375, 0x6E53)
    await line.close()


def test_backoff_grows_with_jitter_to_its_cap_and_starts_over():
    backoff = Backoff(VirtualClock(seed=3), 1.0, 30.0)
    pauses = [backoff.failed_s() for _ in range(12)]
    for number, pause_s in enumerate(pauses):
        assert 0.5 * min(30.0, 2.0**number) <= pause_s <= 1.5 * min(30.0, 2.0**number)
    assert len(set(pauses)) == len(pauses)
    backoff.succeeded()
    assert backoff.failed_s() <= 1.5


async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(start_device: Any):
    line = session(start_device("inverter").port)
    for steps in range(30):
        await line.read(1, 40000, 2)
        task = asyncio.create_task(_read_for_ever(line))
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001 * (steps % 5))
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=60)
        assert done, f"still reading after a cancellation at step {steps}"
    await line.close()


async def test_a_cancellation_that_comes_with_a_refused_connection_is_not_lost(unused_tcp_port: int):
    for steps in range(40):
        line = session(unused_tcp_port)
        task = asyncio.create_task(_try_for_ever(line))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=60)
        assert done, f"still trying after a cancellation at step {steps}"
        await line.close()


async def _try_for_ever(line: Session) -> None:
    while True:
        with contextlib.suppress(Unreachable):
            await line.read(1, 40000, 2)
        await asyncio.sleep(0.01)


async def _read_for_ever(line: Session) -> None:
    while True:
        await line.read(1, 40000, 2)
