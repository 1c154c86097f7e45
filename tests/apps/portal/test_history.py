"""The recent past from the log: only what is asked for, no gap to the live part, thinned without losing peaks."""

from pathlib import Path

import numpy as np
import pytest

from gridspine.apps.portal.history import Samples, recent, samples, thin
from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import Channel, Readings
from gridspine.sharing.parcel import Mask, make_mask

MASK: Mask = make_mask(
    "p", 1, ["urn:x:a/one", "urn:x:a/two"], ["W", "V"], {"urn:x:a/one": 4, "urn:x:a/two": 7}.__getitem__
)


def batch(points: list[int], at_us: int, values: list[float]) -> Readings:
    count = len(points)
    return Readings(
        np.array(points, np.int32), np.full(count, at_us, np.int64), np.array(values), np.zeros(count, np.uint16),
        ("source",), Channel.REPORTED, at_us,
    )  # fmt: skip


def keep(log: SqliteEventLog, at_us: int, *batches: Readings) -> None:
    log.append([Record("readings", b"k", encode_batch(one), at_us) for one in batches])


@pytest.fixture
def log(tmp_path: Path) -> SqliteEventLog:
    log = SqliteEventLog(tmp_path / "log", [Topic("readings")])
    for second in range(100):
        at_us = second * 1_000_000
        keep(log, at_us, batch([4, 5], at_us, [second, -1.0]), batch([6], at_us, [0.0]))
    return log


def test_the_tail_since_a_time_and_where_live_goes_on(log: SqliteEventLog) -> None:
    found, offsets = recent(log, MASK, 90_000_000)
    assert samples(found).value.tolist() == list(range(90, 100))
    assert set(samples(found).point.tolist()) == {0}
    assert offsets == {0: log.bounds("readings")[0][1]}


def test_all_and_nothing(log: SqliteEventLog, tmp_path: Path) -> None:
    assert len(samples(recent(log, MASK, 0)[0])) == 100
    assert len(samples(recent(log, MASK, 10**12)[0])) == 0
    assert recent(SqliteEventLog(tmp_path / "empty", [Topic("readings")]), MASK, 0)[0] == []


def test_what_was_trimmed_is_left_out(log: SqliteEventLog) -> None:
    log.trim("readings", 0, 100)
    assert samples(recent(log, MASK, 0)[0]).value.tolist() == list(range(50, 100))


def test_thinning_keeps_peaks_and_marks() -> None:
    count = 10_000
    values = np.zeros(count)
    values[1234], values[4321] = 99.0, -99.0
    quality = np.zeros(count, np.uint16)
    quality[7777] = Quality.INVALID
    whole = Samples(np.zeros(count, np.int32), np.arange(count), values, quality)
    few = thin(whole, 0, 300)
    assert len(few) <= 300
    assert {99.0, -99.0} <= set(few.value.tolist())
    assert Quality.INVALID in few.quality.tolist()
    assert (np.diff(few.observed_us) > 0).all()
    assert len(thin(whole, 1, 300)) == 0
    assert len(thin(Samples(*(c[:10] for c in (whole.point, whole.observed_us, values, quality))), 0, 300)) == 10
