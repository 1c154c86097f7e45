"""Fleets: the same seed gives the same values, points are those of the models, orders reach devices and end."""

import numpy as np
import pytest

from gridspine.energy.emulators import ev_charger, weather, weather_station
from gridspine.energy.emulators.fleet import MAX_STEP_S, Fleet
from gridspine.energy.emulators.mix import KINDS, Mix
from gridspine.energy.models import load_models
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, parse_rfc3339

NOON_US = parse_rfc3339("2025-06-21T11:00:00Z")
EVENING_US = parse_rfc3339("2025-01-15T18:00:00Z")
MIX = Mix(meter=40, pv=20, battery=10, ev_charger=12, heat_pump=15, wind_turbine=2, chp=2, weather_station=1)


def table(fleet: Fleet, values: np.ndarray, kind: str, name: str) -> np.ndarray:
    block = fleet.layout.block(kind)
    return values[block.first : block.first + block.size].reshape(block.count, -1)[:, block.points.index(name)]


def place(fleet: Fleet, kind: str, device: int, name: str) -> int:
    block = fleet.layout.block(kind)
    return block.first + device * len(block.points) + block.points.index(name)


def order(fleet: Fleet, at: list[int], value: float, for_s: float) -> np.ndarray:
    count = len(at)
    until_us = np.full(count, fleet.now_us + round(for_s * US))
    return fleet.order(np.array(at, np.int32), np.full(count, value), until_us)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_report_points_of_their_models_and_all_that_must_be(kind: str) -> None:
    module = KINDS[kind]
    models = {model.id: model for model in load_models().values()}
    model = models[module.MODEL]
    names = {point.name for point in model.points}
    optional = {pointer.rpartition("/")[2] for pointer in model.document.get("tm:optional", [])}
    assert set(module.POINTS) <= names
    assert names - optional <= set(module.POINTS)
    commandable = {point.name for point in model.points if point.lease is not None}
    assert set(module.SETTINGS) == commandable


def test_a_day_stays_within_what_the_models_call_possible_and_their_codes() -> None:
    models = {model.id: model for model in load_models().values()}
    for start_us in (NOON_US, EVENING_US):
        fleet = Fleet(Mix.of(2_000), 4, start_us)
        for _ in range(96):
            values = fleet.step(900.0)
            assert np.isfinite(values).all()
            for block in fleet.layout.blocks:
                for name in block.points:
                    point, seen = models[block.model].point(name), table(fleet, values, block.kind, name)
                    screen = point.screen
                    assert screen.possible_min is None or seen.min() >= screen.possible_min, name
                    assert screen.possible_max is None or seen.max() <= screen.possible_max, name
                    if point.reading_type.codes:
                        assert {str(int(code)) for code in np.unique(seen)} <= set(point.reading_type.codes), name


def test_operating_limits_are_seldom_passed() -> None:
    """What a model calls an alarm happens to one reading in a thousand of a healthy fleet at most."""
    models = {model.id: model for model in load_models().values()}
    fleet = Fleet(Mix.of(1_000), 4, EVENING_US)
    beyond: dict[tuple[str, str], float] = {}
    for _ in range(192):
        values = fleet.step(900.0)
        for block in fleet.layout.blocks:
            for name in block.points:
                screen, seen = models[block.model].point(name).screen, table(fleet, values, block.kind, name)
                low = -np.inf if screen.limit_min is None else screen.limit_min
                high = np.inf if screen.limit_max is None else screen.limit_max
                share = float(np.mean((seen < low) | (seen > high))) / 192.0
                beyond[block.kind, name] = beyond.get((block.kind, name), 0.0) + share
    assert {place: share for place, share in beyond.items() if share > 0.001} == {}


def test_the_same_seed_gives_the_same_values() -> None:
    runs = []
    for seed in (7, 7, 8):
        fleet = Fleet(MIX, seed, EVENING_US)
        runs.append(np.array([fleet.step(60.0) for _ in range(20)]))
    assert (runs[0] == runs[1]).all()
    assert (runs[0] != runs[2]).any()


def test_a_meter_sees_what_its_home_draws() -> None:
    """The sum of all meters is the sum of all devices and loads, but for the meters' own error."""
    fleet = Fleet(MIX, 3, NOON_US)
    for _ in range(10):
        values = fleet.step(60.0)
    at_homes = sum(
        table(fleet, values, kind, "activePower").sum() for kind in ("pv", "battery", "ev_charger", "heat_pump")
    )
    used = fleet._homes.power_w.sum() - at_homes
    assert 0.0 < used < 40 * 3_000.0
    assert table(fleet, values, "meter", "activePower").sum() == pytest.approx(
        fleet._homes.power_w.sum(), rel=0.05, abs=200
    )


def test_registers_never_fall() -> None:
    fleet = Fleet(MIX, 3, EVENING_US)
    before = fleet.step(600.0)
    registers = [at for at, name in enumerate(fleet.layout.names("")) if "activeEnergy" in name]
    for _ in range(50):
        after = fleet.step(600.0)
        assert (after[registers] >= before[registers]).all()
        before = after


def test_an_order_holds_until_its_time_and_not_longer() -> None:
    fleet = Fleet(MIX, 3, NOON_US)
    at = [place(fleet, "pv", device, "activePowerLimit") for device in range(3)]
    assert order(fleet, at, 300.0, 150.0).all()
    for _ in range(2):
        power = table(fleet, fleet.step(60.0), "pv", "activePower")
        assert (power[:3] >= -300.0).all() and (power[3:] < -300.0).any()
    free = table(fleet, fleet.step(60.0), "pv", "activePower")
    assert (free[:3] < -300.0).all()


def test_orders_reach_every_setting() -> None:
    fleet = Fleet(MIX, 3, EVENING_US)
    for kind, module in KINDS.items():
        for name in module.SETTINGS:
            value = {"sgReadyMode": 1.0, "currentLimit": 7.0}.get(name, -26e3 if kind == "chp" else 1_000.0)
            assert order(fleet, [place(fleet, kind, 1, name)], value, 3_600.0).all()
            values = fleet.step(1.0)
            assert table(fleet, values, kind, name)[1] == value


def test_an_order_is_ended_by_nan_and_what_is_no_setting_is_not_taken() -> None:
    fleet = Fleet(MIX, 3, NOON_US)
    at = place(fleet, "battery", 0, "activePowerSetpoint")
    assert order(fleet, [at], 2_000.0, 3_600.0).all()
    assert table(fleet, fleet.step(60.0), "battery", "activePowerSetpoint")[0] == 2_000.0
    assert order(fleet, [at], np.nan, 3_600.0).all()
    assert table(fleet, fleet.step(60.0), "battery", "activePowerSetpoint")[0] == 0.0
    strangers = [place(fleet, "battery", 0, "activePower"), -1, fleet.layout.size]
    assert not order(fleet, strangers, 1.0, 60.0).any()


def test_a_charger_pauses_below_six_amperes() -> None:
    fleet = Fleet(Mix(ev_charger=200), 3, EVENING_US)
    fleet.step(60.0)
    assert table(fleet, fleet.step(60.0), "ev_charger", "activePower").max() > 1_000.0
    order(fleet, [place(fleet, "ev_charger", device, "currentLimit") for device in range(200)], 5.9, 600.0)
    values = fleet.step(60.0)
    assert table(fleet, values, "ev_charger", "activePower").max() == 0.0
    assert (table(fleet, values, "ev_charger", "connectorState") == ev_charger.BY_CHARGER).any()


def test_houses_stay_in_their_band_through_a_cold_day() -> None:
    fleet = Fleet(Mix(heat_pump=200), 3, EVENING_US)
    for _ in range(96):
        fleet.step(900.0)
    pumps, state = fleet._heat_pump
    assert (state.house.air > pumps.low - 1.0).all() and (state.house.air < pumps.high + 3.0).all()


def test_a_blocked_heat_pump_stands_still() -> None:
    fleet = Fleet(Mix(heat_pump=50), 3, EVENING_US)
    order(fleet, [place(fleet, "heat_pump", device, "sgReadyMode") for device in range(50)], 1.0, 86_400.0)
    for _ in range(30):
        assert table(fleet, fleet.step(900.0), "heat_pump", "thermalPower").max() == 0.0


def test_names_and_places_agree() -> None:
    fleet = Fleet(MIX, 3, NOON_US)
    names = list(fleet.layout.names("urn:example:"))
    assert len(names) == fleet.layout.size == len(set(names))
    assert names[place(fleet, "battery", 4, "stateOfCharge")] == "urn:example:battery-000004/stateOfCharge"
    assert fleet.layout.devices == 102 == len(list(fleet.layout.things("")))


def test_a_mix_adds_up_and_one_model_alone_runs() -> None:
    mix = Mix.of(100_000)
    assert sum(getattr(mix, kind) for kind in KINDS) == 100_000
    for kind, module in KINDS.items():
        fleet = Fleet(Mix.of_model(module.MODEL, 3), 1, NOON_US)
        assert np.isfinite(fleet.step(60.0)).all()
        assert [block.kind for block in fleet.layout.blocks] == [kind]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(Invalid, match="has no emulator"):
        Mix.of_model("urn:x", 1)
    with pytest.raises(Invalid, match="pv"):
        Fleet(Mix(pv=-1), 1, NOON_US)
    fleet = Fleet(MIX, 1, NOON_US)
    with pytest.raises(Invalid, match="has no boiler"):
        fleet.layout.block("boiler")
    for step_s in (0.0, -1.0, float("nan"), MAX_STEP_S + 1.0):
        with pytest.raises(Invalid, match="a step"):
            fleet.step(step_s)


def test_recorded_weather_takes_the_place_of_made_up_weather() -> None:
    told: list[int] = []

    def night(now_us: int) -> weather.Weather:
        told.append(now_us)
        return weather.Weather(120.0, 10.0, 0.0, 0.0, 0.0, 1_330.0, -3.0, 0.0)

    fleet = Fleet(MIX, 3, NOON_US, sky=night)
    values = fleet.step(60.0)
    assert told == [NOON_US + 60 * US]
    assert (table(fleet, values, "pv", "activePower") > 0.0).all()
    assert (table(fleet, values, "heat_pump", "outdoorTemperature") == -3.0).all()


def test_the_weather_station_shows_the_sky() -> None:
    fleet = Fleet(Mix(weather_station=3, pv=2), 3, NOON_US)
    values = fleet.step(60.0)
    sun, damp = (table(fleet, values, "weather_station", name) for name in ("globalIrradiance", "relativeHumidity"))
    assert (sun > 50.0).all() and np.ptp(sun) < 0.05 * sun.mean()
    assert ((damp > 20.0) & (damp < 95.0)).all()
    assert weather_station.humidity(20.0, 20.0) == pytest.approx(100.0)
    assert weather_station.humidity(20.0, 9.3) == pytest.approx(50.0, abs=0.5)


def test_places_of_a_strangers_things_are_none() -> None:
    layout = Fleet(MIX, 3, NOON_US).layout
    assert layout.place("urn:a:", "urn:a:battery-000004", "stateOfCharge") is not None
    wrong = ("urn:b:battery-000004", "urn:a:battery-000099", "urn:a:battery-x", "urn:a:boiler-000001", "urn:a:battery-")
    assert [layout.place("urn:a:", thing, "stateOfCharge") for thing in wrong] == [None] * 5
    assert layout.place("urn:a:", "urn:a:battery-000004", "voltage") is None
