"""An edge as a process of its own, to be killed: ``process.py SETTINGS NOTES``.

Its adapter counts: reading n has the value n. What the edge has acknowledged it notes, a line each, before it goes on.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from gridspine.apps.edge.edge import Edge
from gridspine.apps.edge.proof import EdgeKey
from gridspine.apps.edge.settings import load_edge_settings
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.readings import named_readings

METER_ID = "urn:example:meter"
POINT = f"{METER_ID}/activeEnergyImport"


class Counter:
    name = "counter"

    def __init__(self, notes: Path, most: int) -> None:
        self.notes, self.most = notes, most

    async def run(self, context) -> None:
        known = self.notes.read_text().split() if self.notes.exists() else []
        n = int(known[-1].partition("@")[0]) if known else 0
        with self.notes.open("a") as notes:
            while n < self.most:
                n += 1
                at_us = context.clock.now_us()
                await context.intake(named_readings([(POINT, "", at_us, float(n), 0)]), context.source_of(METER_ID))
                notes.write(f"{n}@{at_us}\n")
                notes.flush()
                await asyncio.sleep(0.002)
        await asyncio.Event().wait()


async def main() -> None:
    settings = load_edge_settings(Path(sys.argv[1]))
    notes = Path(sys.argv[2])
    most = int(os.environ.get("MOST", "1000000"))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    edge = Edge(
        settings, EdgeKey.read(Path(settings.key)), SystemClock(), adapters={"counter": lambda: Counter(notes, most)}
    )
    await edge.start()
    await stopping.wait()
    await edge.stop()


asyncio.run(main())
