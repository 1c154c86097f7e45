"""PV plants: the sun at known times, signs, limits, and the curves of IEEE 1547."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pvlib import clearsky, irradiance

from gridspine.energy.emulators import grid_support, pv, weather
from gridspine.kernel.time import US, parse_rfc3339

CLEAR = weather.Weather(zenith=35.0, azimuth=180.0, ghi=800.0, dni=850.0, dhi=105.0, extra=1_330.0, air=20.0, wind=2.0)
NIGHT = weather.Weather(110.0, 350.0, 0.0, 0.0, 0.0, 1_330.0, 5.0, 2.0)


def plants(count: int = 4) -> pv.Ratings:
    return pv.Ratings.draw(count, np.random.default_rng(5))


def test_the_sun_stands_where_nrel_says() -> None:
    """Reda and Andreas, NREL/TP-560-34302, the worked example: 17 October 2003, 12:30:30 at UTC-7, Golden, Colorado."""
    place = weather.Place(39.742476, -105.1786, 1_830.14)
    zenith, azimuth = weather.sun(place, parse_rfc3339("2003-10-17T12:30:30-07:00") / US)
    assert zenith == pytest.approx(50.11162, abs=0.01)  # the example has another pressure
    assert azimuth == pytest.approx(194.34024, abs=0.001)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 89.0))
def test_a_clear_sky_is_pvlibs(zenith: float) -> None:
    import pandas as pd

    assert weather.clear_sky(zenith) == pytest.approx(clearsky.haurwitz(pd.Series([zenith])).iloc[0, 0], abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.0, 85.0), st.floats(1.0, 1_100.0))
def test_the_split_of_the_sky_is_pvlibs(zenith: float, ghi: float) -> None:
    theirs = irradiance.erbs(np.array([ghi]), np.array([zenith]), np.array([180]), max_zenith=95.0)
    extra = irradiance.get_extra_radiation(180)
    ours = weather.split(ghi, zenith, float(extra))
    assert ours[1] == pytest.approx(theirs["dni"][0], rel=1e-3, abs=0.5)
    assert ours[2] == pytest.approx(theirs["dhi"][0], rel=1e-3, abs=0.5)
    assert ours[1] * np.cos(np.radians(zenith)) + ours[2] == pytest.approx(ghi)


def test_generating_is_negative_and_the_night_costs_a_few_watts() -> None:
    ratings, volts = plants(), np.full(4, 230.0)
    state = pv.State.new(4)
    state, day = pv.step(ratings, state, 3_600.0, CLEAR, volts, 50.0)
    assert (day["activePower"] < -500.0).all() and (day["operatingState"] == pv.RUNNING).all()
    assert state.registers.export_wh == pytest.approx(-day["activePower"])
    state, night = pv.step(ratings, state, 3_600.0, NIGHT, volts, 50.0)
    assert (night["activePower"] == pv.NIGHT_W).all() and (night["operatingState"] == pv.SLEEPING).all()
    assert (state.registers.import_wh == pv.NIGHT_W).all()


def test_a_limit_holds_and_is_read_back() -> None:
    ratings, limit = plants(), np.array([500.0, np.nan, 0.0, 9_000.0])
    _, told = pv.step(ratings, pv.State.new(4), 60.0, CLEAR, np.full(4, 230.0), 50.0, limit)
    _, free = pv.step(ratings, pv.State.new(4), 60.0, CLEAR, np.full(4, 230.0), 50.0)
    assert told["activePower"][0] == -500.0 and told["operatingState"][0] == pv.THROTTLED
    assert told["activePower"][2] == 0.0
    assert told["activePower"][[1, 3]] == pytest.approx(free["activePower"][[1, 3]])
    assert told["activePowerLimit"].tolist() == [500.0, ratings.ac_w[1], 0.0, 9_000.0]


@pytest.mark.parametrize(
    ("voltage", "var", "watt"),
    [(0.9, 0.44, 1.0), (0.95, 0.22, 1.0), (1.0, 0.0, 1.0), (1.05, -0.22, 1.0), (1.08, -0.44, 0.6), (1.12, -0.44, 0.2)],
)
def test_the_default_curves_of_category_b(voltage: float, var: float, watt: float) -> None:
    at = np.array([voltage])
    assert grid_support.VOLT_VAR.at(at) == pytest.approx(var)
    assert grid_support.VOLT_WATT.at(at) == pytest.approx(watt)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 8e3), st.floats(0.7, 1.3))
def test_power_stays_within_the_rating(available_w: float, voltage: float) -> None:
    rated = np.array([5e3])
    active, reactive = grid_support.respond(np.array([available_w]), rated, np.array([voltage]))
    assert 0.0 <= active[0] <= available_w
    assert np.hypot(active[0], reactive[0]) <= 5e3 + 1e-6
    free, none = grid_support.respond(np.array([available_w]), rated, np.array([voltage]), None, None)
    assert free[0] == min(available_w, 5e3) and none[0] == 0.0


def test_a_high_voltage_throttles_and_absorbs() -> None:
    ratings = plants()
    _, told = pv.step(ratings, pv.State.new(4), 60.0, CLEAR, np.full(4, 1.095 * 230.0), 50.0)
    assert (told["operatingState"] == pv.THROTTLED).all()
    assert (told["reactivePower"] > 0.0).all()  # import positive: absorbing
