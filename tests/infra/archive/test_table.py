"""The Delta table as others see it, as an older release left it, and while it is compacted."""

import datetime
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake

from gridspine.infra.archive.compact import compact_day
from gridspine.infra.archive.due import MAX_FILES, ChildCompactor, due_day, inputs, slice_rows_within
from gridspine.infra.archive.manifest import DataFile, read_manifest
from gridspine.infra.archive.rows import SCHEMA, Batch, Bindings, build
from gridspine.infra.archive.schema import FRESH, LATE, SETTLED
from gridspine.infra.archive.table import ReadingsTable
from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.errors import Unavailable
from gridspine.kernel.readings import Channel, Readings

SECOND = 1_000_000
DAY = 86_400 * SECOND
T0 = 1_772_323_200 * SECOND
FIRST_DAY = T0 // DAY


def some(node, source, size=60, days=2):
    rows = [
        (source.randrange(8), T0 + source.randrange(days * 1440) * 60 * SECOND, float(source.randint(-9, 9)), 0)
        for _ in range(size)
    ]
    node.append(rows, received_us=T0 + len(node.rows))


def seen_by_delta(node):
    """What a Delta engine reads: all revisions, and the offset."""
    table = DeltaTable(node.archive / "readings")
    rows = table.to_pyarrow_table()
    return sorted(zip(rows.column("point").to_pylist(), rows.column("offset").to_pylist(), strict=True)), table


def test_a_delta_engine_reads_the_same(node, ask):
    node.bind(2)
    source = random.Random(1)
    for _ in range(4):
        some(node, source)
        node.archive_all()
    table, _ = node.archiver()
    compact_day(table, FIRST_DAY)
    for _ in range(2):
        rows, engine = seen_by_delta(node)
        assert rows == sorted((row[0], row[12]) for row in node.rows)
        assert engine.version() == table.version
        assert engine.transaction_version("gridspine/readings/0") == node._offset
        found = pa.table(engine.get_add_actions(flatten=True)).to_pylist()
        assert {(one["path"], one["num_records"]) for one in found} == {(f.path, f.rows) for f in table.files()}
        assert all(one["min.point"] <= one["max.point"] for one in found)
        table.checkpoint()
        table.vacuum(retention_s=0.0)
    table.close()
    assert ask.revisions() == sorted(node.rows)


def test_an_archive_of_an_older_release_is_taken_over(node, ask):
    """Written by a Delta engine, with other row groups and encodings, with no manifest and no daily sums."""
    node.bind(2)
    bindings = Bindings()
    for thing in range(2):
        name = f"urn:dev:ops:32473-meter-{thing}"
        names, units = ("energy", "power", "state", "voltage"), ("Wh", "W", "code", "V")
        bindings.add(PointBinding(thing * 4, name, "urn:org:a", "model", names, units, T0))
    folder = node.archive / "readings"
    DeltaTable.create(folder, Schema.from_arrow(SCHEMA), partition_by=["day"])
    source = random.Random(2)
    for offset in range(3):
        some(node, source)
        rows = [row for row in node.rows if row[12] == offset]
        readings = Readings(
            np.array([node_number(row) for row in rows], np.int32),
            np.array([row[3] for row in rows], np.int64),
            np.array([row[5] for row in rows]),
            np.zeros(len(rows), np.uint16),
            ("urn:source",),
            Channel.REPORTED,
            rows[0][4],
        )
        write_deltalake(
            folder, build([Batch(0, offset, readings)], bindings, None), mode="append",
            commit_properties=CommitProperties(app_transactions=[Transaction("gridspine/readings/0", offset + 1)]),
        )  # fmt: skip
    (node.archive / "published.json").write_text('{"offsets":{"0":3},"version":3,"checkpoint":-1,"timeUs":0}')
    with pytest.raises(Unavailable, match="is being opened"):
        ask("SELECT 1 FROM readings")
    table = ReadingsTable(node.archive, node.clock.now_us)
    assert table.offset(0) == 3
    table.close()
    assert ask.revisions() == sorted(node.rows)
    assert ask.readings() == node.latest()
    some(node, source)
    node.archive_all()
    table, _ = node.archiver()
    for day in sorted({file.day for file in table.files()}):
        compact_day(table, day)
    table.close()
    assert ask.revisions() == sorted(node.rows)
    assert ask.readings() == node.latest()
    assert seen_by_delta(node)[0] == sorted((row[0], row[12]) for row in node.rows)


def node_number(row):
    return int(row[1].rpartition("-")[2]) * 4 + ("energy", "power", "state", "voltage").index(row[2])


def test_a_lost_or_older_manifest_is_made_again(node, ask):
    node.bind(2)
    source = random.Random(3)
    for _ in range(3):
        some(node, source)
        node.archive_all()
    old = (node.archive / "manifest.json").read_bytes()
    known = read_manifest(node.archive)
    some(node, source)
    node.archive_all()
    for body in (old, b"rubbish", None):
        if body is None:
            (node.archive / "manifest.json").unlink()
        else:
            (node.archive / "manifest.json").write_bytes(body)
        table, _ = node.archiver()
        assert table.offset(0) == 4
        assert len(table.files()) > len(known.files)
        table.close()
        assert ask.revisions() == sorted(node.rows)


def test_days_beyond_what_is_kept_are_let_go(node, ask):
    node.bind(2)
    node.append([(0, T0 - 10 * DAY, 1.0, 0), (0, T0 - 9 * DAY, 2.0, 0), (0, T0, 3.0, 0)])
    node.archive_all(keep_days=9)
    assert ask("SELECT value FROM readings ORDER BY observed") == [(2.0,), (3.0,)]
    assert ask("SELECT sum(readings) FROM daily") == [(2,)]
    node.append([(0, T0 - 20 * DAY, 4.0, 0)])  # too old when it comes
    node.archive_all(keep_days=9)
    assert ask("SELECT count(*) FROM revisions") == [(2,)]
    assert seen_by_delta(node)[0] == [(node.rows[0][0], 0)] * 2
    table, _ = node.archiver()
    assert table.drop_days(FIRST_DAY) == 1
    table.vacuum(retention_s=0.0)
    assert [path.parent.name for path in (node.archive / "readings").glob("day=*/*")] == ["day=2026-03-01"]
    table.close()


def file(day, pending, version, rows=10, written_ms=0):
    return DataFile(f"{day}-{version}", day, rows, 1, 0, 0, "", "", pending, 0, written_ms, version, pending == SETTLED)


def test_files_are_never_settled_before_those_they_may_replace():
    files = [file(1, SETTLED, 3), *(file(1, FRESH, 10 + n // 2) for n in range(2 * MAX_FILES)), file(2, LATE, 4)]
    random.Random(1).shuffle(files)
    chosen = inputs(files, 1)
    assert MAX_FILES <= len(chosen) <= MAX_FILES + 3
    left = [one for one in files if one.day == 1 and one not in chosen]
    assert max(one.version for one in chosen) < min(one.version for one in left)
    assert due_day(files, 0) == 1
    assert due_day([file(1, SETTLED, 1)], 10**9) is None
    assert due_day([file(1, SETTLED, 1), file(2, FRESH, 2)], 10**9) == 2, "a quiet day gets its sums"


def test_readers_see_no_gap_and_nothing_twice_while_a_day_is_compacted(node, ask):
    """Between any two steps of a compaction in a process of its own, with readings archived beside it."""
    node.bind(2)
    source = random.Random(4)
    for _ in range(3):
        some(node, source)
        node.archive_all()
    table, archiver = node.archiver(max_age_s=0.0)
    compactor = ChildCompactor(node.archive, memory_bytes=256 << 20)
    old = inputs(table.files(), FIRST_DAY)
    compactor.start(FIRST_DAY, old)
    for _ in range(3):
        some(node, source)  # late ones among them: revisions of what is being compacted
        archiver.commit() if archiver._read() else None
        assert ask.readings() == node.latest()
    made = None
    while made is None:
        made = compactor.done()
        time.sleep(0.02)
    assert ask.readings() == node.latest()
    table.replace(old, made)
    assert ask.revisions() == sorted(node.rows)
    assert ask.readings() == node.latest()
    table.close()


def test_a_compaction_that_is_killed_leaves_litter_and_nothing_else(node, ask):
    node.bind(2)
    source = random.Random(5)
    for _ in range(3):
        some(node, source, size=400)
        node.archive_all()
    table, _ = node.archiver()
    for delay_s in (0.0, 0.4, 0.8):
        compactor = ChildCompactor(node.archive, memory_bytes=256 << 20)
        compactor.start(FIRST_DAY, inputs(table.files(), FIRST_DAY))
        time.sleep(delay_s)
        os.kill(compactor._child.pid, signal.SIGKILL)
        compactor._child.wait()
        if compactor._child.returncode == -signal.SIGKILL:
            with pytest.raises(Unavailable, match="code -9"):
                compactor.done()
        compactor.close()
    assert ask.readings() == node.latest()
    compact_day(table, FIRST_DAY)
    table.vacuum(retention_s=0.0)
    used = {file.path for file in table.files()}
    assert {str(p.relative_to(node.archive / "readings")) for p in node.archive.glob("readings/day=*/*")} == used
    table.close()
    assert ask.readings() == node.latest()


@pytest.mark.slow
def test_a_compaction_stays_within_its_memory(node):
    """Two million readings of a day, of few points and of many, in files as the worker leaves them."""
    node.bind(250)
    per_file, files = 250_000, 8
    table = ReadingsTable(node.archive, node.clock.now_us)
    bindings = Bindings()
    for thing in range(250):
        bindings.add(
            PointBinding(thing * 4, f"urn:dev:ops:32473-meter-{thing}", "o", "m", tuple("abcd"), ("W",) * 4, 0)
        )
    for number in range(files):
        batches = []
        for part in range(per_file // 25_000):
            at = T0 + (number * 10 + part) * 600 * SECOND + np.repeat(np.arange(25), 1000) * SECOND
            points = np.tile(np.arange(1000, dtype=np.int32), 25)
            values = np.random.default_rng(part).normal(0, 100, 25_000).round(1)
            zeros = np.zeros(25_000, np.uint16)
            made = Readings(points, at, values, zeros, ("urn:s",), Channel.REPORTED, T0)
            batches.append(Batch(0, number * 100 + part, made))
        table.append(build(batches, bindings, None), {0: number + 1})
    bound = 256 << 20
    asked = ["--archive", str(node.archive), "--day", str(FIRST_DAY), "--slice-rows", str(slice_rows_within(bound))]
    script = (
        "import sys\nfrom gridspine.infra.archive.compact import main\nmain(sys.argv[1:])\n"
        "status = open('/proc/self/status').read()\nsys.stderr.write(status.split('VmHWM:')[1].split()[0])\n"
    )
    body = json.dumps([file_as_list(one) for one in inputs(table.files(), FIRST_DAY)])
    done = subprocess.run([sys.executable, "-c", script, *asked], input=body.encode(), capture_output=True, check=True)
    table.close()
    assert sum(row[2] for row in json.loads(done.stdout)) == per_file * files
    assert int(done.stderr.split()[-1]) * 1024 <= bound, "a compaction takes more than its bound"


def file_as_list(one):
    return [getattr(one, name) for name in one.__struct_fields__]


def test_the_day_of_a_file_is_utc(node):
    node.bind(1)
    node.append([(0, T0 - 1, 1.0, 0), (0, T0, 2.0, 0)])
    node.archive_all()
    days = {datetime.date(1970, 1, 1) + datetime.timedelta(days=one.day) for one in read_manifest(node.archive).files}
    assert {day.isoformat() for day in days} == {"2026-02-28", "2026-03-01"}
