"""Air-source heat pumps that keep houses within a comfort band.

**Coefficient of performance** of heat given to power taken, by the lift ΔT = T_sink − T_outside [K]:

    COP = 6.81 − 0.121 ΔT + 0.000630 ΔT²            15 ≤ ΔT ≤ 60, held beyond

times the ``quality`` of one machine (Staffell, Brett, Brandon and Hawkes, "A review of domestic heat pumps", Energy &
Environmental Science 5 (2012); the coefficients as the documentation of PyPSA-Eur repeats them, the paper itself was
not read). The sink follows a heating curve: warmer water on colder days. Scored against fits of another party to test
reports in ``cases/heat_pump``.

**Control.** The wanted share of the rated heat falls linearly over the comfort band, from 1 at its lower end to 0 at
its upper end; below half of the least share the compressor can run at it is off, and on again at the lower end of the
band. An order limits the electric power; below the least the compressor can run at it stops. Its SG Ready mode blocks
it, or moves the band up. Heat given goes into the house (`house`): heat = COP · power of the compressor, so the rest
comes from outside. Hot water, defrosting and the electric heater are not modelled.
"""

from dataclasses import dataclass

import numpy as np

from gridspine.energy.emulators import house
from gridspine.energy.emulators.column import Outputs, Registers, ordered
from gridspine.kernel.readings import BoolArray, Float64Array

MODEL = "https://gridspine.org/models/heat_pump"
POINTS = (
    "activePower",
    "thermalPower",
    "activeEnergyImport",
    "thermalEnergy",
    "supplyTemperature",
    "outdoorTemperature",
    "operatingState",
    "sgReadyMode",
    "activePowerLimit",
)
SETTINGS = ("sgReadyMode", "activePowerLimit")
LEAST_SHARE = 0.3
"""Of the rated heat: the least an inverter-driven compressor runs at."""
STANDBY_W = 10.0
NO_LIMIT_W = 7_500.0
BLOCKED, NORMAL, ENCOURAGED, FORCED = 1.0, 2.0, 3.0, 4.0
"""SG Ready: 3 and 4 move the comfort band up by 1 and 2 K."""
STANDBY, HEATING = 1.0, 2.0


@dataclass(frozen=True, slots=True)
class Ratings:
    """``house`` and, each (n,): ``heat_w`` rated heat [W], ``quality`` of the machine [1: the formula's], ``low`` and
    ``high`` of the comfort band [degC].
    """

    house: house.Ratings
    heat_w: Float64Array
    quality: Float64Array
    low: Float64Array
    high: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator, coldest: float = -10.0) -> "Ratings":
        """Return ``count`` houses whose heat pumps can hold 20 degC at ``coldest`` [degC], with a tenth to spare."""
        houses = house.Ratings.draw(count, random)
        low = random.uniform(19.0, 21.0, count)
        quality = random.uniform(0.9, 1.2, count)
        return cls(houses, 1.1 * houses.loss * (20.0 - coldest), quality, low, low + random.uniform(1.0, 2.0, count))


@dataclass(frozen=True, slots=True)
class State:
    """``house``, ``runs`` bool (n,): the compressor is on; ``registers``, ``heat_wh`` (n,) heat given so far [Wh]."""

    house: house.State
    runs: BoolArray
    registers: Registers
    heat_wh: Float64Array

    @classmethod
    def draw(cls, ratings: Ratings, random: np.random.Generator) -> "State":
        """Return houses somewhere in their bands, all compressors off."""
        air = random.uniform(ratings.low, ratings.high)
        count = len(air)
        return cls(house.State(air, air - 0.3), np.zeros(count, np.bool_), Registers.zero(count), np.zeros(count))


def performance(sink: Float64Array | float, outside: Float64Array | float) -> Float64Array:
    """Return the coefficient of performance for water at ``sink`` and air at ``outside`` [degC]."""
    lift = np.clip(np.subtract(sink, outside), 15.0, 60.0)
    cop: Float64Array = 6.81 - 0.121 * lift + 0.000630 * lift**2
    return cop


def supply_temperature(outside: float) -> float:
    """Return the temperature of the heating water [degC]: 30 at 15 degC outside, 45 at -10."""
    return float(np.clip(30.0 + 0.6 * (15.0 - outside), 28.0, 50.0))


def step(
    ratings: Ratings,
    state: State,
    step_s: float,
    outside: float,
    gains_w: Float64Array | float = 0.0,
    limit_w: Float64Array | None = None,
    mode: Float64Array | None = None,
) -> tuple[State, Outputs]:
    """Move on by ``step_s`` [s] at ``outside`` [degC].

    ``gains_w`` is what else heats the houses [W]; ``limit_w`` (n,) the most electric power that was ordered [W], NaN
    where nothing was; ``mode`` (n,) the SG Ready mode that was, NaN is normal.
    """
    cop = ratings.quality * performance(supply_temperature(outside), outside)
    ready = ordered(mode, NORMAL) + np.zeros_like(ratings.heat_w)
    wanted = np.clip(
        (ratings.high + np.maximum(ready - NORMAL, 0.0) - state.house.air) / (ratings.high - ratings.low), 0.0, 1.0
    )
    runs = (wanted >= 1.0) | (state.runs & (wanted >= LEAST_SHARE * 0.5))
    runs &= ready > BLOCKED
    share = np.where(runs, np.maximum(wanted, LEAST_SHARE), 0.0)
    most = np.maximum(ordered(limit_w, np.inf) - STANDBY_W, 0.0) * cop / ratings.heat_w
    share = np.where(share > most, np.where(most >= LEAST_SHARE, most, 0.0), share)
    heat_w = share * ratings.heat_w
    power_w = heat_w / cop + STANDBY_W
    building, _ = house.step(ratings.house, state.house, step_s, outside, heat_w + gains_w)
    registers = state.registers.add(power_w, step_s)
    heat_wh = state.heat_wh + heat_w * (step_s / 3600.0)
    outputs = {
        "activePower": power_w,
        "activeEnergyImport": registers.import_wh,
        "thermalPower": heat_w,
        "thermalEnergy": heat_wh,
        "indoorTemperature": building.air,
        "outdoorTemperature": np.full(len(power_w), outside),
        "supplyTemperature": np.full(len(power_w), supply_temperature(outside)),
        "operatingState": np.where(share > 0.0, HEATING, STANDBY),
        "sgReadyMode": ready,
        "activePowerLimit": ordered(limit_w, NO_LIMIT_W) + np.zeros_like(power_w),
    }
    return State(building, runs, registers, heat_wh), outputs
