"""``gridspine emulate``: a neighbourhood of emulated devices that reports to a node, and takes its orders."""

import asyncio
import signal
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import data_directory
from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.durable import write_whole
from gridspine.kernel.errors import Corrupt, Invalid, Unavailable
from gridspine.kernel.time import US, to_datetime

if TYPE_CHECKING:
    from gridspine.apps.emulate.run import Total
    from gridspine.energy.emulators.fleet import Fleet

MAX_DEVICES = 1_000_000
PREFIX = "urn:example:neighbourhood:"
_SAID = ("received", "accepted", "suppressed", "refused")


def emulate(
    devices: Annotated[int, typer.Option(help="How many devices: meters, plants, batteries, chargers, …")] = 1_000,
    hours: Annotated[float, typer.Option(help="How long ago it begins [h].")] = 24.0,
    speed: Annotated[float, typer.Option(help="How many times as fast as the clock; 0 is as fast as it goes.")] = 0.0,
    step: Annotated[float, typer.Option(help="Time between two readings of a point [s].")] = 60.0,
    stay: Annotated[bool, typer.Option("--stay", help="Go on live when the present is reached, until Ctrl-C.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same neighbourhood.")] = 1,
    prefix: Annotated[str, typer.Option(help="Beginning of the Things' ids.")] = PREFIX,
    reported: Annotated[
        bool, typer.Option("--reported", help="Send as devices do, on channel reported: to try a node out.")
    ] = False,
    failing: Annotated[
        float, typer.Option(help="Share of the points that fail once: drop-out, stuck, drift, spoof, flap.")
    ] = 0.0,
    state: Annotated[
        Path | None, typer.Option(help="File to keep what they have become in, and to go on from the next time.")
    ] = None,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Run a neighbourhood of emulated devices against a node; what they say is on the channel emulated."""
    if not 1 <= devices <= MAX_DEVICES:
        raise Invalid(f"--devices: 1 to {MAX_DEVICES}")
    if not (0.0 <= hours <= 10_000.0 and 1.0 <= step <= 3_600.0 and speed >= 0.0):
        raise Invalid("--hours: 0 to 10000; --step: 1 to 3600 s; --speed: 0 or more")
    if not 0.0 <= failing <= 1.0:
        raise Invalid("--failing: a share from 0 to 1")
    plan = _Plan(devices, hours, speed, step, seed, prefix, failing, stay, "reported" if reported else "emulated")
    fleet = _fleet(plan, state)
    try:
        asyncio.run(_emulate(data_directory(data), client, plan, fleet))
    finally:
        # Only here no step is under way any more in a thread of its own.
        if state is not None:
            write_whole(state, fleet.keep())


@dataclass(frozen=True, slots=True)
class _Plan:
    devices: int
    hours: float
    speed: float
    step_s: float
    seed: int
    prefix: str
    failing: float
    stay: bool
    channel: Literal["emulated", "reported"]


def _fleet(plan: _Plan, state: Path | None) -> "Fleet":
    """Return the fleet, new or as ``state`` says."""
    try:
        from gridspine.energy.emulators.fleet import Fleet
        from gridspine.energy.emulators.mix import Mix
    except ImportError as error:
        raise Unavailable("emulators need the extra: pip install 'gridspine[emulator]'") from error
    fleet = Fleet(Mix.of(plan.devices), plan.seed, SystemClock().now_us() - round(plan.hours * 3_600 * US))
    if state is not None and state.exists():
        try:
            fleet.go_on(state.read_bytes())
        except Corrupt as error:
            raise Invalid(f"--state: {state} is of other --devices or another --seed: {error.detail}") from error
    return fleet


async def _emulate(data: Path, client: str, plan: _Plan, fleet: "Fleet") -> None:
    from gridspine.apps.emulate.run import Run
    from gridspine.energy.emulators.failure import some_failures

    clock = SystemClock()
    start_us, end_us = fleet.now_us, max(clock.now_us(), fleet.now_us)
    failures = some_failures(fleet.layout.size, plan.failing, (start_us, end_us), plan.seed)
    counts = ", ".join(f"{block.count} {block.kind.replace('_', ' ')}" for block in fleet.layout.blocks)
    print(f"{plan.devices} devices ({counts}), {fleet.layout.size} points, from {to_datetime(start_us)}")
    async with connected(data, client) as http:
        run = Run(
            fleet, http, check, clock, prefix=plan.prefix, channel=plan.channel, seed=plan.seed, failures=failures
        )
        new = await run.prepare()
        print(f"  registered {new} Things, {plan.devices - new} were known", flush=True)
        began_s, steps = time.perf_counter(), None if plan.stay else round((end_us - start_us) / US / plan.step_s)
        try:
            await _until_stopped(run.run(plan.step_s, steps, speed=plan.speed))
        finally:
            _say(run.total, time.perf_counter() - began_s)


async def _until_stopped(work: Coroutine[Any, Any, Any]) -> None:
    """Do ``work`` until it ends, or a signal asks for the end."""
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await asyncio.wait([task])
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    if not task.cancelled():
        task.result()


def _say(total: "Total", took_s: float) -> None:
    counts = ", ".join(f"{name} {total.outcome.get(name, 0)}" for name in _SAID)
    rate, faster = total.outcome.get("received", 0) / took_s, total.emulated_us / US / took_s
    print(f"  {counts} in {took_s:.1f} s: {rate:,.0f} readings/s, {faster:,.0f} times as fast as the clock")
    print(f"  {total.orders} orders taken")
    if total.problem:
        print(f"  first problem: {total.problem}")
