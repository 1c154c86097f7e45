"""Combined heat and power: an engine that burns gas for heat and power, with a buffer of hot water.

At the share u of its rated power (0, or least … 1), with efficiencies that fall a little at part load:

    power = u · P_r      fuel = power / η_el(u)      heat = η_th · fuel      lost = fuel − power − heat
    η_el(u) = η_r · (1 − 0.15 · (1 − u))

Heat goes into the buffer, from which the demand is drawn: ΔE = (heat − demand met) · Δt. By itself the engine follows
the heat: it starts when the buffer is a quarter full and stops when it is full; an order sets the power instead, as
long as the buffer takes the heat. From start to the ordered power it takes a few minutes (a ramp), and once started or
stopped it stays so for a least time.

Source: the constant-ratio model of planning tools, with a part load line as makers' data sheets of small engines show
it; the figures are ours, nothing was fitted. Energy balances exactly, and that is what is tested.
"""

from dataclasses import dataclass

import numpy as np

from gridspine.energy.emulators.column import S_PER_H, Outputs, Registers, ordered
from gridspine.kernel.readings import BoolArray, Float64Array

MODEL = "https://gridspine.org/models/chp"
POINTS = (
    "activePower",
    "activeEnergyExport",
    "thermalPower",
    "thermalEnergy",
    "fuelFlow",
    "fuelVolume",
    "operatingState",
    "activePowerSetpoint",
)
SETTINGS = ("activePowerSetpoint",)
LEAST_SHARE = 0.5
RAMP_S = 300.0
LEAST_TIME_S = 1_800.0
STANDBY_W = 150.0
GAS_WH_PER_M3 = 10_100.0
"""Heat of combustion that the efficiencies refer to (net), natural gas."""
STANDBY, STARTING, RUNNING = 1.0, 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Ratings:
    """Each (n,): ``power_w`` rated [W], ``electric`` and ``thermal`` efficiencies at full load, ``buffer_wh`` [Wh]."""

    power_w: Float64Array
    electric: Float64Array
    thermal: Float64Array
    buffer_wh: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator) -> "Ratings":
        """Return ``count`` plants of 50 kW for larger buildings."""
        power_w = np.full(count, 50e3)
        electric = random.uniform(0.31, 0.35, count)
        thermal = random.uniform(0.86, 0.92, count) - electric
        return cls(power_w, electric, thermal, 3.0 * power_w * thermal / electric)


@dataclass(frozen=True, slots=True)
class State:
    """Each (n,): ``share`` of rated power now; ``since_s`` how long it runs or rests [s]; ``buffer_wh`` heat held [Wh].

    ``fuel_wh`` burnt and ``heat_wh`` made so far [Wh]; ``registers`` at the electric terminals.
    """

    share: Float64Array
    since_s: Float64Array
    buffer_wh: Float64Array
    fuel_wh: Float64Array
    heat_wh: Float64Array
    registers: Registers

    @classmethod
    def draw(cls, ratings: Ratings, random: np.random.Generator) -> "State":
        """Return plants at rest with buffers anywhere."""
        count = len(ratings.power_w)
        none = np.zeros(count)
        held = random.uniform(0.2, 0.9, count) * ratings.buffer_wh
        return cls(none, np.full(count, LEAST_TIME_S), held, none, none, Registers.zero(count))


def step(
    ratings: Ratings,
    state: State,
    step_s: float,
    demand_w: Float64Array,
    setpoint_w: Float64Array | None = None,
) -> tuple[State, Outputs]:
    """Move on by ``step_s`` [s] with ``demand_w`` (n,) of heat [W, not negative].

    ``setpoint_w`` (n,) is the power that was ordered [W, import positive: generating is negative], NaN where nothing
    was.
    """
    hours = step_s / S_PER_H
    share = _share(ratings, state, step_s, setpoint_w)
    room_w = np.maximum(ratings.buffer_wh - state.buffer_wh, 0.0) / hours + demand_w
    share = np.where(share * ratings.power_w * ratings.thermal / (0.85 * ratings.electric) > room_w, 0.0, share)
    power_w = share * ratings.power_w
    fuel_w = power_w / (ratings.electric * (1.0 - 0.15 * (1.0 - share)))
    heat_w = ratings.thermal * fuel_w
    held_wh = state.buffer_wh + heat_w * hours
    met_wh = np.minimum(demand_w * hours, held_wh)
    changed = (share > 0.0) != (state.share > 0.0)
    terminal_w = np.where(share > 0.0, -power_w, STANDBY_W)
    registers = state.registers.add(terminal_w, step_s)
    after = State(
        share,
        np.where(changed, step_s, state.since_s + step_s),
        held_wh - met_wh,
        state.fuel_wh + fuel_w * hours,
        state.heat_wh + heat_w * hours,
        registers,
    )
    outputs = {
        "activePower": terminal_w,
        "activeEnergyExport": registers.export_wh,
        "thermalPower": heat_w,
        "thermalEnergy": after.heat_wh,
        "fuelFlow": fuel_w / GAS_WH_PER_M3,
        "fuelVolume": after.fuel_wh / GAS_WH_PER_M3,
        "operatingState": np.where(share > 0.0, np.where(state.share > 0.0, RUNNING, STARTING), STANDBY),
        "activePowerSetpoint": ordered(setpoint_w, 0.0) + np.zeros_like(power_w),
    }
    return after, outputs


def _share(ratings: Ratings, state: State, step_s: float, setpoint_w: Float64Array | None) -> Float64Array:
    """Return the share of rated power the engines go to: order or heat, least times, then the ramp."""
    filled = state.buffer_wh / ratings.buffer_wh
    runs: BoolArray = state.share > 0.0
    heat_led = np.where(filled < 0.25, 1.0, np.where(filled >= 0.98, 0.0, np.where(runs, 1.0, 0.0)))
    asked = -ordered(setpoint_w, np.nan) / ratings.power_w
    asked = np.where(asked < LEAST_SHARE, 0.0, np.minimum(asked, 1.0))
    wanted = np.where(np.isnan(asked), heat_led, asked)
    held = state.since_s < LEAST_TIME_S
    wanted = np.where(held & runs, np.maximum(wanted, LEAST_SHARE), np.where(held & ~runs, 0.0, wanted))
    most = state.share + step_s / RAMP_S
    ramped = np.minimum(wanted, np.maximum(most, LEAST_SHARE))
    return np.asarray(ramped)
