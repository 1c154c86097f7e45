"""Writes the cases: runs the reference programs and keeps what they say. See README.md for how to run it."""

import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
LATITUDE, LONGITUDE, ALTITUDE_M, ZONE = 34.1, -117.4, 300.0, -8
DAYS = (15, 105, 196, 288)
PLANTS = [(20.0, 180.0), (35.0, 90.0), (10.0, 270.0)]


def write(kind: str, name: str, package: str, licence: str, what: str, tolerance: Any, given: Any, said: Any) -> None:
    """Write one case."""
    path = HERE / kind / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    case = {
        "what": what,
        "provenance": {"program": f"{package} {version(package)}", "licence": licence, "made by": "cases/make.py"},
        "tolerance": tolerance,
        "input": given,
        "expected": said,
    }
    path.write_text(json.dumps(_rounded(case), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return [float(f"{one:.12g}" if abs(one) > 1e8 else f"{one:.7g}") for one in value.tolist()]
    return value


def sky() -> pd.DataFrame:
    """Return a year of hours of made-up weather at one place: a clear sky by Ineichen under two sorts of clouds."""
    import pvlib

    times = pd.date_range("2019-01-01 00:30", periods=8760, freq="h", tz=f"Etc/GMT+{-ZONE}")
    place = pvlib.location.Location(LATITUDE, LONGITUDE, altitude=ALTITUDE_M)
    clear = place.get_clearsky(times, model="ineichen", linke_turbidity=3.0)
    hour = np.arange(8760)
    cloud = np.where((hour // 24) % 2 == 0, 1.0, 0.55 + 0.35 * np.sin(hour * 1.7))
    sun = place.get_solarposition(times)
    ghi = clear["ghi"] * cloud
    split = pvlib.irradiance.erbs(ghi, sun["zenith"], times)
    return pd.DataFrame(
        {
            "ghi": ghi,
            "dni": split["dni"],
            "dhi": split["dhi"],
            "air": 15.0 + 8.0 * np.sin((hour % 24 - 9) * math.pi / 12),
            "wind": 2.0 + np.sin(hour / 5.0),
        },
        index=times,
    ).fillna(0.0)


def chosen(year: pd.DataFrame) -> np.ndarray:
    """Return the hours of the days that a case keeps."""
    return np.concatenate([np.arange(24 * day, 24 * day + 24) for day in DAYS])


def plants_input(year: pd.DataFrame, loss: float, ratio: float) -> dict[str, Any]:
    """Return the input of the PV cases."""
    at = chosen(year)
    kept = year.iloc[at]
    epoch_s = (kept.index - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return {
        "place": [LATITUDE, LONGITUDE, ALTITUDE_M],
        "plants": [list(one) for one in PLANTS],
        "dc_w": 5_000.0,
        "ac_w": 5_000.0 / ratio,
        "loss": loss,
        "gamma": -0.0037,
        "time_s": np.asarray(epoch_s),
    } | {name: kept[name].to_numpy() for name in ("ghi", "dni", "dhi", "air", "wind")}


def pv_by_pvlib(year: pd.DataFrame) -> None:
    """PV by pvlib's own chain."""
    import pvlib
    from pvlib.modelchain import ModelChain
    from pvlib.pvsystem import Array, FixedMount, PVSystem

    said = []
    place = pvlib.location.Location(LATITUDE, LONGITUDE, altitude=ALTITUDE_M)
    for tilt, azimuth in PLANTS:
        array = Array(
            FixedMount(tilt, azimuth),
            albedo=0.2,
            module_parameters={"pdc0": 5_000.0, "gamma_pdc": -0.0037},
            temperature_model_parameters={"u0": 25.0, "u1": 6.84},
        )
        system = PVSystem([array], inverter_parameters={"pdc0": 5_000.0 / 1.2 / 0.96}, losses_parameters=NO_LOSS)
        chain = ModelChain(
            system, place, transposition_model="haydavies", dc_model="pvwatts", ac_model="pvwatts",
            aoi_model="no_loss", spectral_model="no_loss", temperature_model="faiman", losses_model="pvwatts",
        )  # fmt: skip
        weather = year.rename(columns={"air": "temp_air", "wind": "wind_speed"})
        chain.run_model(weather)
        said.append(chain.results.ac.clip(lower=0.0).to_numpy()[chosen(year)])
    write(
        "pv", "pvlib_chain", "pvlib", "BSD-3-Clause", "AC power [W] of three plants, four days by the hour",
        {"normalised_mean_absolute": 0.0005}, plants_input(year, 0.1, 1.2), {"ac_w": np.concatenate(said)},
    )  # fmt: skip


NO_LOSS = dict.fromkeys(
    ("soiling", "shading", "snow", "mismatch", "wiring", "connections", "lid", "nameplate_rating", "availability"), 0.0
) | {"age": 10.0}


def pv_by_sam(year: pd.DataFrame) -> None:
    """PV by SAM's PVWatts, which has models of its own for the sky, the cells and the glass."""
    import PySAM.Pvwattsv8 as Pvwatts

    said = []
    for tilt, azimuth in PLANTS:
        model = Pvwatts.default("PVWattsNone")
        model.SolarResource.solar_resource_data = {
            "lat": LATITUDE, "lon": LONGITUDE, "tz": ZONE, "elev": ALTITUDE_M,
            "year": [2019] * 8760, "month": year.index.month.tolist(), "day": year.index.day.tolist(),
            "hour": year.index.hour.tolist(), "minute": [30] * 8760, "dn": year["dni"].tolist(),
            "df": year["dhi"].tolist(), "gh": year["ghi"].tolist(), "tdry": year["air"].tolist(),
            "wspd": year["wind"].tolist(), "albedo": [0.2] * 8760,
        }  # fmt: skip
        model.SystemDesign.assign(
            {"system_capacity": 5.0, "dc_ac_ratio": 1.2, "inv_eff": 96.0, "losses": 10.0, "array_type": 0.0,
             "tilt": tilt, "azimuth": azimuth, "module_type": 0.0, "gcr": 0.01}
        )  # fmt: skip
        model.execute()
        said.append(np.maximum(np.array(model.Outputs.ac), 0.0)[chosen(year)])
    write(
        "pv", "sam_pvwatts", "nrel-pysam", "BSD-3-Clause", "AC power [W] of three plants, four days by the hour",
        {"normalised_mean_absolute": 0.03}, plants_input(year, 0.1, 1.2), {"ac_w": np.concatenate(said)},
    )  # fmt: skip


def wind_by_sam() -> None:
    """A turbine by SAM's Windpower, with SAM's own curve."""
    import PySAM.Windpower as Windpower

    model = Windpower.default("WindPowerNone")
    random = np.random.default_rng(1)
    speed = 7.0 * random.weibull(2.0, 8760) / 0.886
    air = random.uniform(-10.0, 35.0, 8760)
    pressure_atm = random.uniform(0.85, 1.02, 8760)
    hub_m = model.Turbine.wind_turbine_hub_ht
    model.Resource.wind_resource_model_choice = 0
    rows = [[a, p, v, 180.0] for a, p, v in zip(air.tolist(), pressure_atm.tolist(), speed.tolist(), strict=True)]
    model.Resource.wind_resource_data = {
        "heights": [hub_m] * 4, "fields": [1, 2, 3, 4], "data": rows,
    }  # fmt: skip
    model.Farm.assign({"wind_farm_xCoordinates": [0.0], "wind_farm_yCoordinates": [0.0], "wind_farm_wake_model": 0})
    model.Farm.system_capacity = max(model.Turbine.wind_turbine_powercurve_powerout)
    model.Losses.assign({name: 0.0 for name in model.Losses.export() if name.endswith("loss") or "loss" in name})
    model.execute()
    kept = slice(0, 400)
    density = pressure_atm * 101_325.0 / (287.058 * (air + 273.15))
    write(
        "wind_turbine", "sam_windpower", "nrel-pysam", "BSD-3-Clause", "power generated [W] at the hub's wind and air",
        {"normalised_mean_absolute": 0.0005, "logistic_normalised_mean_absolute": 0.06},
        {
            "curve_speed": np.array(model.Turbine.wind_turbine_powercurve_windspeeds),
            "curve_w": 1000.0 * np.array(model.Turbine.wind_turbine_powercurve_powerout),
            "wind": speed[kept], "density": density[kept],
        },
        {"generated_w": 1000.0 * np.array(model.Outputs.gen)[kept]},
    )  # fmt: skip


def battery_by_sam() -> None:
    """A battery by SAM's BatteryStateful, cells with resistance and temperature, told a power a quarter hour."""
    import PySAM.BatteryStateful as Battery

    model = Battery.default("LFPGraphite")
    model.Controls.assign({"control_mode": 1.0, "dt_hr": 0.25, "input_power": 0.0})
    model.ParamsCell.assign({"initial_SOC": 50.0, "minimum_SOC": 10.0, "maximum_SOC": 95.0})
    model.setup()
    random = np.random.default_rng(2)
    wanted_kw = np.repeat(random.uniform(-4.0, 4.0, 96), 4)
    share, power_kw = [], []
    for power in wanted_kw.tolist():
        model.Controls.input_power = power
        model.execute(0)
        share.append(model.StatePack.SOC / 100.0)
        power_kw.append(model.StatePack.P)
    write(
        "battery", "sam_stateful", "nrel-pysam", "BSD-3-Clause",
        "state of charge over four days of orders, a quarter hour each; discharging is positive at SAM, negative here",
        {"mean_absolute_state_of_charge": 0.02},
        {"energy_wh": 1000.0 * model.ParamsPack.nominal_energy, "step_s": 900.0, "lowest": 0.1, "highest": 0.95,
         "initial": 0.5, "wanted_w": -1000.0 * wanted_kw},
        {"share": np.array(share), "power_w": -1000.0 * np.array(power_kw)},
    )  # fmt: skip


def heat_pump_by_hplib() -> None:
    """The performance of an average regulated outdoor air/water heat pump, as hplib fitted it to test reports."""
    import hplib.hplib as hplib

    fit = hplib.get_parameters("Generic", group_id=1, t_in=-7, t_out=52, p_th=10_000).iloc[0]
    grid = np.meshgrid([-7.0, -2.0, 2.0, 7.0, 12.0], [30.0, 35.0, 40.0, 45.0, 50.0])
    outside, sink = (axis.ravel() for axis in grid)
    terms = [fit[f"p{n}_COP [-]"] for n in (1, 2, 3, 4)]
    cop = terms[0] * outside + terms[1] * sink + terms[2] + terms[3] * outside
    write(
        "heat_pump", "hplib_generic", "hplib", "MIT, its fits CC BY 4.0",
        "coefficient of performance over outside air and water [degC]",
        {"mean_relative_after_one_factor": 0.12}, {"outside": outside, "sink": sink}, {"cop": cop},
    )  # fmt: skip


def ev_by_acn_sim() -> None:
    """A session by ACN-Sim's two-stage battery."""
    from acnportal.acnsim.models.battery import Linear2StageBattery

    random = np.random.default_rng(3)
    battery = Linear2StageBattery(58.0, 30.0, 7.4, transition_soc=0.8)
    pilot = np.repeat(random.choice([0.0, 8.0, 16.0, 32.0], 60), 6)
    power_w = [battery.charge(amperes, 230.0, 1.0) * 230.0 for amperes in pilot.tolist()]
    write(
        "ev_charger", "acn_sim", "acnportal", "BSD-3-Clause", "mean power into the cells [W], minute by minute",
        {"maximum_absolute_w": 0.01},
        {"capacity_wh": 58_000.0, "held_wh": 30_000.0, "most_w": 7_400.0, "step_s": 60.0, "offered_w": 230.0 * pilot},
        {"power_w": np.array(power_w)},
    )  # fmt: skip


if __name__ == "__main__":
    weather_year = sky()
    pv_by_pvlib(weather_year)
    pv_by_sam(weather_year)
    wind_by_sam()
    battery_by_sam()
    heat_pump_by_hplib()
    ev_by_acn_sim()
