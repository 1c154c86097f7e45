"""The SQLite engine's own: segments, another process reading along, a full disk, kill -9."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.room import Room
from gridspine.infra.log.segment import Segment
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.errors import DiskFull, Unavailable

TOPICS = [Topic("data"), Topic("control", control=True)]


def data(size: int = 10_000, topic: str = "data") -> Record:
    return Record(topic, b"k", os.urandom(size), 1)


def test_trim_deletes_segment_files(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path, TOPICS, segment_bytes=100_000)
    for _ in range(60):
        last = log.append([data()])[0]
    before = len(list((tmp_path / "data").glob("*.db")))
    assert before > 3
    log.trim("data", 0, last.offset)
    assert len(list((tmp_path / "data").glob("*.db"))) < 3
    assert [r.position.offset for r in log.read("data", 0, last.offset)] == [last.offset]
    log.close()


def test_a_reader_follows_through_new_segments_and_trim(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path, TOPICS, segment_bytes=60_000)
    log.append([data()])
    reader = SqliteEventLog(tmp_path, TOPICS, read_only=True)
    for _ in range(30):
        last = log.append([data()])[0]
    assert reader.bounds("data")[0] == (0, last.offset + 1)
    assert [r.position.offset for r in reader.read("data", 0, 0)] == list(range(last.offset + 1))
    log.trim("data", 0, 20)
    assert reader.bounds("data")[0] == (20, last.offset + 1)
    assert [r.position.offset for r in reader.read("data", 0, 20)] == list(range(20, last.offset + 1))
    reader.close()
    log.close()


def test_a_reader_that_looks_seldom_misses_nothing(tmp_path: Path) -> None:
    """Several segments may come between two looks; the one that was the newest before has grown meanwhile."""
    log = SqliteEventLog(tmp_path, TOPICS, segment_bytes=60_000)
    log.append([data()])
    reader = SqliteEventLog(tmp_path, TOPICS, read_only=True)
    found: list[int] = []
    for _ in range(4):
        while records := reader.read("data", 0, len(found)):
            found += [record.position.offset for record in records]
        for _ in range(40):
            last = log.append([data()])[0]
    assert len(list((tmp_path / "data").glob("*.db"))) > 10
    while records := reader.read("data", 0, len(found)):
        found += [record.position.offset for record in records]
    assert found == list(range(last.offset + 1))
    reader.close()
    log.close()


@pytest.mark.parametrize("failing", ["seal", "__init__"])
def test_a_segment_that_cannot_be_ended_for_want_of_room_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Whatever of the change to a new segment fails, all that was promised before and after it is found again."""
    log = SqliteEventLog(tmp_path, TOPICS, segment_bytes=60_000)
    real = getattr(Segment, failing)

    def full(*arguments: object, **named: object) -> None:
        if failing == "seal" or named.get("writable"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        real(*arguments, **named)

    promised = [log.append([data()])[0].offset for _ in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(Segment, failing, full)
        for _ in range(6):
            with contextlib.suppress(DiskFull):
                promised += [one.offset for one in log.append([data()])]
    log.close()
    log = SqliteEventLog(tmp_path, TOPICS, segment_bytes=60_000)
    promised += [log.append([data()])[0].offset for _ in range(10)]
    log.close()
    assert promised == list(range(len(promised)))
    log = SqliteEventLog(tmp_path, TOPICS, segment_bytes=60_000)
    assert [record.position.offset for record in log.read("data", 0, 0)] == promised
    log.close()


def test_a_newest_segment_that_was_sealed_too_early_is_read_whole(tmp_path: Path) -> None:
    """An earlier release sealed a segment before the next one was there, and wrote on when the disk had no room."""
    log = SqliteEventLog(tmp_path, TOPICS)
    log.append([data(), data()])
    log.close()
    (path,) = (tmp_path / "data").glob("*.db")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO sealed VALUES (0, 0, 1)")
    log = SqliteEventLog(tmp_path, TOPICS)
    assert log.bounds("data") == [(0, 2)]
    assert log.append([data()])[0].offset == 2
    log.close()


def test_data_stops_before_control_when_room_runs_out(tmp_path: Path) -> None:
    free = 100_000_000
    room = Room(tmp_path, reserve_bytes=1_000_000, free_bytes=lambda: free)
    log = SqliteEventLog(tmp_path / "log", TOPICS, room=room)
    log.append([data()])
    assert (tmp_path / "ballast").exists()
    free = 500_000
    with pytest.raises(DiskFull):
        for _ in range(1000):
            log.append([data()])
    assert not (tmp_path / "ballast").exists()
    log.append([data(topic="control")])
    free = 100_000_000
    log.append([data()])
    assert not room.full
    log.close()


def test_a_truly_full_disk_keeps_what_was_acknowledged() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with tempfile.TemporaryDirectory() as parent:
        folder = f"{parent}/small"
        mount = Path(folder)
        mount.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("this machine does not let tests mount a tmpfs")
        with contextlib.ExitStack() as stack:
            stack.callback(subprocess.run, ["umount", folder], check=True)
            room = Room(mount, reserve_bytes=1_000_000)
            log = SqliteEventLog(mount / "log", TOPICS, room=room, segment_bytes=2_000_000)
            stack.callback(log.close)
            kept = []
            with pytest.raises(DiskFull):
                for _ in range(10_000):
                    kept += log.append([data(50_000)])
            # Fill what the node would have left, as another program could: the ballast lets control through.
            log.append([data(20_000, topic="control")])
            assert [r.position for r in log.read("data", 0, 0, max_records=10_000, max_bytes=1 << 30)] == kept
            log.trim("data", 0, kept[-1].offset)
            assert log.append([data(50_000)])


CHILD = """
import os, sys
from pathlib import Path
from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.segment import Segment
from gridspine.infra.log.sqlite import SqliteEventLog
log = SqliteEventLog(Path(sys.argv[1]), [Topic("data")], segment_bytes=50_000)
n = log.bounds("data")[0][1]
while True:
    log.append([Record("data", b"k", str(n + i).encode() + b"." * 500, 1) for i in range(3)])
    n += 3
    print(n, flush=True)
"""


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged = 0
    for turn in range(5):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(20 + turn * 7):
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in child.stdout.read().split() if line)])
        child.wait()
        child.stdout.close()
    log = SqliteEventLog(tmp_path, TOPICS)
    numbers = [int(r.body.rstrip(b".")) for r in log.read("data", 0, 0, max_records=1_000_000)]
    log.close()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= acknowledged


def test_a_segment_that_cannot_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk SQLite cannot make its index: skipping the segment would give its offsets a second time."""
    with contextlib.closing(SqliteEventLog(tmp_path, TOPICS)) as log:
        log.append([data(), data()])

    def fails(self: Segment, *, newest: bool) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(Segment, "extents", fails)
        with pytest.raises(Unavailable, match="disk full"):
            SqliteEventLog(tmp_path, TOPICS)
    with contextlib.closing(SqliteEventLog(tmp_path, TOPICS)) as log:
        assert log.append([data()])[0].offset == 2


@pytest.mark.parametrize("broken", ["data/000000000001.db", "control/000000000001.db", "offsets.db"])
def test_a_log_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path, broken: str) -> None:
    with contextlib.closing(SqliteEventLog(tmp_path, TOPICS)) as log:
        log.append([data(), data(topic="control")])
    for left in ("-wal", "-shm"):
        (tmp_path / f"{broken}{left}").unlink(missing_ok=True)
    (tmp_path / broken).write_bytes(b"no database at all" * 100)
    with pytest.raises((sqlite3.DatabaseError, Unavailable)) as raised:
        SqliteEventLog(tmp_path, TOPICS)
    # The error still holds what was on its way: nothing is closed by being forgotten.
    assert raised.value.__traceback__ is not None
    assert [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))] == []
