"""What every adapter bears, each against its own rig: strangers by the thousand, clocks that jump, links that flap."""

import asyncio
import contextlib
import random

import pytest

from gridspine.testing.bench import Bench
from gridspine.testing.candidate import find
from gridspine.things.adapter_package import packages

STRANGERS, AT_ONCE, DAY_S = 1_000, 100, 86_400.0
_FOREIGN = ("127.0.0.2", 0)
"""Strangers come from another address than the device: what one address may open is bounded."""


def judged():
    """Yield the adapters of ours that have a rig."""
    for name, one in packages().items():
        if one.distribution == "gridspine":
            (candidate,) = find(name)
            if candidate.make_rig is not None:
                yield candidate


RIGS = {one.name: one for one in judged()}
PUSHED = [name for name, one in RIGS.items() if one.make_rig().pushes]
SERVED = {"ieee2030_5", "ocpi", "openadr2", "openadr3"}
"""The node listens for these (`AdapterContext.serve`), and not they: each has a test of its own beside a whole node."""
POLLED = [name for name, one in RIGS.items() if not one.make_rig().pushes]


def bench_of(name):
    one = RIGS[name]
    return Bench(name, one.make, one.make_rig, one.quality, patience_s=20.0)


async def stranger(address, kind, noise):
    """Connect and be no device: say nothing (and stay), talk nonsense until the end, or leave with a reset."""
    try:
        reader, writer = await asyncio.open_connection(*address, local_addr=_FOREIGN)
    except OSError:  # turned away, as it may be
        return None
    if kind == "silent":
        return writer
    with contextlib.suppress(OSError):
        writer.write(noise)
        await writer.drain()
        if kind == "noise":
            async with asyncio.timeout(0.05):
                await reader.read(4_096)
    writer.transport.abort()
    return None


def test_there_are_both_kinds() -> None:
    assert {"mqtt", "ocpp", "webhook"} <= set(PUSHED)
    assert {"modbus", "wot_http"} <= set(POLLED)
    assert {"ieee2030_5", "openadr2", "openadr3"} <= set(PUSHED) & SERVED


@pytest.mark.parametrize("name", [one for one in PUSHED if one not in SERVED])
async def test_a_thousand_strangers_at_once_keep_no_device_out(name) -> None:
    """A third stays half-open, a third talks nonsense, a third leaves in the middle: the device is heard."""
    chance = random.Random(20260101)
    async with bench_of(name).running() as run:
        await run.arrives(run.rig.samples[0], "a reading before")
        (address,) = run.node.address.values()
        half_open = []
        for first in range(0, STRANGERS, AT_ONCE):
            kinds = [("silent", "noise", "reset")[at % 3] for at in range(first, first + AT_ONCE)]
            coming = [stranger(address, kind, chance.randbytes(chance.randint(1, 400))) for kind in kinds]
            found = await asyncio.gather(*coming, return_exceptions=True)
            assert {type(one) for one in found if isinstance(one, BaseException)} <= {TimeoutError}
            half_open += [one for one in found if isinstance(one, asyncio.StreamWriter)]
        await run.rig.cut()  # the device, too, connects anew among them
        await run.rig.restore()
        await run.arrives(run.rig.samples[-1], "a reading while strangers stay", run.bounds_s)
        stored = [(one.point, one.value) for one in run.node.stored]
        assert set(stored) == {(one.point, one.value) for one in (run.rig.samples[0], run.rig.samples[-1])}
        for one in half_open:
            one.transport.abort()


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
@pytest.mark.parametrize("name", RIGS)
async def test_a_clock_that_jumps_loses_no_device(name, step_s) -> None:
    async with bench_of(name).running() as run:
        await run.arrives(run.rig.samples[0], "a reading before")
        run.clock.step_wall(step_s)
        await run.arrives(run.rig.samples[-1], "a reading after", run.bounds_s)


@pytest.mark.parametrize("name", RIGS)
async def test_a_link_that_flaps_is_followed_and_leaves_no_connection_behind(name) -> None:
    async with bench_of(name).running() as run:
        await run.arrives(run.rig.samples[0], "a reading before")
        for _ in range(20):
            await run.rig.cut()
            await run.pace.passes(1.0)
            await run.rig.restore()
            await run.pace.passes(1.0)
        # A client that waits a real second for an answer lets minutes of virtual time pass: there are enough of them.
        await run.arrives(run.rig.samples[-1], "a reading after", 3_600.0)
        assert run.rig.connections <= 2
