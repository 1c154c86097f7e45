"""``gridspine emulate``: a neighbourhood of emulated devices that reports to a node, and takes its orders."""

import asyncio
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected, data_directory
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.kernel.time import US, to_datetime

MAX_DEVICES = 1_000_000
PREFIX = "urn:example:neighbourhood:"


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
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Run a neighbourhood of emulated devices against a node; what they say is on the channel emulated."""
    if not 1 <= devices <= MAX_DEVICES:
        raise Invalid(f"--devices: 1 to {MAX_DEVICES}")
    if not (0.0 <= hours <= 10_000.0 and 1.0 <= step <= 3_600.0 and speed >= 0.0):
        raise Invalid("--hours: 0 to 10000; --step: 1 to 3600 s; --speed: 0 or more")
    asyncio.run(
        _emulate(data_directory(data), client, devices, hours, speed, step, seed, prefix, stay=stay, reported=reported)
    )


async def _emulate(
    data: Path, client: str, devices: int, hours: float, speed: float, step_s: float, seed: int, prefix: str, *,
    stay: bool, reported: bool,
) -> None:  # fmt: skip
    try:
        from gridspine.energy.emulators.fleet import Fleet
        from gridspine.energy.emulators.mix import Mix
    except ImportError as error:
        raise Unavailable("emulators need the extra: pip install 'gridspine[emulator]'") from error
    from gridspine.apps.emulate.run import Run

    clock = SystemClock()
    start_us = clock.now_us() - round(hours * 3_600 * US)
    fleet = Fleet(Mix.of(devices), seed, start_us)
    counts = ", ".join(f"{block.count} {block.kind.replace('_', ' ')}" for block in fleet.layout.blocks)
    print(f"{devices} devices ({counts}), {fleet.layout.size} points, from {to_datetime(start_us)}")
    async with connected(data, client) as http:
        run = Run(fleet, http, check, clock, prefix=prefix, channel="reported" if reported else "emulated", seed=seed)
        new = await run.prepare()
        print(f"  registered {new} Things, {devices - new} were known", flush=True)
        began_s, steps = time.perf_counter(), None if stay else round(hours * 3_600 / step_s)
        try:
            await _until_stopped(run.run(step_s, steps, speed=speed))
        finally:
            _say(run.total.outcome, time.perf_counter() - began_s, run.total.emulated_us / US)
            print(f"  {run.total.orders} orders taken")
            if run.total.problem:
                print(f"  first problem: {run.total.problem}")


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


def _say(outcome: dict[str, int], took_s: float, emulated_s: float) -> None:
    counts = ", ".join(f"{name} {outcome.get(name, 0)}" for name in ("received", "accepted", "suppressed", "refused"))
    rate, faster = outcome.get("received", 0) / took_s, emulated_s / took_s
    print(f"  {counts} in {took_s:.1f} s: {rate:,.0f} readings/s, {faster:,.0f} times as fast as the clock")
