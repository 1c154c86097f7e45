"""What the emulators say to the input of each case, and how far that is from what is expected."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gridspine.energy.emulators import battery, ev_charger, heat_pump, pv, weather, wind_turbine
from gridspine.energy.emulators.column import Registers

HERE = Path(__file__).parent
Case = dict[str, Any]
Errors = dict[str, float]


def cases() -> dict[str, Case]:
    """Return every case by ``kind/name``."""
    return {f"{path.parent.name}/{path.stem}": json.loads(path.read_text()) for path in sorted(HERE.glob("*/*.json"))}


def errors(name: str, case: Case) -> Errors:
    """Return the errors of a case by name; those with a tolerance are held to it."""
    return COMPARE[name.partition("/")[0]](case)


def _columns(part: Case) -> dict[str, Any]:
    return {key: np.array(value, np.float64) if isinstance(value, list) else value for key, value in part.items()}


def normalised(ours: Any, theirs: Any) -> Errors:
    """Return mean absolute, root mean square and mean error, as shares of the mean of what is expected."""
    error, mean = ours - theirs, float(np.mean(theirs))
    return {
        "normalised_mean_absolute": float(np.mean(np.abs(error))) / mean,
        "normalised_root_mean_square": float(np.sqrt(np.mean(error**2))) / mean,
        "normalised_mean": float(np.mean(error)) / mean,
    }


def plant(tilt: float, azimuth: float, dc_w: float, ac_w: float, loss: float, gamma: float, count: int) -> pv.Ratings:
    """Return one plant, ``count`` times over."""
    return pv.Ratings(*(np.full(count, one) for one in (dc_w, ac_w, tilt, azimuth, loss, gamma)))


def _pv(case: Case) -> Errors:
    given = _columns(case["input"])
    place = weather.Place(*case["input"]["place"])
    zenith, azimuth = weather.sun_path(place, given["time_s"])
    extra = np.array([weather.extraterrestrial(at) for at in given["time_s"].tolist()])
    sky: Any = weather.Weather(
        zenith, azimuth, given["ghi"], given["dni"], given["dhi"], extra, given["air"], given["wind"]
    )
    ours = [
        pv.generated(plant(tilt, facing, given["dc_w"], given["ac_w"], given["loss"], given["gamma"], len(zenith)), sky)
        for tilt, facing in case["input"]["plants"]
    ]
    return normalised(np.concatenate(ours), np.array(case["expected"]["ac_w"]))


def _wind_turbine(case: Case) -> Errors:
    given, theirs = _columns(case["input"]), np.array(case["expected"]["generated_w"])
    rated_w = float(given["curve_w"].max())
    speed, share = given["curve_speed"], given["curve_w"] / rated_w
    runs = np.flatnonzero(share > 0.0)
    table = wind_turbine.Curve(speed[: runs[-1] + 1], share[: runs[-1] + 1], float(speed[runs[-1]]))
    half = float(np.interp(0.5, share[: runs[-1] + 1], speed[: runs[-1] + 1]))
    logistic = wind_turbine.logistic(half, cut_out=table.cut_out, back=table.cut_out)
    found: Errors = {}
    for name, curve in (("", table), ("logistic_", logistic)):
        count = len(given["wind"])
        ratings = wind_turbine.Ratings(np.full(count, rated_w), np.full(count, 80.0), curve)
        told = wind_turbine.step(ratings, wind_turbine.State.new(count), 60.0, given["wind"], given["density"])[1]
        ours = np.maximum(-told["activePower"], 0.0)
        found |= {name + key: value for key, value in normalised(ours, theirs).items()}
    return found


def _battery(case: Case) -> Errors:
    """Fit the one-way efficiency to the first half of the hours; score on the second, from the state it has there."""
    given, theirs = _columns(case["input"]), np.array(case["expected"]["share"])
    power_w = np.array(case["expected"]["power_w"])
    half = len(theirs) // 2

    def follow(efficiency: float, begin: int, end: int, initial: float) -> tuple[Any, Any]:
        one = np.ones(1)
        ratings = battery.Ratings(
            given["energy_wh"] * one, 1e5 * one, 1e5 * one, efficiency * one,
            given["lowest"] * one, given["highest"] * one, 0.0 * one, 0.0 * one,
        )  # fmt: skip
        state, share, power = battery.State(initial * ratings.energy_wh, Registers.zero(1)), [], []
        for wanted_w in given["wanted_w"][begin:end].tolist():
            state, told = battery.step(ratings, state, given["step_s"], wanted_w)
            share.append(told["stateOfCharge"][0] / 100.0)
            power.append(told["activePower"][0])
        return np.array(share), np.array(power)

    def missed(efficiency: float) -> float:
        return float(np.mean(np.abs(follow(efficiency, 0, half, given["initial"])[0] - theirs[:half])))

    best = min(np.arange(0.9, 1.0, 0.0025).tolist(), key=missed)
    share, power = follow(best, half, len(theirs), float(theirs[half - 1]))
    return {
        "mean_absolute_state_of_charge": float(np.mean(np.abs(share - theirs[half:]))),
        "normalised_mean_absolute_power": float(np.mean(np.abs(power - power_w[half:])) / np.mean(np.abs(power_w))),
        "fitted_efficiency": best,
    }


def _heat_pump(case: Case) -> Errors:
    """Fit one factor (``quality``) to every second point; score on the others."""
    given, theirs = _columns(case["input"]), np.array(case["expected"]["cop"])
    formula = heat_pump.performance(given["sink"], given["outside"])
    fitted, held = slice(0, None, 2), slice(1, None, 2)
    factor = float(np.mean(theirs[fitted] / formula[fitted]))
    relative = np.abs(factor * formula[held] / theirs[held] - 1.0)
    return {
        "mean_relative_after_one_factor": float(np.mean(relative)),
        "mean_relative_of_the_formula": float(np.mean(np.abs(formula[held] / theirs[held] - 1.0))),
        "factor": factor,
    }


def _ev_charger(case: Case) -> Errors:
    given, theirs = _columns(case["input"]), np.array(case["expected"]["power_w"])
    held, capacity, most = (np.array([given[key]]) for key in ("held_wh", "capacity_wh", "most_w"))
    ours = []
    for offered_w in given["offered_w"].tolist():
        flows = np.array([offered_w > 0.0])
        stored = ev_charger.charge(held, capacity, np.array([offered_w]), most, given["step_s"], flows)
        held = held + stored
        ours.append(stored[0] * 3600.0 / given["step_s"])
    return {"maximum_absolute_w": float(np.max(np.abs(np.array(ours) - theirs))), **normalised(np.array(ours), theirs)}


COMPARE: dict[str, Callable[[Case], Errors]] = {
    "pv": _pv,
    "wind_turbine": _wind_turbine,
    "battery": _battery,
    "heat_pump": _heat_pump,
    "ev_charger": _ev_charger,
}
