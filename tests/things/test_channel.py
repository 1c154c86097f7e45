"""Twins on the other channels: the newest emulated value, the plan that holds, and their part of the snapshot."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from things_plant import NOW_US, readings

from gridspine.kernel.readings import Channel
from gridspine.kernel.time import US
from gridspine.things import planned as plan
from gridspine.things.channel import Channels
from gridspine.things.twin import NEVER_US, TwinState

ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 99), st.sampled_from([0, 64])),
    min_size=1,
    max_size=9,
)
BATCHES = st.lists(st.tuples(ROWS, st.booleans()), max_size=7)


@given(BATCHES)
def test_an_emulated_value_is_the_newest_that_was_not_history(sent: list) -> None:
    channels, slow = Channels(), {}
    for number, (rows, backfill) in enumerate(sent):
        batch = readings(rows, channel=Channel.EMULATED, backfill=backfill, received_s=100 + number)
        channels.apply(batch)
        for point, time_s, value, quality in () if backfill else sorted(rows, key=lambda row: row[1]):
            if point not in slow or NOW_US + time_s * US >= slow[point][1]:
                slow[point] = (value, NOW_US + time_s * US, quality, batch.received_us)
    for point in range(6):
        assert channels.emulated(point) == slow.get(point)


@given(BATCHES, st.integers(-1, 10))
@settings(deadline=None)
def test_a_plan_holds_each_step_until_the_next_and_the_last_revision_counts(sent: list, now_s: int) -> None:
    channels, slow = Channels(), {}
    for number, (rows, backfill) in enumerate(sent):
        batch = readings(rows, channel=Channel.PLANNED, backfill=backfill, received_s=-50 + number)
        channels.apply(batch)
        for point, time_s, value, quality in () if backfill else rows:
            slow[point, time_s] = (value, NOW_US + time_s * US, quality, batch.received_us)
    for point in range(6):
        before = [slow[key] for key in sorted(slow) if key[0] == point and key[1] <= now_s]
        after = [slow[key] for key in sorted(slow) if key[0] == point and key[1] > now_s]
        wanted = (before[-1] if before else None, after[0] if after else None)
        assert channels.planned(point, NOW_US + now_s * US) == wanted


def test_steps_that_are_over_are_forgotten_but_for_the_one_that_holds() -> None:
    plans = plan.Plans()
    plans.add(readings([(1, t, t, 0) for t in range(100)], channel=Channel.PLANNED, received_s=0))
    plans.add(readings([(1, t, 7, 0) for t in range(100, 200)], channel=Channel.PLANNED, received_s=150))
    assert len(plans) == 50
    present, following = plans.at(1, NOW_US + 150 * US)
    assert present is not None
    assert following is not None
    assert (present[1], following[1]) == (NOW_US + 150 * US, NOW_US + 151 * US)


def test_there_is_a_bound_and_what_is_nearest_stays(monkeypatch) -> None:
    monkeypatch.setattr(plan, "MAX_STEPS", 100)
    plans = plan.Plans()
    for number in range(5):
        plans.add(readings([(number, t, t, 0) for t in range(30)], channel=Channel.PLANNED, received_s=-9))
        assert len(plans) <= 100
    assert all(plans.at(number, NOW_US)[0] is not None for number in range(4))


def used() -> TwinState:
    twins = TwinState()
    twins.apply(readings([(p, 1, p, 0) for p in range(9)]))
    twins.apply(readings([(p, 2, -p, 0) for p in (3, 5)], channel=Channel.EMULATED))
    twins.apply(readings([(4, t, t, 0) for t in (0, 5, 200)], channel=Channel.PLANNED))
    return twins


def test_other_channels_never_show_where_reported_is_meant() -> None:
    twins = used()
    assert [twins.get(point).value for point in range(9)] == list(range(9))
    only = TwinState()
    only.apply(readings([(3, 2, 5, 0)], channel=Channel.EMULATED))
    assert only.get(3).observed_us == NEVER_US
    assert only.channels.emulated(4) is None


def test_a_snapshot_holds_every_channel(tmp_path: Path) -> None:
    twins, again = used(), TwinState()
    twins.save(tmp_path / "twins.npz", {0: 7})
    assert again.load(tmp_path / "twins.npz") == {0: 7}
    assert [again.channels.emulated(p) for p in range(9)] == [twins.channels.emulated(p) for p in range(9)]
    for now_s in (0, 6, 300):
        assert again.channels.planned(4, NOW_US + now_s * US) == twins.channels.planned(4, NOW_US + now_s * US)


def test_a_snapshot_whose_channels_do_not_fit_is_none(tmp_path: Path) -> None:
    path = tmp_path / "twins.npz"
    used().save(path, {0: 7})
    with np.load(path) as stored:
        columns = {name: stored[name] for name in stored.files}
    for name in [name for name in columns if name.startswith("channel.")]:
        np.savez(path, **{**columns, name: columns[name][:1].astype(np.float32)})
        assert TwinState().load(path) == {}
        np.savez(path, **{other: column for other, column in columns.items() if other != name})
        assert TwinState().load(path) == {}
    np.savez(path, **{name: column for name, column in columns.items() if not name.startswith("channel.")})
    assert TwinState().load(path) == {0: 7}
