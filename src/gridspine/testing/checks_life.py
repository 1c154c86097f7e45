"""The rules of breaks, restarts, orders and endings that a machine sees; see `gridspine.testing.checks`."""

import asyncio
from collections.abc import Callable
from functools import partial

from gridspine.testing.bench import Bench, Run, WatchedStore
from gridspine.testing.verdict import Failed

_QUIET_S = 30.0
_LONG_S = 120.0
_MANY_ORDERS, _FEW_ORDERS = 40, 4


async def cancel_clean(bench: Bench) -> None:
    """Cancelled at three moments, it leaves no task and no connection."""
    for moment in ("idle", "amid an intake", "before a silent device"):
        before = asyncio.all_tasks()
        async with bench.running() as run:
            rig = run.rig
            await run.arrives(rig.samples[0], "a reading")
            if moment == "amid an intake":
                run.node.gate.clear()
                await rig.measure(rig.samples[-1])
                await run.pace.until(partial(_waits, run), "another reading is handed in", 600.0)
            elif moment == "before a silent device":
                rig.silent = True
                await run.pace.passes(_QUIET_S)
        await _settle(partial(_only, before), bench.patience_s)
        left = sorted(task.get_name() for task in asyncio.all_tasks() - before)
        if left:
            raise Failed(f"cancelled {moment}, it leaves {len(left)} tasks: {', '.join(left[:3])}")
        if rig.connections:
            raise Failed(f"cancelled {moment}, it leaves {rig.connections} connections open")


async def reconnect(bench: Bench) -> None:
    """Cut off for a minute, the device is heard again."""
    async with bench.running() as run:
        await run.arrives(run.rig.samples[0], "a reading")
        await run.rig.cut()
        await run.pace.passes(60.0)
        await run.rig.restore()
        await run.arrives(run.rig.samples[-1], "a reading after the break", run.bounds_s)


async def restart_resumes(bench: Bench) -> None:
    """Stopped and started again, it reads on; an order in force stays what it was."""
    store, rig = WatchedStore(), bench.make_rig()
    async with bench.running(rig=rig, store=store) as run:
        await run.arrives(rig.samples[0], "a reading")
        order = run.order(1_000.0, for_s=1e6)
        run.node.order(order)
        await run.pace.until(lambda: run.node.progressed, "a word about an order", _LONG_S)
    written = len(rig.written)
    async with bench.running(rig=rig, store=store, orders=(order,)) as run:
        await run.arrives(rig.samples[-1], "a reading after the restart")
        await run.pace.passes(_QUIET_S)
    if rig.commands and set(rig.written[written:]) - {order.value}:
        raise Failed(f"after the restart the device was given {rig.written[written:]}, and {order.value:g} is in force")


async def follows_bindings(bench: Bench) -> None:
    """A Thing taken away is read no more; one that comes back is."""
    async with bench.running() as run:
        await run.arrives(run.rig.samples[0], "a reading")
        things = run.node.bindings()
        run.node.may, allowed = {}, run.node.may
        run.node.set_bindings([])
        await run.pace.passes(_QUIET_S)
        before = len(run.node.stored)
        await run.rig.measure(run.rig.samples[-1])
        await run.pace.passes(_QUIET_S)
        if len(run.node.stored) > before:
            raise Failed("a Thing that was taken away is read on")
        run.node.may = allowed
        run.node.set_bindings(things)
        await run.arrives(run.rig.samples[0], "a reading of a Thing that came back", _LONG_S + run.bounds_s)


async def orders_replace_each_other(bench: Bench) -> None:
    """Many orders for a device that is away are one order when it is back: the last."""
    async with bench.running() as run:
        await run.arrives(run.rig.samples[0], "a reading")
        await run.rig.cut()
        await run.pace.passes(5.0)
        values = [1_000.0 + 10 * at for at in range(_MANY_ORDERS)]
        for at, value in enumerate(values):
            run.node.order(run.order(value, for_s=3_000.0, sequence=at + 1))
        await run.pace.passes(5.0)
        await run.rig.restore()
        await run.pace.until(lambda: values[-1] in run.rig.written, "the last of many orders", run.bounds_s + _LONG_S)
        await run.pace.passes(_QUIET_S)
        if len(run.rig.written) > _FEW_ORDERS:
            raise Failed(f"{_MANY_ORDERS} orders for a device that was away reached it as {len(run.rig.written)}")


async def refused_write_never_sent(bench: Bench) -> None:
    """What must not be sent is not; what was refused is not sent again."""
    if not bench.make_rig().commands:
        await _only_reads(bench)
        return
    async with bench.running() as run:
        await run.arrives(run.rig.samples[0], "a reading")
        run.node.order(run.order(700.0, for_s=-1.0, sequence=1))
        await run.pace.passes(_QUIET_S)
        _never(run, 700.0, "an order that was over was sent")
        run.node.order(run.order(900.0, sequence=9))
        await run.pace.until(lambda: 900.0 in run.rig.written, "an order at the device", _LONG_S)
        run.node.order(run.order(800.0, sequence=8))
        await run.pace.passes(_QUIET_S)
        _never(run, 800.0, "an order older than the last was sent")
    async with bench.running() as run:
        run.rig.refuses = True
        await run.arrives(run.rig.samples[0], "a reading")
        run.node.order(run.order(900.0))
        await run.pace.until(lambda: _rejected(run), "that the device refused an order", _LONG_S)
        await run.pace.passes(_LONG_S)
        if (sent := run.rig.written.count(900.0)) > 1:
            raise Failed(f"an order that the device refused was sent {sent} times")


async def ack_is_never_a_reading(bench: Bench) -> None:
    """An order that was acknowledged is told as progress, and not as a reading of its point."""
    async with bench.running() as run:
        if not run.rig.commands:
            raise Failed("the rig's device takes no orders: say exempt, with that reason")
        await run.arrives(run.rig.samples[0], "a reading")
        order = run.order(1_234.5)
        run.node.order(order)
        done = lambda: any(state == "acknowledged" for _, state, _ in run.node.progressed)  # noqa: E731
        await run.pace.until(done, "the device's word about an order", _LONG_S)
        await run.pace.passes(_QUIET_S)
        point = f"{order.thing}/{order.point}"
        if any(one.point == point and one.value == order.value for one in run.node.stored):
            raise Failed(f"what was ordered of {order.point} came as a reading, and the device reports no such thing")


async def _only_reads(bench: Bench) -> None:
    async with bench.running() as run:
        await run.arrives(run.rig.samples[0], "a reading")
        run.node.order(run.order(900.0))
        await run.pace.until(lambda: _rejected(run), "that an order is rejected", _LONG_S)
        if run.rig.written:
            raise Failed("an order that is rejected was sent")


def _waits(run: Run) -> bool:
    return run.node.waiting > 0


def _only(tasks: set[asyncio.Task[object]]) -> bool:
    return not asyncio.all_tasks() - tasks


def _never(run: Run, value: float, words: str) -> None:
    if value in run.rig.written:
        raise Failed(words)


def _rejected(run: Run) -> bool:
    return any(state in {"rejected", "failed"} for _, state, _ in run.node.progressed)


async def _settle(condition: Callable[[], bool], patience_s: float) -> None:
    for _ in range(max(1, round(patience_s / 0.01))):
        if condition():
            return
        await asyncio.sleep(0.01)
