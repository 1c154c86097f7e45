"""Twins: the newest live report of each point, its silence, and a snapshot that may be damaged."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from things_plant import NOW_US, readings

from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import Channel
from gridspine.kernel.time import US
from gridspine.things.twin import NEVER_US, TwinState

ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 99), st.sampled_from([0, 1, 64, 128])), max_size=12
)
BATCHES = st.lists(st.tuples(ROWS, st.sampled_from([Channel.REPORTED] * 4 + list(Channel)), st.booleans()), max_size=8)
OLD = int(Quality.QUESTIONABLE | Quality.OLD_DATA)


@given(BATCHES)
def test_a_twin_is_the_newest_live_report(sent: list) -> None:
    twins, slow = TwinState(), {}
    for number, (rows, channel, backfill) in enumerate(sent):
        batch = readings(rows, channel=channel, backfill=backfill, received_s=100 + number)
        twins.apply(batch)
        if channel == Channel.REPORTED and not backfill:
            before = {point: known[1] for point, known in slow.items()}
            for point, time_s, value, quality in sorted(rows, key=lambda row: row[1]):  # stable: arrival decides
                if NOW_US + time_s * US >= before.get(point, NEVER_US):
                    slow[point] = (value, NOW_US + time_s * US, quality, batch.received_us)
    for point in range(8):
        assert twins.get(point)[1:] == slow.get(point, (0, NEVER_US, 0, NEVER_US))[1:]
        assert twins.get(point).value == slow[point][0] if point in slow else math.isnan(twins.get(point).value)


@given(BATCHES)
@settings(deadline=None)
def test_replaying_the_log_from_anywhere_changes_nothing(sent: list) -> None:
    batches = [readings(rows, channel=c, backfill=b, received_s=100 + n) for n, (rows, c, b) in enumerate(sent)]
    once, again = TwinState(), TwinState()
    for batch in batches:
        once.apply(batch)
    for start in (0, len(batches) // 2):
        for batch in batches[start:]:
            again.apply(batch)
    assert [repr(once.get(p)) for p in range(8)] == [repr(again.get(p)) for p in range(8)]


def test_silence_shows_in_the_quality_until_the_point_is_heard_again() -> None:
    twins = TwinState()
    own_old = int(Quality.OLD_DATA | Quality.QUESTIONABLE)  # what a gateway said of its own value
    twins.apply(readings([(0, 1, 5, 0), (1, 1, 5, 1), (2, 1, 5, own_old), (3, 1, 5, 0)]))
    everybody = np.arange(4)
    twins.age(everybody)
    assert [twins.get(p).quality for p in everybody] == [OLD, int(Quality.INVALID | Quality.OLD_DATA), own_old, OLD]
    twins.heard(np.array([0, 2]), NOW_US + 200 * US)
    assert [twins.get(p).quality for p in (0, 2)] == [0, own_old]
    assert twins.get(0).heard_us == NOW_US + 200 * US
    twins.apply(readings([(1, 2, 6, 0), (3, 0, 6, 0)]))
    assert twins.get(1).quality == 0
    assert twins.get(3).quality == OLD  # a late reading says nothing of the point's state now
    twins.apply(readings([(3, 9, 6, 0)], backfill=True))
    assert twins.get(3).quality == OLD


def test_hearing_of_points_never_applied_is_no_error() -> None:
    twins = TwinState()
    twins.heard(np.array([500]), 1)
    twins.age(np.array([900]))
    assert twins.get(500).heard_us == 1
    assert twins.get(10_000).observed_us == NEVER_US


def filled() -> TwinState:
    twins = TwinState()
    twins.apply(readings([(p, 1, p, 0) for p in range(70)]))
    twins.age(np.array([3]))
    return twins


def test_a_snapshot_comes_back(tmp_path: Path) -> None:
    twins, again = filled(), TwinState()
    twins.save(tmp_path / "twins.npz", {0: 7, 2: 9})
    assert again.load(tmp_path / "twins.npz") == {0: 7, 2: 9}
    assert [repr(again.get(p)) for p in range(80)] == [repr(twins.get(p)) for p in range(80)]
    again.apply(readings([(3, 5, 1, 0), (200, 5, 1, 0)]))
    assert again.get(3).quality == 0
    assert not list(tmp_path.glob("*.tmp"))


def test_no_snapshot_and_one_of_another_format_start_from_nothing(tmp_path: Path) -> None:
    path = tmp_path / "twins.npz"
    assert TwinState().load(path) == {}
    for content in (b"", b"PK\x03\x04", b"\0" * 100):
        path.write_bytes(content)
        assert TwinState().load(path) == {}
    np.savez(path, format=2, offsets=np.zeros((0, 2), np.int64), value=np.zeros(3))
    assert TwinState().load(path) == {}
    columns = dict.fromkeys(("value", "observed_us", "quality", "heard_us", "silent"), np.zeros(3))
    np.savez(path, format=2, offsets=np.zeros((0, 2), np.int64), **columns)
    assert TwinState().load(path) == {}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_snapshot_gives_nothing_or_what_was_written(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "twins.npz"
    twins = filled()
    twins.save(path, {0: 7})
    body, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for at in rng.integers(0, len(body), 3):
        body[at] = rng.integers(0, 256)
    if rng.integers(0, 3) == 0:
        del body[rng.integers(0, len(body)) :]
    path.write_bytes(body)
    again = TwinState()
    if again.load(path):
        assert [repr(again.get(p)) for p in range(70)] == [repr(twins.get(p)) for p in range(70)]
    else:
        assert again.get(0).observed_us == NEVER_US


def test_a_point_is_heard_of_all_the_while_until_it_is_silent_or_the_node_starts() -> None:
    twins = TwinState()
    assert twins.steady(0) == (NEVER_US, NEVER_US)
    twins.apply(readings([(0, 1, 5, 0), (1, 1, 5, 0)], received_s=10))
    twins.heard(np.array([0, 1]), NOW_US + 70 * US)
    assert twins.steady(0) == (NOW_US + 10 * US, NOW_US + 70 * US)
    twins.age(np.array([0]))
    twins.heard(np.array([0, 1]), NOW_US + 200 * US)
    assert twins.steady(0) == (NOW_US + 200 * US, NOW_US + 200 * US)
    assert twins.steady(1) == (NOW_US + 10 * US, NOW_US + 200 * US)
    twins.shift_heard(3_600 * US, NOW_US + 3_900 * US, US)
    assert twins.steady(1) == (NOW_US + 3_610 * US, NOW_US + 3_800 * US)
    twins.begin()
    assert twins.steady(1) == (NEVER_US, NEVER_US)
    twins.heard(np.array([1]), NOW_US + 4_000 * US)
    assert twins.steady(1) == (NOW_US + 4_000 * US, NOW_US + 4_000 * US)


def test_a_snapshot_does_not_say_that_a_point_was_heard_of_meanwhile(tmp_path: Path) -> None:
    twins, again = TwinState(), TwinState()
    twins.apply(readings([(0, 1, 5, 0)], received_s=10))
    twins.save(tmp_path / "twins", {0: 1})
    assert again.load(tmp_path / "twins") == {0: 1}
    assert again.steady(0) == (NEVER_US, NEVER_US)
    again.heard(np.array([0]), NOW_US + 20 * US)
    assert again.steady(0) == (NOW_US + 20 * US, NOW_US + 20 * US)
