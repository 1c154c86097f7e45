"""Modbus: devices polled each second, every reading decoded, screened and durable; all of the node on one core.

``uv run python benchmarks/modbus.py [--short] [--profile FILE]``. 1,000 devices, each a TCP connection of its own, with
18 points in 20 neighbouring registers that change every second, are a process on the other core. The node is started
as anybody starts it, and it and its children are then bound to one core. What is counted is what the devices were
asked, and what the node's own counters say it took.
"""

import argparse
import os
import time

from modbus_load import address
from rig import ORGANISATION, SETTINGS, Rig, answer, child, report, seed

from gridspine.energy.models import load_models
from gridspine.things.directory import Thing
from gridspine.things.model import ThingModel

MODBUS = """[adapters]
allow = ["modbus"]
[adapters.settings.modbus]
allow = ["127.0.0.0/8"]
"""
METERS = load_models()["meter_three_phase"]
WIDE = {"activePower": ("int32", 0), "activeEnergyImport": ("uint32", 2)}
NARROW = (
    ("voltageA", 0.1), ("voltageB", 0.1), ("voltageC", 0.1), ("currentA", 0.1), ("currentB", 0.1), ("currentC", 0.1),
    ("frequency", 0.01), ("activePowerA", 1.0), ("activePowerB", 1.0), ("activePowerC", 1.0), ("reactivePower", 1.0),
    ("apparentPower", 1.0), ("activeEnergyExport", 1.0), ("reactiveEnergyImport", 1.0), ("reactiveEnergyExport", 1.0),
    ("powerFactor", 0.01),
)  # fmt: skip


def registers() -> dict[str, object]:
    """Return where each of the 18 points is: 20 registers without a gap."""
    units = {point.name: point.reading_type.unit for point in METERS.points}
    found: dict[str, object] = {
        name: {"unit": units[name], "read": {"entity": "holding", "address": at, "type": kind}}
        for name, (kind, at) in WIDE.items()
    }
    for at, (name, factor) in enumerate(NARROW, 4):
        read = {"entity": "holding", "address": at, "type": "uint16", "factor": factor}
        found[name] = {"unit": units[name], "read": read}
    return found


def taken(rig: Rig) -> int:
    """Return how many readings the node has answered for, refused ones apart."""
    counts = rig.status()["readings"]
    return int(sum(counts[name] for name in ("accepted", "suppressed")))


def run(devices: int, seconds: float, profile: str) -> None:
    """Measure."""
    cores = sorted(os.sched_getaffinity(0))
    with child("modbus_load.py", "--devices", str(devices)) as load, Rig(SETTINGS + MODBUS, profile=profile) as rig:
        os.sched_setaffinity(load.pid, {cores[-1]})
        port = answer(load)["port"]
        rig.start()
        rig.stop()

        def make(number: int, model: ThingModel) -> Thing:
            connection = {
                "host": address(number), "port": port, "unit": 1, "intervalS": 1, "timeoutS": 3,
                "registers": registers(),
            }  # fmt: skip
            return Thing(
                f"urn:dev:ops:32473-meter-{number:06}", ORGANISATION, f"Meter {number}", model.id, adapter="modbus",
                connection=connection,
            )  # fmt: skip

        seed(rig.data, METERS, devices, make)
        rig.start()
        for process in rig.processes():
            process.cpu_affinity([cores[0]])
        while answer(load, ask=True)["connections"] < devices:
            time.sleep(0.5)
        time.sleep(5.0)
        before, took_s, kept = answer(load, ask=True), rig.cpu_s(), taken(rig)
        time.sleep(seconds)
        after, took_s, kept = answer(load, ask=True), rig.cpu_s() - took_s, taken(rig) - kept
    elapsed_s = after["at_s"] - before["at_s"]
    words = (
        f"{devices:,} connections, each asked for 20 registers (18 points) a second, {after['over_s']} s, the longest "
        f"that one was not asked {after['longest_s']:.2f} s; the node "
        f"and its children bound to one core, of which they took {took_s / elapsed_s:.2f}; the devices "
        f"{(after['cpu_s'] - before['cpu_s']) / elapsed_s:.2f} of the other"
    )
    report("Modbus TCP, devices polled each second", "≥ 1,000", round(after["polls_s"], 1), "polls/s", words)
    report(
        "Modbus TCP, readings of them taken",
        "",
        round(kept / elapsed_s),
        "readings/s",
        "screened, durable, in the twins",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--profile", default="", help="write a sampled profile of the node to this file")
    options = parser.parse_args()
    run(options.devices, 10.0 if options.short else 30.0, options.profile)


if __name__ == "__main__":
    main()
