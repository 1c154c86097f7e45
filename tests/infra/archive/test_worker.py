"""The worker's process: its contract, and that a kill at any moment neither doubles nor loses a reading."""

import os
import random
import select
import signal
import subprocess
import sys
import time

import pytest

from gridspine.infra.archive.published import read_published
from gridspine.infra.archive.table import ReadingsTable
from gridspine.infra.archive.worker import EXIT_LOCKED, worker_command

SECOND = 1_000_000
T0 = 1_772_323_200 * SECOND


@pytest.fixture
def start(node):
    started = []

    def start(*more, ready=True):
        command = [*worker_command(node.archive, node.log_folder), *more]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(worker)
        if ready:
            assert worker.stdout.readline() == b"ready\n", worker.stderr.read()
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def published(node, wanted, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while read_published(node.archive).offsets.get(0) != wanted:
        assert time.monotonic() < deadline, read_published(node.archive)
        time.sleep(0.02)


def batch(node, source, size=50):
    rows = [
        (source.randrange(8), T0 + source.randrange(3 * 1440) * 60 * SECOND, float(source.randint(-9, 9)), 0)
        for _ in range(size)
    ]
    node.append(rows, received_us=T0 + len(node.rows))


def test_it_follows_the_log_and_ends_when_asked(node, ask, start):
    node.bind(2)
    source = random.Random(1)
    worker = start("--max-age-s", "0.1", "--poll-s", "0.02")
    for _ in range(5):
        batch(node, source)
    published(node, 5)
    node.bind(1)
    node.append([(8, T0, 1.0, 0)])  # a point bound after the start
    published(node, 6)
    assert ask.revisions() == sorted(node.rows)
    worker.terminate()
    assert worker.wait(30) == 0
    assert worker.stderr.read() == b""


@pytest.mark.slow
def test_killed_at_any_moment_it_neither_doubles_nor_loses(node, ask, start):
    node.bind(2)
    source = random.Random(2)
    for _ in range(12):
        worker = start("--max-rows", "300", "--max-age-s", "0.05", "--poll-s", "0.01")
        for _ in range(source.randrange(8, 20)):
            batch(node, source)
            time.sleep(source.random() * 0.02)
        time.sleep(source.random() * 0.15)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        # what is published is there
        assert read_published(node.archive).offsets.get(0, 0) <= node._offset
    assert ask.revisions() == sorted(node.rows)
    assert ask.readings() == node.latest()
    start("--max-rows", "300", "--max-age-s", "0.05")
    published(node, node._offset)
    assert ask.revisions() == sorted(node.rows)
    assert ask.readings() == node.latest()


def test_a_second_worker_is_turned_away(node, start):
    start()
    second = start(ready=False)
    assert second.wait(30) == EXIT_LOCKED
    assert b"another process writes" in second.stderr.read()


def test_it_ends_with_its_parent(node):
    script = (
        "import subprocess, sys, time\n"
        f"worker = subprocess.Popen({worker_command(node.archive, node.log_folder)!r}, stdout=sys.stdout)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert parent.stdout.readline() == b"ready\n"
    finally:
        parent.kill()
        parent.wait()
    # the worker holds the pipe's other end: it closes when the worker is gone
    ended, _, _ = select.select([parent.stdout], [], [], 30)
    assert ended
    assert parent.stdout.read() == b""
    parent.stdout.close()


def test_wrong_arguments_are_told(node):
    done = subprocess.run([*worker_command(node.archive, node.log_folder), "--nonsense"], capture_output=True)
    assert done.returncode == 2


def test_power_failure_after_the_last_publication_is_undone(node, ask):
    """Commits above the published version whose bytes never reached the disk are dropped and made again."""
    node.bind(2)
    source = random.Random(3)
    batch(node, source)
    node.archive_all()
    sound = read_published(node.archive)
    folder = node.archive / "readings"
    before = set(folder.rglob("*.parquet"))
    batch(node, source)
    node.archive_all()
    newest = sorted((folder / "_delta_log").glob("*.json"))[-1]
    new = set(folder.rglob("*.parquet")) - before
    for damage in (lambda: newest.write_bytes(b""), lambda: newest.write_bytes(newest.read_bytes()[:-20]),
                   lambda: new.pop().write_bytes(b"")):  # fmt: skip
        kept = newest.read_bytes()
        (node.archive / "published.json").write_bytes(
            b'{"offsets":{"0":%d},"version":%d,"checkpoint":-1,"timeUs":0}' % (sound.offsets[0], sound.version)
        )
        damage()
        table = ReadingsTable(node.archive, node.clock.now_us)
        assert (table.version, table.offset(0)) == (sound.version, 1)
        table.close()
        assert not newest.exists()
        newest.write_bytes(kept)
    newest.unlink()
    assert ask.revisions() == sorted(node.rows)
    node.archive_all()
    assert ask.revisions() == sorted(node.rows)
    assert read_published(node.archive).offsets == {0: 2}


def test_a_torn_checkpoint_is_dropped(node, ask):
    node.bind(2)
    batch(node, random.Random(4))
    node.archive_all()
    table, _ = node.archiver()
    sound = (node.archive / "published.json").read_bytes()
    table.checkpoint()
    table.close()
    (node.archive / "published.json").write_bytes(sound)
    for path in (node.archive / "readings" / "_delta_log").glob("*.checkpoint.parquet"):
        path.write_bytes(b"torn")
    batch(node, random.Random(5))
    node.archive_all()
    assert ask.revisions() == sorted(node.rows)


def test_checkpoint_and_vacuum_keep_everything(node, ask):
    node.bind(2)
    source = random.Random(6)
    for _ in range(6):
        batch(node, source)
        node.archive_all()
    from gridspine.infra.archive.compact import compact_day

    table, _ = node.archiver()
    for day in sorted({file.day for file in table.files()}):
        compact_day(table, day)
    many = len(list((node.archive / "readings").rglob("day=*/*.parquet")))
    table.vacuum(retention_s=0.0)
    table.checkpoint()
    assert len(list((node.archive / "readings").rglob("day=*/*.parquet"))) == len(table.files()) < many
    assert read_published(node.archive).checkpoint == table.version
    table.close()
    assert ask.revisions() == sorted(node.rows)
    batch(node, source)
    node.archive_all()
    assert ask.revisions() == sorted(node.rows)
    assert ask.readings() == node.latest()
    table, _ = node.archiver()
    assert {file.pending for file in table.files()} == {0, 2}
    table.close()


def test_a_deleted_archive_is_built_again(node, ask):
    import shutil

    node.bind(2)
    source = random.Random(7)
    for _ in range(4):
        batch(node, source)
    node.archive_all()
    shutil.rmtree(node.archive / "readings")
    node.archive_all()
    assert ask.revisions() == sorted(node.rows)
    shutil.rmtree(node.archive)
    node.archive_all()
    assert ask.revisions() == sorted(node.rows)
