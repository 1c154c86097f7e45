"""The emulators against three recorded homes, each scored on what was not looked at when it was fitted.

The homes (CityLearn challenge 2022, MIT) lie beside the repository: hourly consumption and PV generation over a year.
Two things their files do not say, found by looking: `diffuse_solar_irradiance` is global irradiance, and the weather is
not that of the homes' days (day by day, without the season, it does not correlate with the generation at all). So PV is
scored on clear days only, with a computed clear sky.
"""

import csv
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from pvlib import atmosphere, clearsky

from cases.compare import normalised, plant
from gridspine.energy.emulators import load, pv, weather

HOMES = Path(__file__).parents[2] / "shared" / "data" / "homes"
FITTED, HELD_OUT = (1, 2), 4
PLACE = weather.Place(34.1, -117.4, 300.0)
"""Where the homes are said to be, near enough for the sun."""
HOURS = 8760
_START = datetime(2016, 7, 31, 23, tzinfo=timezone(timedelta(hours=-8)))


def read(number: int) -> tuple[Any, Any]:
    """Return consumption [kWh] and PV generation [W for each kW of panels] of each hour, float64 (8760,)."""
    with (HOMES / f"Building_{number}.csv").open(newline="") as lines:
        rows = [(float(row["non_shiftable_load"]), float(row["solar_generation"])) for row in csv.DictReader(lines)]
    table = np.array(rows)
    return table[:, 0], table[:, 1]


def seasonless(day_sums: Any) -> Any:
    """Return daily sums less their mean over a month around."""
    smooth = np.convolve(np.pad(day_sums, 15, mode="wrap"), np.ones(31) / 31.0, "valid")
    return day_sums - smooth


def weather_correlation(number: int) -> float:
    """Return how daily generation goes with the recorded weather's global irradiance, without the season."""
    with (HOMES / "weather.csv").open(newline="") as lines:
        ghi = np.array([float(row["diffuse_solar_irradiance"]) for row in csv.DictReader(lines)])
    days = [array.reshape(365, 24).sum(1) for array in (read(number)[1], ghi)]
    return float(np.corrcoef(seasonless(days[0]), seasonless(days[1]))[0, 1])


def clear_days(generated: Any) -> Any:
    """Return the days, (n,), that gave at least 95 % of the best within ten days around."""
    sums = generated.reshape(365, 24).sum(1)
    best = np.array([np.take(sums, range(day - 10, day + 11), mode="wrap").max() for day in range(365)])
    return np.flatnonzero(sums >= 0.95 * best)


def pv_on_clear_days(number: int) -> dict[str, float]:
    """Fit tilt, azimuth and loss to every second clear day; score on the others."""
    _, generated = read(number)
    days = clear_days(generated)
    sky = _clear_sky()
    fitted, held = (_hours(days[part]) for part in (slice(0, None, 2), slice(1, None, 2)))
    best = (np.inf, 0.0, 0.0, 0.0)
    for tilt in range(0, 46, 5):
        for azimuth in range(90, 271, 15):
            ours = _hourly(tilt, azimuth, sky, fitted)
            scale = float(ours @ generated[fitted] / (ours @ ours))
            missed = float(np.mean(np.abs(scale * ours - generated[fitted])))
            best = min(best, (missed, tilt, azimuth, scale))
    _, tilt, azimuth, scale = best
    found = normalised(scale * _hourly(tilt, azimuth, sky, held), generated[held])
    return found | {"tilt": tilt, "azimuth": azimuth, "scale": scale, "days_fitted": len(fitted) / 24.0} | {
        "days_scored": len(held) / 24.0
    }  # fmt: skip


def _clear_sky() -> dict[str, Any]:
    """Return a clear sky by Ineichen and Perez (turbidity 3) for four moments an hour, (4, 8760) each."""
    first_s = _START.timestamp()
    times = first_s + 3600.0 * np.arange(HOURS) + np.array([450.0, 1350.0, 2250.0, 3150.0])[:, None]
    zenith, azimuth = weather.sun_path(PLACE, times.ravel())
    pressure = atmosphere.alt2pres(PLACE.altitude_m)
    mass = atmosphere.get_absolute_airmass(atmosphere.get_relative_airmass(np.minimum(zenith, 89.0)), pressure)
    with np.errstate(divide="ignore", invalid="ignore"):  # at night
        sky = clearsky.ineichen(zenith, mass, 3.0, PLACE.altitude_m)
    extra = np.array([weather.extraterrestrial(at) for at in times.ravel().tolist()])
    columns = {"zenith": zenith, "azimuth": azimuth, "extra": extra} | {
        name: sky[name] for name in ("ghi", "dni", "dhi")
    }
    return {name: np.nan_to_num(np.asarray(column)).reshape(4, HOURS) for name, column in columns.items()}


def _hours(days: Any) -> Any:
    return (24 * days[:, None] + np.arange(24)).ravel()


def _hourly(tilt: float, azimuth: float, sky: dict[str, Any], hours: Any) -> Any:
    """Return the mean power of each hour [W] of 1 kW of panels with an inverter that never clips."""
    at = {name: column[:, hours].ravel() for name, column in sky.items()}
    kind: Any = weather.Weather(at["zenith"], at["azimuth"], at["ghi"], at["dni"], at["dhi"], at["extra"], 20.0, 2.0)
    ratings = plant(tilt, azimuth, 1_000.0, 1_000.0, 0.0, -0.0037, len(at["ghi"]))
    power_w = np.where(at["zenith"] < 90.0, pv.generated(ratings, kind), 0.0)
    return power_w.reshape(4, len(hours)).mean(0)


def load_of(number: int, homes: int = 200, seed: int = 1) -> dict[str, float]:
    """Compare many emulated households that use what home ``number`` does with that home: shape, spread, memory."""
    used_kwh, _ = read(number)
    random = np.random.default_rng(seed)
    ratings = load.Ratings(np.full(homes, 1000.0 * used_kwh.mean()), np.zeros(homes))
    state = load.State.draw(homes, random)
    days = 30
    hours = np.zeros((24 * days, homes))
    for step in range(24 * days * 4):
        state, power_w = load.step(ratings, state, 900.0, (step / 4.0) % 24.0 + 0.125, random)
        hours[step // 4] += power_w / 4000.0
    begins = (np.arange(HOURS) - 1) % 24
    theirs = np.array([used_kwh[begins == hour].mean() for hour in range(24)])
    ours = hours.reshape(days, 24, homes).mean((0, 2))
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    spread = np.quantile(hours, levels) - np.quantile(used_kwh, levels)
    memory = [
        _memory(used_kwh, theirs[begins]),
        np.mean([_memory(hours[:, n], np.tile(ours, days)) for n in range(40)]),
    ]
    return {
        "shape_normalised_mean_absolute": float(np.mean(np.abs(ours - theirs)) / theirs.mean()),
        "quantiles_normalised_mean_absolute": float(np.mean(np.abs(spread)) / used_kwh.mean()),
        "memory_of_an_hour_emulated": float(memory[1]),
        "memory_of_an_hour_recorded": float(memory[0]),
    }


def _memory(used_kwh: Any, usual: Any) -> float:
    """Return how the deviation of one hour goes with that of the next, by logarithms."""
    deviation = np.log(np.maximum(used_kwh, 0.01) / usual)
    return float(np.corrcoef(deviation[:-1], deviation[1:])[0, 1])
