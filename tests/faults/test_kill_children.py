"""``kill -9`` of the archive's and the queries' processes at random moments: history is whole, and nothing is twice."""

import contextlib
import json
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from killing import Moments, left_over

from gridspine.infra.archive.published import read_published
from gridspine.infra.archive.query import QueryInput, QueryPool
from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.kernel.codecs.binding import PointBinding, encode_binding
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.readings import Channel, Readings

T0 = 1_767_225_600_000_000
ROWS = 50
SQL = "select count(*), count(distinct value) from revisions"
_PATIENCE_S = 60.0


class Kept:
    """A log that is written to, and the folder of its archive."""

    def __init__(self, folder: Path) -> None:
        self.log_folder, self.archive = folder / "log", folder / "archive"
        self.archive.mkdir(parents=True)
        topics = [Topic("readings"), Topic("points")]
        self.log = SqliteEventLog(self.log_folder, topics, segment_bytes=1 << 18)
        names, units = ("energy", "power"), ("Wh", "W")
        binding = PointBinding(0, "urn:example:m1", "a", "model", names, units, T0)
        self.log.append([Record("points", b"k", encode_binding(binding), T0)])
        self.rows = 0

    def append(self) -> None:
        at = np.arange(self.rows, self.rows + ROWS)
        readings = Readings(
            (at % 2).astype(np.int32), T0 + at * 1_000_000, at.astype(np.float64), np.zeros(ROWS, np.uint16),
            ("urn:source",), Channel.REPORTED, T0 + self.rows, False,
        )  # fmt: skip
        self.log.append([Record("readings", b"k", encode_batch(readings), T0)])
        self.rows += ROWS

    def archived(self) -> bool:
        return read_published(self.archive).offsets.get(0, 0) == self.log.bounds("readings")[0][1]

    def ask(self, pool: QueryPool) -> list[int]:
        found: list[int] = json.loads(pool.run(SQL, QueryInput()).body)["rows"][0]
        return found


def fork_worker(nursery, kept):
    arguments = ["--archive", str(kept.archive), "--log", str(kept.log_folder), "--max-rows", "400",
                 "--max-age-s", "0.05", "--poll-s", "0.01"]  # fmt: skip
    return nursery.fork("archive", arguments=arguments)


def kill_archiver(nursery, folder, kills):
    """Kill the worker while it archives what comes; now and then let it catch up, and count."""
    kept, moments = Kept(folder), Moments()
    pool = QueryPool(kept.archive, kept.log_folder, spares=0)
    for at in range(kills):
        worker = fork_worker(nursery, kept)
        until = time.monotonic() + moments.within(0.3)
        while time.monotonic() < until:
            kept.append()
            time.sleep(0.004)
        worker.kill()
        if at % 20 == 19 or at == kills - 1:
            worker = fork_worker(nursery, kept)
            deadline = time.monotonic() + _PATIENCE_S
            while not kept.archived():
                assert worker.alive, nursery.said("archive")
                assert time.monotonic() < deadline, nursery.said("archive")
                time.sleep(0.01)
            assert kept.ask(pool) == [kept.rows, kept.rows]
            worker.kill()  # amid the manifest, perhaps: that is written under one name, over what was left of it
            assert set(left_over(kept.archive)) <= {"manifest.json.new"}
    kept.log.close()
    pool.close()
    return kept.rows


def test_the_archive_survives_kills(nursery, tmp_path, tally):
    assert kill_archiver(nursery, tmp_path, 10) > 10 * ROWS
    tally("kill -9", "archive process", 10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_archive_survives_many_kills(nursery, tmp_path, tally):
    assert kill_archiver(nursery, tmp_path, 160) > 160 * ROWS
    tally("kill -9", "archive process", 160)


def kill_queries(folder, kills):
    """Kill query children while they answer: an answer is right, or says that there is none."""
    kept, moments = Kept(folder), Moments()
    for _ in range(20):
        kept.append()
    pool = QueryPool(kept.archive, kept.log_folder, spares=1)
    pool.warm()
    answers: list[list[int] | GridspineError] = []

    def ask() -> None:
        try:
            answers.append(kept.ask(pool))
        except GridspineError as error:
            answers.append(error)

    killed = 0
    for _ in range(kills):
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(moments.within(0.3))
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # it may have ended by itself, and be a zombie
                if "gridspine.infra.archive.child" in child.cmdline():
                    child.kill()
                    killed += 1
        asking.join(_PATIENCE_S)
        assert not asking.is_alive()
    assert len(answers) == kills
    assert {type(answer) for answer in answers} <= {list} | {type(a) for a in answers if isinstance(a, GridspineError)}
    assert all(answer == [kept.rows, kept.rows] for answer in answers if isinstance(answer, list))
    assert kept.ask(pool) == [kept.rows, kept.rows]
    pool.close()
    kept.log.close()
    return killed


def test_queries_survive_kills(tmp_path, tally):
    tally("kill -9", "query process", kill_queries(tmp_path, 4))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_queries_survive_many_kills(tmp_path, tally):
    killed = kill_queries(tmp_path, 60)
    assert killed >= 40
    tally("kill -9", "query process", killed)
