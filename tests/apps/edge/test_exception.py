"""Report by exception at the edge says the same as the node's, for every series of readings."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gridspine.apps.edge.buffer import Record
from gridspine.apps.edge.exception import Exceptions
from gridspine.apps.edge.wire import ServedPoint, ServedThing
from gridspine.kernel.time import US

NAME = "urn:x:m/power"


def exceptions(**rule):
    made = Exceptions()
    made.serve([ServedThing("urn:x:m", "m", "o", "m", "wire", {}, (ServedPoint("power", "W", **rule),))])
    return made


def record(at_s, value, quality=0):
    return Record(NAME, "W", round(at_s * US), value, quality)


def passed(made, *records):
    return [one.value for one in made.passed(records)]


def test_small_changes_are_not_told_and_drift_is():
    made = exceptions(deadband=10, max_silence_s=1e6)
    assert passed(made, *(record(at, 100 + 4 * at) for at in range(8))) == [100, 112, 124]
    assert made.suppressed == 5


def test_a_change_of_quality_always_passes():
    made = exceptions(deadband=10, max_silence_s=1e6)
    assert passed(made, record(0, 100), record(1, 100, 2), record(2, 100, 2), record(3, 100)) == [100, 100, 100]


def test_what_may_not_be_thinned_out_passes():
    made = exceptions()
    assert passed(made, record(0, 1), record(1, 1), record(1, 1)) == [1, 1, 1]


def test_silence_is_not_what_suppression_looks_like():
    made = exceptions(deadband=10, max_silence_s=60)
    assert passed(made, *(record(at, 100) for at in range(0, 121, 10))) == [100] * 5


def test_a_minimum_interval_holds_the_latest():
    made = exceptions(min_interval_s=10, max_silence_s=1e6)
    assert passed(made, record(0, 1), record(1, 2), record(2, 3)) == [1]
    assert [one.value for one in made.due(5 * US)] == []
    assert [one.value for one in made.due(10 * US)] == [3]
    assert made.due(11 * US) == []


def test_what_could_not_be_kept_is_no_reference():
    made = exceptions(deadband=10, max_silence_s=1e6)
    (first,) = made.passed([record(0, 100)])
    made.forget([first])
    assert passed(made, record(1, 100)) == [100]


values = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 0, 0, 2])), min_size=1, max_size=40)


@given(values, st.sampled_from([0.0, 3.0, 10.0]))
def test_it_is_the_rule_of_the_node(series, deadband):
    """Against the definition: pass when quality changes, or the value leaves the band around what was reported."""
    made = exceptions(deadband=deadband, max_silence_s=1e9)
    expected, last = [], None
    for at, (value, quality) in enumerate(series):
        if not deadband or last is None or quality != last[1] or abs(value - last[0]) > deadband:
            expected.append((at, float(value)))
            last = (value, quality)
    told = made.passed([record(at, float(value), quality) for at, (value, quality) in enumerate(series)])
    assert [(one.observed_us // US, one.value) for one in told] == expected
    assert np.isfinite([one.value for one in told]).all()
