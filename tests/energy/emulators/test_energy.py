"""Energy is conserved in every kind, whatever the step: what went in is kept, given out or lost, and losses cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.energy.emulators import battery, chp, ev_charger, heat_pump, house, load, meter, wind_turbine
from gridspine.energy.emulators.column import Registers

STEPS_S = st.floats(1.0, 3_600.0)
SEEDS = st.integers(0, 2**32 - 1)
COUNT = 5


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.tuples(STEPS_S, st.floats(-20e3, 20e3), st.booleans()), min_size=1, max_size=30))
def test_battery(seed: int, orders: list[tuple[float, float, bool]]) -> None:
    random = np.random.default_rng(seed)
    ratings = battery.Ratings.draw(COUNT, random)
    state = battery.State.draw(ratings, random)
    begun_wh = state.stored_wh
    for step_s, power_w, ordered in orders:
        before = state
        wanted = np.full(COUNT, power_w)
        setpoint = wanted if ordered else np.full(COUNT, np.nan)
        state, told = battery.step(ratings, state, step_s, wanted * 0.5, setpoint)
        at_cells_w = told["activePower"] - ratings.standby_w
        assert (at_cells_w <= ratings.charge_w + 1e-6).all() and (at_cells_w >= -ratings.discharge_w - 1e-6).all()
        assert (state.stored_wh <= ratings.highest * ratings.energy_wh + 1e-6).all()
        floor = np.minimum(
            ratings.lowest * ratings.energy_wh, before.stored_wh * np.exp(-ratings.loss_per_h * step_s / 3600)
        )
        assert (state.stored_wh >= floor - 1e-6).all()
        if not ordered:
            assert (told["activePowerSetpoint"] == 0.0).all()
    net_wh = state.registers.import_wh - state.registers.export_wh
    lost_wh = net_wh - (state.stored_wh - begun_wh)
    hours = sum(step_s for step_s, *_ in orders) / 3600.0
    assert (lost_wh >= ratings.standby_w * hours - 1e-6).all()


def test_a_battery_that_sagged_by_itself_keeps_itself() -> None:
    ratings = battery.Ratings.draw(COUNT, np.random.default_rng(1))
    state = battery.State(ratings.lowest * ratings.energy_wh, Registers.zero(COUNT))
    for _ in range(24 * 60):
        state, told = battery.step(ratings, state, 3_600.0, -500.0)
    assert (told["stateOfCharge"] > 100.0 * (ratings.lowest - 0.011)).all()
    assert (told["stateOfCharge"] < 100.0 * (ratings.lowest + 0.02)).all()


def test_a_round_trip_of_a_battery_costs_both_efficiencies() -> None:
    one = np.ones(1)
    ratings = battery.Ratings(10e3 * one, 5e3 * one, 5e3 * one, 0.9 * one, 0 * one, one, 0 * one, 0 * one)
    state = battery.State(0 * one, Registers.zero(1))
    for power_w in (2_000.0, -2_000.0):
        for _ in range(240):
            state, _ = battery.step(ratings, state, 60.0, power_w)
    assert state.registers.import_wh[0] == pytest.approx(8_000.0)
    assert state.registers.export_wh[0] == pytest.approx(8_000.0 * 0.81)
    assert state.stored_wh[0] == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.tuples(STEPS_S, st.floats(-30.0, 40.0), st.floats(0.0, 12e3)), min_size=1, max_size=10))
def test_house(seed: int, inputs: list[tuple[float, float, float]]) -> None:
    """The exact step agrees with a hundred small ones of the differential equation, walls counted one by one."""
    random = np.random.default_rng(seed)
    ratings = house.Ratings.draw(COUNT, random)
    state = house.State(random.uniform(15.0, 25.0, COUNT), random.uniform(15.0, 25.0, COUNT))
    for step_s, outside, heat_w in inputs:
        after, flow = house.step(ratings, state, step_s, outside, np.full(COUNT, heat_w))
        air, mass, outwards_j = _small_steps(ratings, state, step_s, outside, heat_w)
        assert after.air == pytest.approx(air, abs=0.02) and after.mass == pytest.approx(mass, abs=0.02)
        assert flow.outwards_j == pytest.approx(outwards_j, rel=0.02, abs=0.02 * float(ratings.air.max()))
        state = after


def _small_steps(ratings, state, step_s, outside, heat_w, count=200):
    """Solve by Heun's method."""

    def slope(air, mass):
        return (
            (ratings.to_outside * (outside - air) + ratings.to_mass * (mass - air) + heat_w) / ratings.air,
            (ratings.to_mass * (air - mass) + ratings.mass_to_outside * (outside - mass)) / ratings.mass,
        )

    air, mass, outwards_j, short_s = state.air, state.mass, 0.0, step_s / count
    for _ in range(count):
        first = slope(air, mass)
        second = slope(air + short_s * first[0], mass + short_s * first[1])
        middle = air + 0.25 * short_s * (first[0] + second[0]), mass + 0.25 * short_s * (first[1] + second[1])
        through = ratings.to_outside * (middle[0] - outside) + ratings.mass_to_outside * (middle[1] - outside)
        outwards_j = outwards_j + short_s * through
        air, mass = air + 0.5 * short_s * (first[0] + second[0]), mass + 0.5 * short_s * (first[1] + second[1])
    return air, mass, outwards_j


def test_a_house_ends_where_loss_meets_heat() -> None:
    ratings = house.Ratings.draw(COUNT, np.random.default_rng(3))
    state = house.State(np.full(COUNT, 5.0), np.full(COUNT, 5.0))
    for _ in range(2_000):
        state, _ = house.step(ratings, state, 3_600.0, 5.0, ratings.loss * 15.0)
    assert state.air == pytest.approx(20.0)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.tuples(STEPS_S, st.floats(-20.0, 20.0), st.floats(0.0, 9e3)), min_size=1, max_size=20))
def test_heat_pump(seed: int, inputs: list[tuple[float, float, float]]) -> None:
    """Heat is power times the performance, within the rating, and goes into the house."""
    random = np.random.default_rng(seed)
    ratings = heat_pump.Ratings.draw(COUNT, random)
    state = heat_pump.State.draw(ratings, random)
    for step_s, outside, limit_w in inputs:
        before = state
        limit = np.full(COUNT, limit_w)
        state, told = heat_pump.step(ratings, state, step_s, outside, 300.0, limit)
        heat_w, power_w = told["thermalPower"], told["activePower"] - heat_pump.STANDBY_W
        assert (told["activePower"] <= np.maximum(limit, heat_pump.STANDBY_W) + 1e-6).all()
        assert (heat_w <= ratings.heat_w + 1e-6).all()
        on = power_w > 0.0
        formula = heat_pump.performance(heat_pump.supply_temperature(outside), outside)
        assert heat_w[on] / power_w[on] == pytest.approx((ratings.quality * formula)[on])
        assert (heat_w[~on] == 0.0).all()
        again, _ = house.step(ratings.house, before.house, step_s, outside, heat_w + 300.0)
        assert (again.air == state.house.air).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.tuples(STEPS_S, st.floats(0.0, 40.0)), min_size=1, max_size=40))
def test_ev_charger(seed: int, limits: list[tuple[float, float]]) -> None:
    random = np.random.default_rng(seed)
    ratings, now_s = ev_charger.Ratings.draw(COUNT, random), 1.75e9
    state = ev_charger.State.draw(COUNT, now_s, random)
    for step_s, limit_a in limits:
        before = state
        state, told = ev_charger.step(ratings, state, now_s, step_s, random, np.full(COUNT, limit_a))
        same = state.departure_s == before.departure_s
        taken_wh = state.registers.import_wh - before.registers.import_wh
        stored_wh = (state.held_wh - before.held_wh)[same]
        assert stored_wh == pytest.approx(ev_charger.EFFICIENCY * taken_wh[same], abs=1e-6)
        assert (state.held_wh <= state.capacity_wh + 1e-6).all()
        assert (told["activePower"] >= 0.0).all() and (state.registers.export_wh == 0.0).all()
        assert (told["current"] <= np.minimum(ratings.most_a, limit_a) + 1e-6).all()
        if limit_a < ev_charger.PAUSE_BELOW_A:
            assert (told["activePower"] == 0.0).all()
        now_s += step_s


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.tuples(STEPS_S, st.floats(0.0, 1.2), st.floats(-60e3, 0.0), st.booleans()), min_size=1))
def test_chp(seed: int, inputs: list[tuple[float, float, float, bool]]) -> None:
    random = np.random.default_rng(seed)
    ratings = chp.Ratings.draw(COUNT, random)
    state = chp.State.draw(ratings, random)
    for step_s, demand, setpoint_w, ordered in inputs:
        before, hours = state, step_s / 3600.0
        demand_w = demand * ratings.power_w
        state, told = chp.step(ratings, state, step_s, demand_w, np.full(COUNT, setpoint_w if ordered else np.nan))
        fuel_wh, heat_wh = state.fuel_wh - before.fuel_wh, state.heat_wh - before.heat_wh
        power_wh = state.registers.export_wh - before.registers.export_wh
        lost_wh = fuel_wh - heat_wh - power_wh
        assert (lost_wh >= -1e-6).all() and (lost_wh <= 0.2 * fuel_wh + 1e-6).all()
        drawn_wh = before.buffer_wh + heat_wh - state.buffer_wh
        assert (drawn_wh <= demand_w * hours + 1e-6).all() and (drawn_wh >= -1e-6).all()
        assert (state.buffer_wh >= 0.0).all() and (state.buffer_wh <= ratings.buffer_wh + 1e-6).all()
        share = state.share[state.share > 0.0]
        assert ((share >= chp.LEAST_SHARE) & (share <= 1.0)).all()
        assert (np.sign(told["activePower"]) == np.where(state.share > 0.0, -1.0, 1.0)).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS, STEPS_S, st.floats(0.0, 60.0), st.floats(0.9, 1.4))
def test_wind_turbine(seed: int, step_s: float, wind: float, density: float) -> None:
    ratings = wind_turbine.Ratings.draw(COUNT, np.random.default_rng(seed))
    state, told = wind_turbine.step(ratings, wind_turbine.State.new(COUNT), step_s, np.full(COUNT, wind), density)
    assert (-told["activePower"] <= ratings.rated_w).all()
    net_wh = state.registers.import_wh - state.registers.export_wh
    assert net_wh == pytest.approx(told["activePower"] * step_s / 3600.0)
    # never more than Betz allows for a rotor of 110 m
    swept_w = 0.5 * density * np.pi * 55.0**2 * wind**3
    assert (-told["activePower"] <= 16.0 / 27.0 * swept_w + 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.tuples(STEPS_S, st.floats(-20e3, 20e3)), min_size=1, max_size=20))
def test_meter(seed: int, flows: list[tuple[float, float]]) -> None:
    ratings, state = meter.Ratings.draw(COUNT, np.random.default_rng(seed)), meter.State.new(COUNT)
    for step_s, power_w in flows:
        before = state.registers
        state, told = meter.step(ratings, state, step_s, np.full(COUNT, power_w), np.full(COUNT, 230.0), 50.0)
        moved = state.registers.import_wh - before.import_wh - (state.registers.export_wh - before.export_wh)
        assert moved == pytest.approx(told["activePower"] * step_s / 3600.0, abs=1e-6)
        assert (state.registers.import_wh >= before.import_wh).all()
        assert (state.registers.export_wh >= before.export_wh).all()
        assert told["activePower"] == pytest.approx(power_w, rel=meter.CLASS_B / 2 + 1e-9)


def test_the_performance_falls_with_the_lift() -> None:
    cop = heat_pump.performance(35.0, np.arange(-30.0, 30.0))
    assert (np.diff(cop) >= 0.0).all() and cop.min() > 1.7 and cop.max() < 5.2


def test_households_use_their_energy_of_a_year_in_the_mean() -> None:
    random = np.random.default_rng(1)
    ratings = load.Ratings(np.full(20_000, 400.0), np.zeros(20_000))
    state = load.State.draw(20_000, random)
    total = 0.0
    for step in range(48):
        state, power_w = load.step(ratings, state, 1_800.0, step / 2.0, random)
        assert (power_w > 0.0).all()
        total += power_w.mean() / 48.0
    assert total == pytest.approx(400.0, rel=0.02)


def test_the_process_of_a_household_does_not_depend_on_the_step() -> None:
    random = np.random.default_rng(2)
    ratings = load.Ratings(np.full(50_000, 400.0), np.zeros(50_000))
    for step_s in (60.0, 900.0):
        first = state = load.State.draw(50_000, random)
        for _ in range(int(5_400 / step_s)):
            state, _ = load.step(ratings, state, step_s, 12.0, random)
        assert np.std(state.deviation) == pytest.approx(load.SIGMA, rel=0.02)
        again = np.corrcoef(first.deviation, state.deviation)[0, 1]
        assert again == pytest.approx(np.exp(-5_400.0 / load.TAU_S), abs=0.02)
