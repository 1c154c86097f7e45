"""The archive at scale: an archive of a billion readings, its size, and how long questions over it take.

The readings are written by the archive's own writer of compacted files, a day at a time: to take them through log,
worker and compaction would take a node's hours (`benchmarks/archive.py` measures that way with fewer). Lines of JSON.

    uv run python benchmarks/billion.py [--short] [--days 70] [--points 10000] [--keep FOLDER]
"""

import argparse
import math
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from rig import report

from gridspine.infra.archive.manifest import read_manifest
from gridspine.infra.archive.parquet import FILE_SCHEMA
from gridspine.infra.archive.query import QueryPool
from gridspine.infra.archive.settle import SettledWriter
from gridspine.infra.archive.table import ReadingsTable
from gridspine.infra.archive.wire import QueryLimits
from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.runtime.clock import SystemClock

FIRST_DAY = 20_454  # 2026-01-01
DAY_US = 86_400_000_000
EVERY_S = 60
ROUNDS_A_BATCH = 5
POINTS_AT_ONCE = 250
FILE_ROWS = 4_000_000
UTC = pa.timestamp("us", "UTC")


def point_id(number: int) -> str:
    """Return the id of a point: ten a Thing."""
    return f"urn:dev:ops:32473-meter-{number // 10:05}/p{number % 10}"


def readings(day: int, first: int, points: int, source: np.random.Generator) -> pa.Table:
    """Return a day of ``points`` points from ``first`` on: a reading a minute, jitter of ms, one decimal."""
    steps = 86_400 // EVERY_S
    number = np.repeat(np.arange(points), steps)
    step = np.tile(np.arange(steps), points)
    size = len(step)
    start = day * DAY_US
    observed = start + step * EVERY_S * 1_000_000 + source.integers(0, 400, size) * 1000
    course = source.uniform(100, 5000, points)[number] * (1 + 0.5 * np.sin(step / steps * 2 * math.pi))
    batch = step // ROUNDS_A_BATCH
    names = [point_id(first + n) for n in range(points)]

    def texts(indices: np.ndarray, of: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(indices.astype(np.int32)), pa.array(of, pa.string()))

    none = np.zeros(size, np.int32)
    columns = {
        "point": texts(number, names),
        "thing": texts(number, [name.partition("/")[0] for name in names]),
        "property": texts(number, [name.partition("/")[2] for name in names]),
        "observed": pa.array(observed).cast(UTC),
        "received": pa.array(start + (batch + 1) * ROUNDS_A_BATCH * EVERY_S * 1_000_000).cast(UTC),
        "value": pa.array(np.round(course + source.normal(0, 20, size), 1)),
        "unit": texts(none, ["W"]),
        "quality": pa.array(none),
        "channel": texts(none, ["reported"]),
        "source": texts(none, ["urn:source"]),
        "backfill": pa.array(none.astype(bool)),
        "partition": pa.array(none),
        "offset": pa.array(day * 100_000 + batch),
        "item": pa.array(((step % ROUNDS_A_BATCH) * points + number).astype(np.int32)),
        "superseded": pa.nulls(size, UTC),
        "pending": pa.array(none.astype(np.int8)),
    }
    return pa.Table.from_arrays([columns[name] for name in FILE_SCHEMA.names], schema=FILE_SCHEMA)


def fill(archive: Path, points: int, days: int) -> float:
    """Write the archive; return seconds of processor time."""
    table = ReadingsTable(archive, SystemClock().now_us)
    source = np.random.default_rng(1)
    began = time.process_time()
    for day in range(FIRST_DAY, FIRST_DAY + days):
        files, writer = [], SettledWriter(archive, day)
        for first in range(0, points, POINTS_AT_ONCE):
            rows = readings(day, first, min(POINTS_AT_ONCE, points - first), source)
            writer.write(rows, np.ones(rows.num_rows, bool))
            if writer.rows >= FILE_ROWS and first + POINTS_AT_ONCE < points:
                files.append(writer.close(table.now_ms()))
                writer = SettledWriter(archive, day)
        files.append(writer.close(table.now_ms()))
        table.replace([], files)
    table.close()
    return time.process_time() - began


def asked(pool: QueryPool, sql: str, repeat: int) -> tuple[float, float]:
    """Return median and longest time [ms] of ``sql``, a warm child waiting each time."""
    taken = []
    for _ in range(repeat):
        pool.warm()
        time.sleep(1.5)
        taken.append(1000 * pool.run(sql).elapsed_s)
    return round(statistics.median(taken), 1), round(max(taken), 1)


def measure(folder: Path, points: int, repeat: int) -> None:
    """Ask, and report."""
    known = read_manifest(folder / "archive")
    assert known is not None
    days = len({file.day for file in known.files})
    count = sum(file.rows for file in known.files)
    size = sum(file.size_bytes for file in known.files)
    sums = sum(path.stat().st_size for path in (folder / "archive" / "daily").iterdir())
    words = f"{count:,} readings of {points:,} points over {days} days, {len(known.files)} files"
    report("archive at scale, size of a reading", "≤ 8", round((size + sums) / count, 2), "bytes", f"{words}; of it "
           f"{sums / count:.3f} daily sums")  # fmt: skip
    SqliteEventLog(folder / "log", [Topic("readings"), Topic("points")]).close()
    pool = QueryPool(folder / "archive", folder / "log", limits=QueryLimits(memory_bytes=2 << 30))
    pool.warm()
    middle = FIRST_DAY + days // 2
    span = f"observed >= make_timestamptz({middle * DAY_US}) AND observed < make_timestamptz({(middle + 1) * DAY_US})"
    one = f"point = '{point_id(points // 3)}'"
    asking = (
        ("SQL at scale, nothing", "", "SELECT 1"),
        ("SQL at scale, a day of one point", "≤ 50", f"SELECT observed, value FROM readings WHERE {one} AND {span}"),
        ("SQL at scale, daily sums of a fleet", "≤ 2,000", "SELECT day, sum(value_sum), sum(readings) FROM daily "
         "GROUP BY day ORDER BY day"),
        ("SQL at scale, daily sums of one point", "", f"SELECT day, value_sum FROM daily WHERE {one} ORDER BY day"),
        ("SQL at scale, a day of everything, from the readings", "", f"SELECT sum(value) FROM readings WHERE {span}"),
    )  # fmt: skip
    for name, goal, sql in asking:
        median, longest = asked(pool, sql, repeat)
        report(name, goal, median, "ms", f"{words}; warm process and page cache, median of {repeat}, longest {longest}")
    pool.close()


def main() -> None:
    """Write, measure, remove."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=70)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--short", action="store_true", help="a hundredth of it")
    parser.add_argument("--keep", type=Path, help="use this folder, and fill it only when it is empty")
    options = parser.parse_args()
    points, days = (2_000, 4) if options.short else (options.points, options.days)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="gridspine-billion-"))
    try:
        if not (folder / "archive" / "manifest.json").exists():
            seconds = fill(folder / "archive", points, days)
            rate = round(points * days * 1440 / seconds)
            report(
                "archive at scale, written", "", rate, "readings/s of processor time", "compacted files, sums, fsync"
            )
        measure(folder, points, 3 if options.short else 7)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
