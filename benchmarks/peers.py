"""Side by side: InfluxDB 1.6 and VictoriaMetrics 1.79 of Debian, and this node, on the same readings in one run.

Each takes in the same readings in batches alike, in its own format, over four kept HTTP connections that wait for each
answer; then each is asked for a day of one point and for the daily sums of the fleet, and must give the right numbers.
A peer whose program is not there is left out, with a line that says so. Neither is installed by this; to have them
without their services:

    apt-get download influxdb victoria-metrics
    for package in *.deb; do dpkg-deb -x $package peers; done
    uv run python benchmarks/peers.py --programs peers/usr/bin [--short]

What "taken in" means differs, and is said with each figure: the node answers when a batch is screened and forced to
disk; InfluxDB when its write-ahead log is; VictoriaMetrics when it is in memory, to be on disk within seconds.
"""

import argparse
import contextlib
import http.client
import math
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rig import report
from stores import DAY_S, EVERY_S, FIRST_DAY, Influx, Own, Values, Victoria

CONNECTIONS = 4
BATCH = 10_000
REPEAT = 9


def made(points: int, days: int) -> Values:
    """Return what the points read: a daily course, swinging by more than any deadband, one decimal."""
    source = np.random.default_rng(1)
    steps = days * DAY_S // EVERY_S
    step = np.arange(steps)
    course = 2000 + 1000 * np.sin(step * EVERY_S / DAY_S * 2 * math.pi) + np.where(step % 2, 300.0, -300.0)
    return np.round(course + source.uniform(-100, 100, (points, steps)), 1)


def batches(values: Values) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Return for each connection its batches, in the order of time: numbers of points, and of steps."""
    points, steps = values.shape
    found = []
    for mine in np.array_split(np.arange(points), CONNECTIONS):
        rounds = max(1, BATCH // len(mine))
        cuts = [np.arange(first, min(first + rounds, steps)) for first in range(0, steps, rounds)]
        found.append([(np.tile(mine, len(cut)), np.repeat(cut, len(mine))) for cut in cuts])
    return found


def sent(peer: Any, values: Values) -> tuple[float, float]:
    """Send everything over `CONNECTIONS`; return seconds, and the store's seconds of processor time."""
    bodies = [[peer.body(values, *batch) for batch in mine] for mine in batches(values)]
    path, headers = peer.post()
    failed: list[str] = []

    def run(mine: list[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=300)
        with contextlib.closing(connection):
            for body in mine:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status >= 300:
                    failed.append(f"{answer.status} {said[:300]!r}")
                    return

    threads = [threading.Thread(target=run, args=(mine,)) for mine in bodies]
    began, cpu_s = time.perf_counter(), _cpu_s(peer.pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"{peer.name}: {failed[0]}")
    return time.perf_counter() - began, _cpu_s(peer.pid) - cpu_s


def _cpu_s(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def measure(peer: Any, values: Values) -> dict[str, float]:
    """Return what a store does: readings/s, and milliseconds of the two questions; raise when it answers wrongly."""
    points, steps = values.shape
    days = steps * EVERY_S // DAY_S
    seconds, cpu_s = sent(peer, values)
    peer.settle()
    middle, day = points // 3, days // 2
    a_day = DAY_S // EVERY_S
    wanted = values[middle, day * a_day : (day + 1) * a_day]
    if not np.array_equal(peer.one_day(middle, FIRST_DAY + day), wanted):
        raise RuntimeError(f"{peer.name} does not give the day it was given")
    sums = values.sum(axis=0).reshape(days, a_day).sum(axis=1)
    if not np.allclose(peer.daily_sums(days), sums, rtol=1e-9):
        raise RuntimeError(f"{peer.name} gives other daily sums: {peer.daily_sums(days)[:3]}, not {sums[:3]}")
    return {
        "intake": values.size / seconds,
        "cpu": values.size / cpu_s,
        "day": asked(lambda: peer.one_day(middle, FIRST_DAY + day)),
        "sums": asked(lambda: peer.daily_sums(days)),
    }


def asked(question: Any) -> float:
    """Return the median time [ms] of a question."""
    taken = []
    for _ in range(REPEAT):
        time.sleep(2.0)
        began = time.perf_counter()
        question()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


@contextlib.contextmanager
def running(name: str, folder: Path, programs: str, points: int) -> Iterator[Any]:
    """Run a store; yields None, and says why, when its program is not there."""
    if name == "own":
        peer: Any = Own(points)
    else:
        binary, kind = {"influx": ("influxd", Influx), "victoria": ("victoria-metrics", Victoria)}[name]
        found = shutil.which(binary, path=programs) if programs else shutil.which(binary)
        if found is None:
            sys.stderr.write(f"{kind.name} is left out: no program {binary} (see the head of {Path(__file__).name})\n")
            yield None
            return
        (folder / name).mkdir()
        peer = kind(Path(found), folder / name)
    try:
        yield peer
    finally:
        peer.stop()


KINDS = (
    ("intake", "taken in", "readings/s"),
    ("cpu", "taken in for each second of its processor time", "readings/s"),
    ("day", "a day of one point", "ms"),
    ("sums", "daily sums of the fleet", "ms"),
)


def main() -> None:
    """Measure each in turn, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--programs", default="", help="folder with the peers' programs; else they are looked for")
    options = parser.parse_args()
    points, days = (200, 2) if options.short else (options.points, options.days)
    values = made(points, days)
    folder = Path(tempfile.mkdtemp(prefix="gridspine-peers-"))
    done: dict[str, tuple[Any, dict[str, float]]] = {}
    try:
        for name in ("own", "influx", "victoria"):
            with running(name, folder, options.programs, points) as peer:
                if peer is not None:
                    done[name] = (peer, measure(peer, values))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    words = f"{values.size:,} readings of {points:,} points over {days} days, batches of {BATCH:,}"
    ours = done["own"][1]
    for key, text, unit in KINDS:
        for peer, figures in done.values():
            better = figures[key] / ours[key] if unit == "readings/s" else ours[key] / figures[key]
            ratio = "" if peer.name == Own.name else f"; {better:.2f} times as good as gridspine"
            figure = round(figures[key], -2 if unit == "readings/s" else 0) if figures[key] > 10 else figures[key]
            report(f"{peer.name}, {text}", "", round(figure, 1), unit, f"{words}; {peer.durability}{ratio}")


if __name__ == "__main__":
    main()
