"""How long ``gridspine up`` takes until it is ready, what all its processes weigh then, and what they do when idle.

``uv run python benchmarks/startup.py [--short]``
"""

import argparse
import statistics
import time

from rig import Rig, report

from gridspine.apps.cli.connect import check

METERS = 20
MODEL = "https://gridspine.org/models/meter"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    starts, idle_s = (3, 3.0) if short else (7, 15.0)
    with Rig() as rig:
        rig.start()
        first_s = rig.ready_s
        for number in range(METERS):
            check(rig.operator.post("/things", json={"title": f"Meter {number}", "model": MODEL}))
        taken = []
        for _ in range(starts):
            rig.stop()
            rig.start()
            taken.append(rig.ready_s)
        report(
            "start to ready", "≤ 1.5", round(statistics.median(taken), 2), "s",
            f"median of {starts} starts with {METERS} Things, archive on, no adapters; "
            f"the very first, which makes keys and tables: {first_s:.2f} s",
        )  # fmt: skip
        time.sleep(3.0)
        rig.status()
        pss, count = rig.pss_bytes(), len(rig.processes())
        report("memory after start", "≤ 180", round(pss / 1e6), "MB PSS", f"{count} processes: node, archive")
        before_s = rig.cpu_s()
        time.sleep(idle_s)
        busy = (rig.cpu_s() - before_s) / idle_s
        report("processor when idle", "< 1", round(100 * busy, 1), "% of a core", f"{idle_s:.0f} s, all processes")


if __name__ == "__main__":
    main()
