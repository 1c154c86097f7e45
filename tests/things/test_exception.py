"""Report by exception: rounds over many points of different lengths agree with one after another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from things_plant import Plant, readings

from gridspine.things import exception
from gridspine.things.exception import report_by_exception
from gridspine.things.memory import Memory
from gridspine.things.runs import runs_of

POINTS = st.lists(st.integers(0, 9), max_size=60).map(sorted)


@given(POINTS)
def test_runs_are_where_a_point_starts_and_how_many_it_has(point: list[int]) -> None:
    runs = runs_of(np.array(point, np.int32))
    assert runs.point.tolist() == sorted(set(point))
    assert [point.index(p) for p in runs.point] == runs.first.tolist()
    assert [point.count(p) for p in runs.point] == runs.count.tolist()
    assert all(point[at] == p for at, p in zip(runs.last, runs.point, strict=True))


@given(seed=st.integers(0, 2**32), size=st.integers(1, 3000), narrow=st.sampled_from([1, 8, 64, 10**6]))
@settings(max_examples=60, deadline=None)
def test_every_way_through_a_batch_gives_the_same(seed: int, size: int, narrow: int) -> None:
    plant = Plant(8)
    rng = np.random.default_rng(seed)
    point = np.sort(rng.zipf(1.3, size) % plant.points.count)
    time_s = rng.integers(0, 60, size).astype(float)
    order = np.lexsort((time_s, point))
    rows = zip(point.tolist(), time_s[order].tolist(), rng.integers(0, 8, size).tolist(), strict=True)
    batch = readings([(p, t, v, int(rng.integers(0, 20) == 0)) for p, t, v in rows])
    outcomes = []
    for width in (narrow, 64):
        before, exception._NARROW = exception._NARROW, width
        try:
            memory = Memory()
            memory.grow(plant.points.count)
            verdict = report_by_exception(plant.points, memory, batch, runs_of(batch.point))
        finally:
            exception._NARROW = before
        columns = (memory.value, memory.observed_us, memory.quality, memory.pending, memory.until_us)
        outcomes.append([None if verdict is None else verdict.tolist(), *(c.array.tolist() for c in columns)])
    assert repr(outcomes[0]) == repr(outcomes[1])  # repr: NaN is alike


@pytest.mark.parametrize("name", ["aPlain", "iState", "hEnergy"])
def test_without_deadband_or_interval_all_pass_and_the_last_is_the_reference(name: str) -> None:
    plant, memory = Plant(), Memory()
    memory.grow(plant.points.count)
    point = plant.number(name)
    batch = readings([(point, 1, 1, 0), (point, 5, 2, 0)])
    assert report_by_exception(plant.points, memory, batch, runs_of(batch.point)) is None
    late = readings([(point, 3, 9, 0)])
    assert report_by_exception(plant.points, memory, late, runs_of(late.point)) is None
    assert memory.value.array[point] == 2
