"""Photovoltaic plants: panels and an inverter that helps the voltage.

    sky ─► plane of the panels (Hay and Davies) ─► cells' temperature (Faiman) ─► DC (PVWatts) ─► losses
        ─► inverter (PVWatts) ─► limit ordered ─► volt-watt, volt-var (`grid_support`) ─► terminals

The parts are pvlib's, on arrays: Hay and Davies (1980) for the plane, Faiman (2008) for the cells, PVWatts version 5
(Dobos 2014, NREL/TP-6A20-62641) for panels, losses and inverter. Compared with pvlib's own chain and NREL's SAM in
``cases/pv``, and scored on recorded homes in ``docs/emulators.md``. Snow, shade and soiling beyond the constant loss
are not modelled.
"""

from dataclasses import dataclass

import numpy as np
from pvlib import inverter, irradiance, pvsystem, temperature

from gridspine.energy.emulators import grid_support
from gridspine.energy.emulators.column import Outputs, Registers, ordered
from gridspine.energy.emulators.weather import Weather
from gridspine.kernel.readings import Float64Array

MODEL = "https://gridspine.org/models/pv_inverter"
POINTS = ("activePower", "voltage", "frequency", "activeEnergyExport", "operatingState", "activePowerLimit")
SETTINGS = ("activePowerLimit",)
NIGHT_W = 4.0
NOMINAL_V = 230.0
ALBEDO = 0.2
SLEEPING, RUNNING, THROTTLED = 1.0, 3.0, 4.0


@dataclass(frozen=True, slots=True)
class Ratings:
    """Each (n,): ``dc_w`` at standard conditions [W], ``ac_w`` of the inverter [W and VA], ``tilt`` from horizontal,
    ``azimuth`` from north by east [degrees], ``loss`` of the DC side [0…1], ``gamma`` of the power [1/K, negative].
    """

    dc_w: Float64Array
    ac_w: Float64Array
    tilt: Float64Array
    azimuth: Float64Array
    loss: Float64Array
    gamma: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator) -> "Ratings":
        """Return ``count`` plants on roofs, of 3 to 7.2 kW of panels and inverters of up to 6 kW."""
        dc_w = random.uniform(3_000.0, 7_200.0, count)
        return cls(
            dc_w,
            np.minimum(dc_w / 1.1, 6_000.0),
            random.uniform(15.0, 45.0, count),
            random.choice([90.0, 135.0, 180.0, 225.0, 270.0], count, p=[0.15, 0.15, 0.4, 0.15, 0.15]),
            random.uniform(0.08, 0.2, count),
            np.full(count, -0.0037),
        )


@dataclass(frozen=True, slots=True)
class State:
    """The registers of n plants."""

    registers: Registers

    @classmethod
    def new(cls, count: int) -> "State":
        """Return ``count`` new plants."""
        return cls(Registers.zero(count))


def available(ratings: Ratings, weather: Weather) -> Float64Array:
    """Return what each plant could generate at its terminals (n,) [W, positive]."""
    if weather.ghi <= 0.0 and weather.dni <= 0.0:
        return np.zeros(len(ratings.dc_w))
    return generated(ratings, weather)


def generated(ratings: Ratings, weather: Weather) -> Float64Array:
    """Return the same by the whole chain, also where the weather's fields are arrays (n,): a plant over n times."""
    plane = irradiance.get_total_irradiance(
        ratings.tilt,
        ratings.azimuth,
        weather.zenith,
        weather.azimuth,
        weather.dni,
        weather.ghi,
        weather.dhi,
        dni_extra=weather.extra,
        albedo=ALBEDO,
        model="haydavies",
    )["poa_global"]
    cells = temperature.faiman(plane, weather.air, weather.wind)
    dc_w = pvsystem.pvwatts_dc(plane, cells, ratings.dc_w, ratings.gamma) * (1.0 - ratings.loss)
    ac_w = inverter.pvwatts(np.maximum(dc_w, 0.0), ratings.ac_w / 0.96)
    return np.asarray(np.maximum(ac_w, 0.0), np.float64)


def step(
    ratings: Ratings,
    state: State,
    step_s: float,
    weather: Weather,
    voltage_v: Float64Array,
    frequency_hz: float,
    limit_w: Float64Array | None = None,
) -> tuple[State, Outputs]:
    """Move on by ``step_s`` [s] at ``voltage_v`` (n,) [V].

    ``limit_w`` (n,) is the most generation that was ordered [W], NaN where nothing was. Reactive power at the terminals
    is import positive too: absorbing is positive.
    """
    possible_w = available(ratings, weather)
    most_w = ordered(limit_w, ratings.ac_w)
    generated_w, injected_var = grid_support.respond(
        np.minimum(possible_w, most_w), ratings.ac_w, voltage_v / NOMINAL_V
    )
    awake = possible_w >= 1.0
    power_w = np.where(awake, -generated_w, NIGHT_W)
    registers = state.registers.add(power_w, step_s)
    outputs = {
        "activePower": power_w,
        "reactivePower": np.where(awake, -injected_var, 0.0),
        "voltage": voltage_v,
        "frequency": np.full(len(power_w), frequency_hz),
        "activeEnergyImport": registers.import_wh,
        "activeEnergyExport": registers.export_wh,
        "operatingState": np.where(awake, np.where(generated_w < possible_w - 1.0, THROTTLED, RUNNING), SLEEPING),
        "activePowerLimit": most_w + np.zeros_like(power_w),
    }
    return State(registers), outputs
