"""Columns, marks, slices and the settling of revisions, against slow and simple oracles."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.archive.rows import DAY_US, Bindings, Marks
from gridspine.infra.archive.settle import slices, superseded_us
from gridspine.kernel.codecs.binding import PointBinding

ARRIVALS = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=30), min_size=1, max_size=5
)


@given(ARRIVALS, st.dictionaries(st.integers(0, 1), st.integers(0, 20)))
def test_marks_never_miss_a_reading_that_can_supersede(commits, floors):
    marks = Marks({day: day * DAY_US + hour for day, hour in floors.items()})
    latest = {}
    seen = set()
    for commit in commits:
        keys = np.array([key for key, _ in commit], np.int64)
        observed = np.array([at for _, at in commit], np.int64)
        late = marks.late(keys, observed)
        for key, at, flag in zip(keys.tolist(), observed.tolist(), late.tolist(), strict=True):
            wanted = at <= latest.get(key, -1) or at <= floors.get(0, -1)
            assert flag == wanted
            assert flag or (key, at) not in seen
            latest[key] = max(latest.get(key, -1), at)
            seen.add((key, at))


def test_marks_grow_and_know_days_apart():
    marks = Marks({1: DAY_US + 50})
    assert marks.late(np.array([100_000]), np.array([DAY_US - 1])).tolist() == [False]
    assert marks.late(np.array([7]), np.array([DAY_US + 50])).tolist() == [True]
    assert marks.late(np.array([8]), np.array([DAY_US + 51])).tolist() == [False]
    assert marks.late(np.array([9]), np.array([2 * DAY_US])).tolist() == [False]
    assert marks.late(np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=60))
def test_superseded_is_the_first_later_revision_received(rows):
    rows = sorted(rows, key=lambda row: row[0])
    keys = np.array([key for key, _ in rows], np.int64)
    received = np.array([at for _, at in rows], np.int64)
    found, known = superseded_us([keys], received)
    for index, (key, _) in enumerate(rows):
        later = [at for other, at in rows[index + 1 :] if other == key]
        assert known[index] == bool(later)
        assert not later or found[index] == min(later)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 50), min_size=1),
    st.integers(1, 60),
)
def test_slices_hold_every_point_once_and_stay_small(counts, slice_rows):
    whole, parts = {}, {}
    for cut in slices(counts, 20_000, slice_rows):
        held = [point for point in counts if cut.first <= point <= cut.last]
        if cut.end_us:
            assert cut.first == cut.last
            parts.setdefault(cut.first, []).append((cut.start_us, cut.end_us))
            continue
        assert sum(counts[point] for point in held) <= slice_rows
        for point in held:
            assert whole.setdefault(point, cut) is cut
    assert set(whole) | set(parts) == set(counts)
    assert not set(whole) & set(parts)
    for point, ranges in parts.items():
        assert ranges[0][0] == 20_000 * DAY_US
        assert ranges[-1][1] == 20_001 * DAY_US
        assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
        assert counts[point] <= slice_rows * len(ranges)


def binding(first, names, units):
    return PointBinding(first, "urn:x:1", "urn:org:a", "m", names, units, 0)


def test_a_name_bound_twice_is_one_name():
    bindings = Bindings()
    bindings.add(binding(0, ("power",), ("W",)))
    bindings.add(binding(5000, ("power", "energy"), ("kW", "Wh")))
    numbers = np.array([5000, 0, 5001, 70_000], np.int32)
    names = [bindings.names[index] for index in bindings.name_indices(numbers).tolist()]
    assert names == ["urn:x:1/power", "urn:x:1/power", "urn:x:1/energy", "unbound/70000"]
    index, units = bindings.units(numbers)
    assert [units[at] for at in index.tolist()] == ["kW", "W", "Wh", ""]
