"""Registers roll over and meters are exchanged: energy goes on, and is never negative."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.models import load_models
from gridspine.kernel.errors import Invalid
from gridspine.things.meter_exchange import MAX_EXCHANGES, Exchange, Exchanges, of_register, used, with_exchange


def times(n):
    return np.arange(1, n + 1, dtype=np.int64) * 100


def test_a_plain_register():
    assert used(times(3), np.array([10.0, 12, 15]), [], None) == (5.0, 0, 0, 0)
    assert used(times(1), np.array([10.0]), [], None) == (0.0, 0, 0, 0)


def test_an_exchange_counts_what_both_meters_did():
    value = np.array([81_000.0, 81_200, 20, 480])  # 81 240 was read off the old one, the new one began at 12
    assert used(times(4), value, [(250, 81_240.0, 12.0)], None) == (240 + 468, 0, 1, 0)


def test_a_roll_over_is_counted_and_a_small_fall_is_not_taken_for_one():
    assert used(times(3), np.array([9_990.0, 9_999, 4]), [], 10_000.0) == (14.0, 1, 0, 0)
    assert used(times(3), np.array([5_000.0, 4_990, 5_001]), [], 10_000.0) == (11.0, 0, 0, 1)
    assert used(times(3), np.array([5_000.0, 4_990, 5_001]), [], None) == (11.0, 0, 0, 1)


@given(
    steps=st.lists(st.floats(0, 40), min_size=2, max_size=60), start=st.floats(0, 999), rollover=st.booleans(),
    swaps=st.lists(st.tuples(st.integers(1, 58), st.floats(0, 900)), max_size=4, unique_by=lambda one: one[0]),
)  # fmt: skip
def test_however_often_it_rolls_over_or_is_exchanged_the_sum_is_what_went_through(steps, start, rollover, swaps):
    """The truth is known; the meter shows it with a limited range and with other meters in between."""
    full = 1_000.0 if rollover else None
    swaps = sorted((at, first) for at, first in swaps if at < len(steps))
    shown, exchanges, reading = [], [], start
    for at, step in enumerate(steps):
        for place, first in swaps:
            if place == at:
                exchanges.append((at * 100 + 50, reading, first))
                reading = first
        reading += step if at else 0.0
        reading = reading % full if full else reading
        shown.append(reading)
    found = used(times(len(steps)), np.array(shown), exchanges, full)
    assert found.amount == pytest.approx(sum(steps[1:]), abs=1e-6)
    assert (found.exchanges, found.unexplained) == (len(swaps), 0)


def exchange(**more):
    readings = {"activeEnergyImport": 81_240.0, "activeEnergyExport": 3.0}
    fields = {
        "at_us": 5, "old_serial": "A1", "new_serial": "B2", "final": readings, "first": dict.fromkeys(readings, 0.0),
        "by": "ann", "why": "calibration is over",
    }  # fmt: skip
    return Exchange(**(fields | more))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"final": {"activeEnergyImport": 1.0}}, "a reading of each register"), ({"old_serial": ""}, "oldSerial"),
        ({"first": {"activeEnergyImport": -1.0, "activeEnergyExport": 0.0}}, "not negative"),
        ({"final": {"activeEnergyImport": float("nan"), "activeEnergyExport": 0.0}}, "not negative"),
        ({"at_us": 11}, "future"), ({"why": ""}, "why"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change, word):
    model = load_models()["meter"]
    exchange().check(model, 10)
    with pytest.raises(Invalid, match=word):
        exchange(**change).check(model, 10)


def test_exchanges_are_kept_in_order_and_bounded():
    known = with_exchange(with_exchange(Exchanges(), exchange(at_us=7)), exchange(at_us=3))
    assert [one.at_us for one in known.list] == [3, 7]
    assert of_register(known.list, "activeEnergyImport") == [(3, 81_240.0, 0.0), (7, 81_240.0, 0.0)]
    with pytest.raises(Invalid, match="already"):
        with_exchange(known, exchange(at_us=7))
    many = Exchanges(tuple(exchange(at_us=at) for at in range(MAX_EXCHANGES)))
    with pytest.raises(Invalid, match="keeps"):
        with_exchange(many, exchange(at_us=1_000))
