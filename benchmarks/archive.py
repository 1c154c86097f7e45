"""The archive in figures: readings a second into it, bytes a reading, and how long questions take.

Readings have a device's habits: whole milliseconds with jitter, one decimal, a slow daily course. Prints JSON.

    uv run python benchmarks/archive.py [--points 200] [--days 30] [--every-s 60]
"""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from gridspine.infra.archive.manifest import Manifest, read_manifest
from gridspine.infra.archive.published import read_published
from gridspine.infra.archive.query import QueryPool
from gridspine.infra.archive.worker import worker_command
from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.kernel.codecs.binding import PointBinding, encode_binding
from gridspine.kernel.readings import Channel, Readings

T0 = 1_767_225_600_000_000
DAY_US = 86_400_000_000
POINTS_A_THING = 10


def fill(log: SqliteEventLog, points: int, days: int, every_s: int) -> int:
    """Append what ``points`` points send in ``days`` days; return the number of readings."""
    names = tuple(f"p{n}" for n in range(POINTS_A_THING))
    for thing in range(math.ceil(points / POINTS_A_THING)):
        binding = PointBinding(
            thing * POINTS_A_THING, f"urn:dev:ops:32473-meter-{thing:05}", "urn:org:a", "m", names,
            ("W",) * POINTS_A_THING, T0
        )  # fmt: skip
        log.append([Record("points", b"k", encode_binding(binding), T0)])
    source = np.random.default_rng(1)
    base = source.uniform(100, 5000, points)
    steps = 86_400 // every_s
    rounds = max(1, 10_000 // points)  # sampling rounds in one batch
    number = np.tile(np.arange(points, dtype=np.int32), rounds)
    total = 0
    for first in range(0, days * steps, rounds):
        step = np.repeat(np.arange(first, first + rounds), points)
        jitter = source.integers(0, 400, len(step)) * 1000
        observed = T0 + step * every_s * 1_000_000 + jitter
        course = base[number] * (1 + 0.5 * np.sin(step / steps * 2 * math.pi))
        value = np.round(course + source.normal(0, 20, len(step)), 1)
        quality = np.zeros(len(step), np.uint16)
        received = int(observed[-1]) + 150_000
        readings = Readings(number, observed, value, quality, ("urn:source",), Channel.REPORTED, received)
        log.append([Record("readings", b"k", encode_batch(readings), received)])
        total += len(step)
    return total


def archive(folder: Path, wanted: int) -> float:
    """Run the worker until it has published ``wanted`` records and has nothing to compact; return seconds."""
    command = [*worker_command(folder / "archive", folder / "log"), "--max-age-s", "2"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        started = time.monotonic()
        while read_published(folder / "archive").offsets.get(0, 0) < wanted:
            time.sleep(0.02)
        return time.monotonic() - started
    finally:
        worker.terminate()
        worker.communicate()


def asked(pool: QueryPool, sql: str, *, repeat: int = 5, rest_s: float = 1.5) -> float:
    """Return the median seconds of ``sql``; with ``rest_s`` the pool has a warm child each time."""
    taken = []
    for _ in range(repeat):
        time.sleep(rest_s)
        taken.append(pool.run(sql).elapsed_s)
    return round(statistics.median(taken), 4)


def size(archive: Path) -> int:
    """Return the bytes of the data files in use."""
    return sum(file.size_bytes for file in (read_manifest(archive) or Manifest()).files)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--every-s", type=int, default=60)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gridspine-archive-"))
    log = SqliteEventLog(folder / "log", [Topic("readings"), Topic("points")])
    warm = QueryPool(folder / "archive", folder / "log")
    cold = QueryPool(folder / "archive", folder / "log", spares=0)
    try:
        readings = fill(log, options.points, options.days, options.every_s)
        log_bytes = sum(path.stat().st_size for path in (folder / "log" / "readings").iterdir())
        seconds = archive(folder, log.bounds("readings")[0][1])
        day = "observed >= TIMESTAMPTZ '2026-01-15 00:00Z' AND observed < TIMESTAMPTZ '2026-01-16 00:00Z'"
        one = "point = 'urn:dev:ops:32473-meter-00004/p2'"
        one_day = f"SELECT observed, value FROM readings WHERE {one} AND {day}"
        buckets = "SELECT time_bucket(INTERVAL 24 hours, observed) AS d, avg(value) FROM readings"
        warm.warm()
        print(
            json.dumps(
                {
                    "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
                    "readings": readings,
                    "points": options.points,
                    "days": options.days,
                    "archived_readings_per_s": round(readings / seconds),
                    "archive_bytes_per_reading": round(size(folder / "archive") / readings, 2),
                    "log_bytes_per_reading": round(log_bytes / readings, 2),
                    "nothing_s": {"warm": asked(warm, "SELECT 1"), "cold": asked(cold, "SELECT 1", rest_s=0)},
                    "one_day_of_one_point_s": {"warm": asked(warm, one_day), "cold": asked(cold, one_day, rest_s=0)},
                    "daily_means_of_one_point_s": asked(warm, f"{buckets} WHERE {one} GROUP BY d"),
                    "daily_means_of_everything_s": asked(warm, f"{buckets} GROUP BY d"),
                    "sum_of_everything_s": asked(warm, "SELECT sum(value) FROM readings"),
                },
                indent=2,
            )
        )
    finally:
        warm.close()
        cold.close()
        log.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
