"""Bytes a twin of ten points takes at 1,000,000 twins, name look-up and all; how long a node starts with them.

``uv run python benchmarks/memory.py [--short]``

The whole node is weighed (proportional set size of its process), with and without the Things: what a Thing costs in
directory, point table, screen and twin together; first as registered, then when each of its points has reported. The
Thing Model of ten points is the benchmark's own. The registry takes about 1.6 KB of disk a Thing while this runs.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil
from rig import HERE, Rig, report, seed, thing_id

from gridspine.apps.cli.connect import check
from gridspine.apps.cli.main import run
from gridspine.apps.node import node
from gridspine.energy.models import load_models
from gridspine.kernel.codecs.arrow import encode_arrow
from gridspine.kernel.names import PackedNames
from gridspine.things.model import ThingModel, parse_model
from gridspine.things.point import Block, PointTable

POINTS = 10
BATCH = 30_000
REGISTERED = 20_000
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}


def model() -> ThingModel:
    """Return a Thing Model of ten points."""
    point = {"title": "Power", "gs:readingType": {"unit": "W"}, "gs:screen": {"possibleMin": -1e6, "possibleMax": 1e6}}
    document = {"@type": "tm:ThingModel", "id": "urn:example:ten-points", "title": "Ten points", "version": {}}
    return parse_model(document | {"properties": {f"power{n}": point for n in range(POINTS)}})


def weigh_empty() -> int:
    """Return the PSS of a node without Things [bytes]; see how fast it registers some."""
    with Rig() as rig:
        rig.start(str(HERE / "memory.py"))
        time.sleep(2.0)
        pss = _pss(rig)
        began = time.perf_counter()
        for start in range(0, REGISTERED, 5_000):
            things = [
                {"id": thing_id(n), "title": f"Meter {n}", "model": model().id} for n in range(start, start + 5_000)
            ]
            said = check(rig.operator.post("/things/batch", json=things)).json()
            assert said["registered"] == 5_000, said["problems"][:3]
        rate = REGISTERED / (time.perf_counter() - began)
        report("registering Things, 5,000 a request", "", round(rate), "Things/s", f"{REGISTERED:,} Things, by HTTP")
    return pss


def weigh(count: int, empty: int) -> None:
    """Report what a node with ``count`` Things weighs, and how long it starts."""
    words = f"{count:,} Things; the node's own process, less one without Things ({empty / 1e6:.0f} MB PSS)"
    with Rig() as rig:
        print(f"seeding took {seed(rig.data, model(), count):.0f} s", file=sys.stderr)
        rig.start(str(HERE / "memory.py"))
        report(f"start with {count:,} twins", "≤ 10", round(rig.ready_s, 1), "s", "to ready; nothing reported yet")
        _send(rig, [f"{thing_id(random.randrange(count))}/power{random.randrange(POINTS)}" for _ in range(1_000)])
        time.sleep(2.0)
        kilobytes = round((_pss(rig) - empty) / count / 1_000, 2)
        report("memory of a twin of 10 points, as registered", "≤ 1.5", kilobytes, "KB", words)
        for names in _everything(count):
            _send(rig, names)
        time.sleep(5.0)
        kilobytes = round((_pss(rig) - empty) / count / 1_000, 2)
        report("memory of a twin of 10 points, when all have reported", "≤ 1.5", kilobytes, "KB", words)
        rig.stop()
        rig.start(str(HERE / "memory.py"))
        report(f"start with {count:,} twins that have reported", "≤ 10", round(rig.ready_s, 1), "s", "to ready")
        assert rig.status()["things"] == count


def resolve_speed(count: int) -> None:
    """Report what the look-up of a name costs, when 10,000 others come at once."""
    table, none = PointTable(b"benchmark"), np.zeros(count, np.int32)
    table.add_model(model())
    ids = PackedNames.of(map(thing_id, range(count)))
    table.bind_all(Block(ids, np.arange(count, dtype=np.int32) * POINTS, [model().id], none, ["bench"], none))
    lists = [
        PackedNames.of(f"{thing_id(random.randrange(count))}/power{random.randrange(POINTS)}" for _ in range(10_000))
        for _ in range(20)
    ]
    units = [""] * 10_000
    for words, of in (("never seen before", lists), ("a list that comes again", [lists[-1]] * 20)):
        began = time.process_time()
        for names in of:
            assert (table.resolve(names, units, "bench").point >= 0).all()
        nanoseconds = (time.process_time() - began) / len(of) / 10_000 * 1e9
        report(f"look-up of a name, {words}", "< 300", round(nanoseconds), "ns", f"10,000 at once, of {count:,} Things")


def _everything(count: int) -> Iterator[list[str]]:
    things = BATCH // POINTS
    for start in range(0, count, things):
        yield [f"{thing_id(n)}/power{p}" for n in range(start, min(start + things, count)) for p in range(POINTS)]


def _send(rig: Rig, names: list[str]) -> None:
    """Send a reading by each name: all are known, so that what was weighed can do its work."""
    places, now_us = np.arange(len(names), dtype=np.int32), np.full(len(names), time.time_ns() // 1_000)
    body = encode_arrow(names, places, now_us, places * 0.5, np.zeros(len(names), np.uint16))
    said = check(rig.operator.post("/readings", content=body, headers=ARROW)).json()
    assert said["accepted"] == len(names), said


def _pss(rig: Rig) -> int:
    return int(psutil.Process(rig.processes()[0].pid).memory_full_info().pss)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    count = 100_000 if parser.parse_args().short else 1_000_000
    resolve_speed(count)
    weigh(count, weigh_empty())


if __name__ == "__main__":
    if sys.argv[1:2] == ["up"]:  # the node as it is, but for one Thing Model more
        node.load_models = lambda: {**load_models(), "ten_points": model()}
        run()
    else:
        main()
