"""A fleet that is kept and goes on is the fleet it was, to the bit; what is no such state changes nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.emulators.fleet import Fleet
from gridspine.energy.emulators.kept import pack
from gridspine.energy.emulators.mix import Mix
from gridspine.kernel.errors import Corrupt

MIX = Mix(meter=3, pv=2, battery=3, ev_charger=2, heat_pump=2, wind_turbine=1, chp=1, weather_station=1)
START_US = 1_767_225_600_000_000


def fleet(mix=MIX, seed=5):
    return Fleet(mix, seed, START_US)


def ordered(made, value=1500.0):
    place = np.array([made.layout.block("battery").first + 5], np.int32)
    assert made.order(place, np.array([value]), np.array([START_US + 600 * 10**6 * 60])).all()


def test_it_goes_on_as_if_nothing_had_been() -> None:
    first = fleet()
    for _ in range(20):
        first.step(300.0)
    ordered(first)
    first.step(60.0)
    kept = first.keep()
    second = fleet()
    second.go_on(kept)
    assert second.now_us == first.now_us
    for _ in range(20):
        assert np.array_equal(first.step(60.0), second.step(60.0), equal_nan=True)
    assert kept == kept and first.keep() == second.keep()


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"nonsense",
        b"PK\5\6" + bytes(18),
        fleet(Mix(battery=2)).keep(),
        pack({}, np.random.default_rng(1), seed=5),
        fleet(seed=6).keep(),
    ],
)
def test_what_is_no_state_of_it_is_refused_and_changes_nothing(kept) -> None:
    made, other = fleet(), fleet()
    with pytest.raises(Corrupt):
        made.go_on(kept)
    assert np.array_equal(made.step(60.0), other.step(60.0), equal_nan=True)


@given(st.data())
def test_a_state_with_faults_is_refused_or_has_the_right_shapes(data) -> None:
    made = fleet(Mix(battery=2))
    kept = bytearray(made.keep())
    for _ in range(3):
        kept[data.draw(st.integers(0, len(kept) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        made.go_on(bytes(kept))
    except Corrupt:
        return
    assert len(made.step(60.0)) == made.layout.size
