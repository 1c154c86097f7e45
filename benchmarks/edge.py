"""An edge: how fast it is up, what it weighs, how many readings it keeps durably and hands on when the link is back.

``uv run python benchmarks/edge.py [--short]``. The edge is started as its service starts it; the device is the
demonstration's battery.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from rig import Rig, report

from gridspine.apps.cli.connect import check
from gridspine.apps.edge.ballast import Ballast
from gridspine.apps.edge.buffer import Buffer, Record
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.time import US

BATTERY = "https://gridspine.org/models/battery"
BATTERY_ID = "urn:dev:ops:32473-battery"
SETPOINT = f"{BATTERY_ID}/activePowerSetpoint"
RULE = {
    "name": "trickle",
    "text": f"def control(inputs, state, now_s):\n    return {{'setpoints': {{'{SETPOINT}': 100}}}}\n",
    "outputs": [SETPOINT],
    "everyS": 1,
    "leaseS": 2,
}
SERVICE = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}


class EdgeProcess:
    """An edge as its service would start it; ``ready_s`` is how long that took [s]."""

    def __init__(self, folder: Path, *command: str) -> None:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(str(folder / "notify"))
        manager.settimeout(30)
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--settings", str(folder / "edge.toml")],
            env=os.environ | SERVICE | {"NOTIFY_SOCKET": str(folder / "notify")},
            stderr=subprocess.DEVNULL,
        )
        assert manager.recv(100) == b"READY=1"
        self.ready_s = time.perf_counter() - began
        manager.close()
        (folder / "notify").unlink()

    def weigh(self) -> tuple[float, float, int]:
        """Return resident and proportional memory of all its processes [MB], and how many they are."""
        own = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        full = [one.memory_full_info() for one in own]
        return sum(one.rss for one in full) / 1e6, sum(one.pss for one in full) / 1e6, len(own)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextlib.contextmanager
def battery() -> Iterator[int]:
    """A battery that speaks Modbus; yields its port."""
    process = subprocess.Popen([sys.executable, "-m", "gridspine.apps.demo.battery"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["port"])
    finally:
        process.terminate()
        process.wait(10)


def beside_a_node(folder: Path, starts: int, backlog: int) -> None:
    """Measure starts, weight with one battery, then with a rule, then how fast it hands on what waits."""
    with Rig() as rig, battery() as port:
        rig.start()
        subprocess.run(
            [sys.executable, "-m", "gridspine.apps.cli", "client", "edge", "--kind", "device", "--role", "device",
             "--data", str(rig.data)], check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        key = rig.data / "clients" / "edge.json"
        edge = json.loads(key.read_text())["client"]
        where = {"host": "127.0.0.1", "port": port, "unit": 1, "intervalS": 1}
        thing = {
            "id": BATTERY_ID, "title": "Battery", "model": BATTERY, "adapter": "edge", "devices": [edge],
            "connection": {"edge": edge, "adapter": "modbus", "connection": where},
        }  # fmt: skip
        check(rig.operator.post("/things", json=thing))
        (folder / "edge.toml").write_text(f"node = '{rig.url}'\nkey = '{key}'\ndata = 'edge'\n")
        taken = {}
        for name, command in (
            ("module", ["-m", "gridspine.apps.edge"]),
            ("command", ["-m", "gridspine.apps.cli", "edge"]),
        ):
            taken[name] = []
            for _ in range(starts):
                running = EdgeProcess(folder, sys.executable, *command)
                taken[name].append(running.ready_s)
                running.end()
        report(
            "edge, start to ready", "< 1", round(statistics.median(taken["module"]), 2), "s",
            f"median of {starts} starts as a service, with a Thing kept; as `gridspine edge` "
            f"{statistics.median(taken['command']):.2f} s",
        )  # fmt: skip
        running = EdgeProcess(folder, sys.executable, "-m", "gridspine.apps.edge")
        time.sleep(8.0)
        rss, pss, _ = running.weigh()
        report("edge, memory", "< 60", round(rss, 1), "MB RSS", f"one battery polled each second; {pss:.0f} MB PSS")
        check(rig.operator.post(f"/edges/{edge}/rules", json=RULE))
        time.sleep(5.0)
        rss, pss, count = running.weigh()
        words = f"{count} processes; {rss:.0f} MB RSS if shared pages are counted twice"
        report("edge with a rule, memory", "< 60", round(pss, 1), "MB PSS", words)
        running.end()
        hand_on(folder, backlog)


def hand_on(folder: Path, backlog: int) -> None:
    """Measure how fast an edge hands on what waits, when the link is back."""

    async def fill() -> None:
        made = Buffer(folder / "edge", SystemClock(), Ballast(folder / "edge", 0), max_bytes=1 << 40)
        await made.load()
        begin_us = time.time_ns() // 1000 - backlog * US
        for first in range(0, backlog, 100):
            times = range(begin_us + first * US, begin_us + (first + 100) * US, US)
            point = f"{BATTERY_ID}/stateOfCharge"
            await made.keep([Record(point, "", at_us, at_us // US % 100, 0) for at_us in times], backfill=True)
        await asyncio.to_thread(made.close)

    asyncio.run(fill())
    began = time.perf_counter()
    running = EdgeProcess(folder, sys.executable, "-m", "gridspine.apps.edge")
    with contextlib.closing(sqlite3.connect(folder / "edge" / "readings.db")) as db:
        while db.execute("SELECT count(*) FROM postings WHERE backfill").fetchone() != (0,):
            time.sleep(0.05)
    taken = time.perf_counter() - began
    words = f"{backlog:,} readings that waited, 5,000 a request, its start and the node's own work in it"
    report("edge, backfill", "", round(backlog / taken), "readings/s", words)
    running.end()


async def buffer(folder: Path, seconds: float) -> None:
    """Measure how many readings are kept, one posting after the other and many at once."""
    for at_once, size in ((1, 10), (64, 10)):
        target = folder / f"{at_once}-{size}"
        target.mkdir()
        made = Buffer(target, SystemClock(), Ballast(target, 0), max_bytes=1 << 40)
        await made.load()
        began, kept = time.perf_counter(), 0

        async def post(made: Buffer = made, size: int = size, until: float = began + seconds) -> int:
            count = 0
            while time.perf_counter() < until:
                now_us = time.time_ns() // 1000
                records = [
                    Record(f"urn:dev:ops:32473-meter-{at}/activePower", "", now_us + count * US, 1.5 * count, 0)
                    for at in range(size)
                ]
                await made.keep(records)
                count += size
            return count

        kept = sum(await asyncio.gather(*(post() for _ in range(at_once))))
        taken = time.perf_counter() - began
        words = f"postings of {size}, {'one after the other' if at_once == 1 else f'{at_once} at once'}, each synced"
        report("edge, readings kept durably", "", round(kept / taken), "readings/s", words)
        if at_once > 1:
            size_b = (await made.report()).bytes / kept
            report("edge, a reading that waits", "", round(size_b, 1), "bytes", "as `max_bytes` counts it")
        await asyncio.to_thread(made.close)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    with tempfile.TemporaryDirectory(prefix="gridspine-bench-") as folder:
        beside_a_node(Path(folder), *((3, 20_000) if short else (9, 200_000)))
        asyncio.run(buffer(Path(folder), 2.0 if short else 10.0))


if __name__ == "__main__":
    main()
