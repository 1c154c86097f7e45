"""Bytes a twin of ten points takes at 100,000 twins, name look-up and all, and how long a node starts with them.

``uv run python benchmarks/memory.py [--short]``

The whole node is weighed (proportional set size of its process), with and without the Things: what a Thing costs in
directory, point table, screen and twin together. The Thing Model of ten points is the benchmark's own.
"""

import argparse
import random
import sys
import time

import psutil
from rig import HERE, Rig, report, seed, thing_id

from gridspine.apps.cli.main import run
from gridspine.apps.node import node
from gridspine.energy.models import load_models
from gridspine.things.model import ThingModel, parse_model

POINTS = 10


def model() -> ThingModel:
    """Return a Thing Model of ten points."""
    point = {"title": "Power", "gs:readingType": {"unit": "W"}, "gs:screen": {"possibleMin": -1e6, "possibleMax": 1e6}}
    document = {"@type": "tm:ThingModel", "id": "urn:example:ten-points", "title": "Ten points", "version": {}}
    return parse_model(document | {"properties": {f"power{n}": point for n in range(POINTS)}})


def weigh(count: int) -> tuple[int, float]:
    """Return the node's PSS with ``count`` Things [bytes], and its time to ready [s]; look some up by name."""
    with Rig() as rig:
        if count:
            seed(rig.data, model(), count)
        rig.start(str(HERE / "memory.py"))
        time.sleep(2.0)
        pss = psutil.Process(rig.processes()[0].pid).memory_full_info().pss
        if count:
            _look_up(rig, count)
        return pss, rig.ready_s


def _look_up(rig: Rig, count: int) -> None:
    """Send readings by name: they are all known, so that what was weighed can do its work."""
    names = [f"{thing_id(random.randrange(count))}/power{random.randrange(POINTS)}" for _ in range(1000)]
    now = time.time()
    body = [{"n": name, "t": now + at / 1e6, "v": 1.0} for at, name in enumerate(names)]
    said = rig.operator.post("/readings", json=body, headers={"Content-Type": "application/senml+json"}).json()
    assert said["accepted"] == len(names), said
    assert rig.status()["things"] == count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    count = 20_000 if parser.parse_args().short else 100_000
    empty, _ = weigh(0)
    full, ready_s = weigh(count)
    words = f"{count:,} Things, the node's own process, with ({full / 1e6:.0f} MB PSS) less without ({empty / 1e6:.0f})"
    report("memory of a twin of 10 points", "≤ 1.5", round((full - empty) / count / 1000, 2), "KB", words)
    report(f"start with {count:,} such Things", "", round(ready_s, 1), "s", "to ready, registry and log on disk")


if __name__ == "__main__":
    if sys.argv[1:2] == ["up"]:  # the node as it is, but for one Thing Model more
        node.load_models = lambda: {**load_models(), "ten_points": model()}
        run()
    else:
        main()
