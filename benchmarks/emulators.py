"""Emulated fleets: how much faster than the clock, alone, and through a real node.

``uv run python benchmarks/emulators.py [--short]``

Alone: 100,000 devices of all kinds in steps of a minute, nothing but the model. Through the spine: the same fleet
posts every point of every step over HTTP as Arrow on channel *emulated*; node with its archive, and fleet, are
processes of their own on one machine.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time

import httpx
from rig import ORGANISATION, Rig, report

from gridspine.apps.cli.connect import check
from gridspine.apps.emulate.run import Run
from gridspine.energy.emulators.fleet import Fleet
from gridspine.energy.emulators.mix import Mix
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.time import US

STEP_S = 60.0
START_US = 1_750_000_000 * US


def alone(devices: int, steps: int) -> None:
    """Measure the model only."""
    fleet = Fleet(Mix.of(devices), 1, START_US)
    fleet.step(STEP_S)
    took = []
    for _ in range(steps):
        began = time.perf_counter()
        fleet.step(STEP_S)
        took.append(time.perf_counter() - began)
    mean_s, longest_s = sum(took) / steps, max(took)
    words = f"{devices:,} devices, {fleet.layout.size:,} points, {steps} steps of 1 min; a step {1000 * mean_s:.1f} ms "
    words += f"in the mean, {1000 * longest_s:.1f} ms at most; one core"
    report("emulated fleet alone, times as fast as the clock", "≥ 1,000", round(STEP_S / mean_s), "×", words)


def through(devices: int, steps: int, channel: str) -> None:
    """Measure a fleet against a node."""
    with Rig() as rig:
        rig.start()
        token = rig.principal("fleet", ["operator"])
        before_s = rig.cpu_s()
        words = [sys.executable, __file__, "--child", rig.url, str(devices), str(steps), channel]
        environment = os.environ | {"BENCH_TOKEN": token}
        said = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        told = json.loads(said.splitlines()[-1])
        cpu_s = rig.cpu_s() - before_s
    outcome = told["outcome"]
    if outcome["refused"] or outcome["received"] != told["points"] * steps:
        raise RuntimeError(f"not everything was taken: {told}")
    words = f"{devices:,} devices, {told['points']:,} points, {steps} steps, {told['s']:.1f} s: "
    words += f"{told['faster']:.0f} times as fast as the clock; accepted {outcome['accepted']:,}, suppressed by their "
    words += f"deadbands {outcome['suppressed']:,}; registered before at {told['registered_per_s']:,.0f} Things/s; "
    words += f"processor: node and archive {cpu_s:.0f} s with registration, fleet {told['cpu_s'] / told['s']:.2f} cores"
    rate = round(outcome["received"] / told["s"], -3)
    report(f"emulated fleet through the spine, channel {channel}", "≥ 1,000,000", rate, "readings/s", words)


async def drive(url: str, devices: int, steps: int, channel: str) -> None:
    """Be the process that the fleet runs in."""
    clock = SystemClock()
    fleet = Fleet(Mix.of(devices), 1, clock.now_us() - round(steps * STEP_S * US))
    headers = {"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=300.0) as http:
        kind = "reported" if channel == "reported" else "emulated"
        run = Run(fleet, http, check, clock, prefix=f"urn:example:{ORGANISATION}:", channel=kind)
        began = time.perf_counter()
        await run.prepare()
        registered_s = time.perf_counter() - began
        began, cpu_s = time.perf_counter(), time.process_time()
        total = await run.run(STEP_S, steps)
        took_s = time.perf_counter() - began
    print(json.dumps({
        "s": took_s, "outcome": total.outcome, "points": fleet.layout.size, "faster": steps * STEP_S / took_s,
        "cpu_s": time.process_time() - cpu_s, "registered_per_s": devices / registered_s,
    }))  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", choices=("alone", "through"))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        url, devices, steps, channel = options.child
        asyncio.run(drive(url, int(devices), int(steps), channel))
        return
    if options.only != "through":
        alone(100_000, 20 if options.short else 200)
    if options.only != "alone":
        devices, steps = (20_000, 10) if options.short else (100_000, 30)
        for channel in ("emulated", "reported"):
            through(devices, steps, channel)


if __name__ == "__main__":
    main()
