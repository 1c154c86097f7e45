"""Wind turbines: a power curve, at the height of the hub and in the air of the day.

    v_hub = v · (h_hub / h)^α                     power law of the wind profile
    v_n   = v_hub · (ρ / ρ_0)^(1/3)               the air's density brought into the speed
    P     = curve(v_n)                            straight between its points, 0 beyond cut-in and cut-out

``curve`` is a maker's table, or `logistic`: an S between nothing and rated power. After a cut-out for storm a turbine
waits until the wind has fallen below its return speed.

Source: IEC 61400-12-1 (power performance: normalisation of the speed for density) as the documentation of windpowerlib
and SAM describe it, the clause was not read; the logistic function is one of those that reviews of power curves name.
Compared with NREL's SAM in ``cases/wind_turbine``.
"""

from dataclasses import dataclass

import numpy as np

from gridspine.energy.emulators.column import Outputs, Registers, ordered
from gridspine.kernel.readings import BoolArray, Float64Array

MODEL = "https://gridspine.org/models/wind_turbine"
POINTS = ("activePower", "activeEnergyExport", "windSpeed", "operatingState", "activePowerLimit")
SETTINGS = ("activePowerLimit",)
STANDARD_DENSITY = 1.225
"""[kg/m³]."""
STANDBY_SHARE = 0.001
OFF, WAITING, RUNNING, THROTTLED = 0.0, 1.0, 3.0, 4.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A power curve: ``speed`` (k,) [m/s, rising] and ``share`` (k,) [of rated]; runs again below ``back`` [m/s]."""

    speed: Float64Array
    share: Float64Array
    back: float

    @property
    def cut_out(self) -> float:
        """The speed beyond which the turbine stops [m/s]."""
        return float(self.speed[-1])


def logistic(
    half: float = 8.3, width: float = 1.25, cut_in: float = 3.0, cut_out: float = 25.0, back: float = 22.0
) -> Curve:
    """Return the curve that gives half of the rated power at ``half`` and gets there within ``width`` [m/s]."""
    speed = np.append(np.arange(cut_in, half + 6.0 * width, 0.25), cut_out)
    return Curve(speed, 1.0 / (1.0 + np.exp((half - speed) / width)), back)


@dataclass(frozen=True, slots=True)
class Ratings:
    """``rated_w`` (n,) [W], ``hub_m`` (n,) height of the hub [m]; the fleet shares one ``curve``."""

    rated_w: Float64Array
    hub_m: Float64Array
    curve: Curve

    @classmethod
    def draw(cls, count: int, random: np.random.Generator) -> "Ratings":
        """Return ``count`` turbines of 3 MW."""
        return cls(np.full(count, 3.0e6), random.uniform(80.0, 120.0, count), logistic())


@dataclass(frozen=True, slots=True)
class State:
    """``storm`` bool (n,): stopped for storm; ``registers``."""

    storm: BoolArray
    registers: Registers

    @classmethod
    def new(cls, count: int) -> "State":
        """Return ``count`` turbines ready to run."""
        return cls(np.zeros(count, np.bool_), Registers.zero(count))


def hub_speed(
    speed: Float64Array | float, hub_m: Float64Array, measured_m: float = 10.0, alpha: float = 0.14
) -> Float64Array:
    """Return the wind at the hubs (n,) [m/s] for ``speed`` measured at ``measured_m`` [m]; ``alpha`` is the shear."""
    return np.asarray(speed * (hub_m / measured_m) ** alpha)


def step(
    ratings: Ratings,
    state: State,
    step_s: float,
    wind: Float64Array,
    density: Float64Array | float = STANDARD_DENSITY,
    limit_w: Float64Array | None = None,
) -> tuple[State, Outputs]:
    """Move on by ``step_s`` [s] with ``wind`` (n,) at the hubs [m/s] and air of ``density`` [kg/m³].

    ``limit_w`` (n,) is the most generation that was ordered [W], NaN where nothing was.
    """
    curve = ratings.curve
    storm = (wind > curve.cut_out) | (state.storm & (wind > curve.back))
    even = wind * np.cbrt(np.divide(density, STANDARD_DENSITY))
    share = np.interp(even, curve.speed, curve.share, left=0.0)
    available_w = np.where(storm, 0.0, ratings.rated_w * share)
    most_w = ordered(limit_w, ratings.rated_w)
    generated_w = np.minimum(available_w, most_w)
    power_w = np.where(generated_w > 0.0, -generated_w, STANDBY_SHARE * ratings.rated_w)
    registers = state.registers.add(power_w, step_s)
    runs = np.where(generated_w < available_w, THROTTLED, np.where(generated_w > 0.0, RUNNING, WAITING))
    outputs = {
        "activePower": power_w,
        "windSpeed": wind,
        "activeEnergyExport": registers.export_wh,
        "activeEnergyImport": registers.import_wh,
        "operatingState": np.where(storm, OFF, runs),
        "activePowerLimit": most_w + np.zeros_like(power_w),
    }
    return State(storm, registers), outputs
