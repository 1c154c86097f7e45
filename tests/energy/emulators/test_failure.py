"""Failures put over values: each does what its kind says, and nothing before or after."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import homes, screens
from gridspine.energy.emulators.failure import Failing, Kind, Plan, some_failures
from gridspine.kernel.time import US

STEP_US = 60 * US


def run(kind: Kind, size: float, steps: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Point 1 of two fails from the fourth to the seventh step; both count up."""
    one = np.ones(1, np.int64)
    failing = Failing(Plan(kind, np.array([1], np.int32), 3 * STEP_US * one, 7 * STEP_US * one, np.array([size])))
    rows = [failing.apply(np.array([10.0 + step, 20.0 + step]), step * STEP_US) for step in range(steps)]
    told, present = (np.array(column) for column in zip(*rows, strict=True))
    truth = np.arange(10) + 20.0
    outside = [0, 1, 2, 7, 8, 9]
    assert (told[:, 0] == truth - 10.0).all() and present[:, 0].all()
    assert (told[outside, 1] == truth[outside]).all() and present[outside].all()
    return told[3:7, 1], present[3:7, 1]


def test_each_kind() -> None:
    assert not run(Kind.DROP_OUT, 0.0)[1].any()
    assert run(Kind.STUCK, 0.0)[0].tolist() == [23.0] * 4
    assert run(Kind.DRIFT, 60.0)[0] == pytest.approx([23.0, 25.0, 27.0, 29.0])
    assert run(Kind.SPOOF, -1.0)[0].tolist() == [-23.0, -24.0, -25.0, -26.0]
    assert sorted((run(Kind.FLAP, 5.0)[0] - [23.0, 24.0, 25.0, 26.0]).tolist()) == [0.0, 0.0, 5.0, 5.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0.1, 5_000.0), st.floats(0.0, 5_000.0))
def test_failures_of_a_point_do_not_overlap(seed: int, each: int, shortest_s: float, more_s: float) -> None:
    places = np.array([3, 9, 4], np.int32)
    within = (10 * US, 50_000 * US)
    lasting_s = (shortest_s, shortest_s + more_s)
    plan = Plan.draw(Kind.STUCK, np.random.default_rng(seed), places, within, lasting_s, 1.0, each)
    for place in places:
        mine = plan.place == place
        begin, end = plan.begin_us[mine], plan.end_us[mine]
        assert len(begin) == each and (begin <= end).all() and (end[:-1] <= begin[1:]).all()
        assert begin.min() >= within[0] and end.max() <= within[1]


def recording() -> screens.Recording:
    """Two made-up meters, two days by the minute."""
    power = 500.0 + 400.0 * np.sin(np.arange(2 * 1440) / 200.0)
    register = 4e6 + np.cumsum(power) / 60.0
    return screens.Recording(np.column_stack([power, register]), 60.0, ("activePower", "activeEnergyImport"), "meter")


@pytest.mark.parametrize(
    ("kind", "size", "recall"),
    [(Kind.DROP_OUT, 0.0, 1.0), (Kind.SPOOF, 1000.0, 1.0), (Kind.SPOOF, -1.0, 0.5), (Kind.STUCK, 0.0, 0.0)],
)
def test_the_trial_counts_what_the_screen_notices(kind: Kind, size: float, recall: float) -> None:
    """A register of the wrong sign is impossible; a power of the wrong sign is not, and a value may stand still."""
    plan = screens._plan(recording(), kind, size, (3_600.0, 7_200.0), 3, 1)
    found = screens.trial(recording(), plan)
    assert found["failures"] == 6 and found["recall"] == recall
    assert found["precision"] in {None, 1.0}


def test_a_quiet_recording_raises_no_alarm_and_a_loud_one_does() -> None:
    quiet = recording()
    assert screens.trial(quiet, None) == {"false_alarms_per_point_year": 0.0}
    loud = screens.Recording(quiet.values * [40.0, 1.0], 60.0, quiet.names, "meter")
    assert screens.trial(loud, None)["false_alarms_per_point_year"] > 100.0


@pytest.mark.slow
def test_the_screen_on_recorded_homes_scores_as_published() -> None:
    if not homes.HOMES.is_dir():
        pytest.skip(f"the homes' data is not at {homes.HOMES}")
    import json

    from cases.score import DATA, _rounded

    assert [_rounded(row) for row in screens.report()] == json.loads(DATA.read_text())["screen"]


def test_some_failures_hit_their_share_in_their_time() -> None:
    within = (10 * US, 7_210 * US)
    failures = some_failures(10_000, 0.05, within, 3)
    places = np.concatenate([failing.plan.place for failing in failures])
    assert [failing.plan.kind for failing in failures] == list(Kind)
    assert 400 < len(places) < 600 and len(np.unique(places)) == len(places)
    for failing in failures:
        assert failing.plan.begin_us.min() >= within[0] and failing.plan.end_us.max() <= within[1]
    assert some_failures(10, 0.5, (5, 5), 3) == []
