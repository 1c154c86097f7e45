"""EV chargers (AC, mode 3) with the cars that come and go.

**Sessions.** A car arrives, needs some energy, and leaves. Arrival hours are normal around the evening, stays are
lognormal, needs are gamma distributed; the next session is drawn when one ends. The figures are plausible and ours:
no data set was fitted.

**Charging.** A car takes the smallest of what the charger offers, what its own charger takes and, above the share
s_t of its battery, a maximum that falls linearly to 0 when full (two stages: constant current, then constant voltage):

    dE/dt = min(offer, most, most · (1 − E/C) / (1 − s_t))

solved exactly within a step, as long as the offer stands (Lee et al. 2019, ACN-Sim, §III: *Linear2StageBattery*;
compared with that program in ``cases/ev_charger``).

**Offer.** In amperes a phase, 6 A at least: less is a pause, nothing flows (IEC 61851-1, control pilot; the clause
was not read). Power = phases · voltage · current, at a power factor of 1; what the car stores is that less the loss of
its charger.
"""

from dataclasses import dataclass, replace

import numpy as np

from gridspine.energy.emulators.column import S_PER_H, Outputs, Registers, ordered
from gridspine.kernel.readings import BoolArray, Float64Array

MODEL = "https://gridspine.org/models/ev_charger"
POINTS = (
    "activePower",
    "current",
    "voltage",
    "activeEnergyImport",
    "sessionEnergy",
    "stateOfCharge",
    "connectorState",
    "currentLimit",
)
SETTINGS = ("currentLimit",)
PAUSE_BELOW_A = 6.0
TRANSITION = 0.8
EFFICIENCY = 0.9
"""Of the car's own charger, a usual figure."""
NO_LIMIT_A = 32.0
AVAILABLE, CHARGING, BY_VEHICLE, BY_CHARGER = 1.0, 3.0, 4.0, 5.0


@dataclass(frozen=True, slots=True)
class Ratings:
    """``phases`` (n,) 1 or 3; ``most_a`` (n,) the most the charger and its fuse allow [A a phase]."""

    phases: Float64Array
    most_a: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator) -> "Ratings":
        """Return ``count`` home chargers: 11 kW three-phase and 7.4 kW single-phase."""
        three = random.random(count) < 0.6
        return cls(np.where(three, 3.0, 1.0), np.where(three, 16.0, 32.0))


@dataclass(frozen=True, slots=True)
class State:
    """The session of each charger, the present one or the next; all (n,).

    ``arrival_s``, ``departure_s`` float64 [s since 1970]; ``capacity_wh`` of the car's battery, ``held_wh`` in it,
    ``taken_wh`` at the terminals in this session [Wh]; ``most_w`` what the car's charger takes [W]; ``registers``.
    """

    arrival_s: Float64Array
    departure_s: Float64Array
    capacity_wh: Float64Array
    held_wh: Float64Array
    taken_wh: Float64Array
    most_w: Float64Array
    registers: Registers

    @classmethod
    def draw(cls, count: int, now_s: float, random: np.random.Generator) -> "State":
        """Return chargers whose first cars come within the day after ``now_s`` [s since 1970], or are there."""
        none = np.zeros(count)
        empty = cls(none, none, none, none, none, none, Registers.zero(count))
        return _with_next(empty, np.ones(count, np.bool_), now_s - 86_400.0, random)


def step(
    ratings: Ratings,
    state: State,
    now_s: float,
    step_s: float,
    random: np.random.Generator,
    limit_a: Float64Array | None = None,
    voltage_v: Float64Array | float = 230.0,
) -> tuple[State, Outputs]:
    """Move from ``now_s`` [s since 1970] on by ``step_s`` [s]; cars come and go at whole steps.

    ``limit_a`` (n,) is the most that was ordered [A a phase], NaN where nothing was.
    """
    gone = state.departure_s <= now_s
    if gone.any():
        state = _with_next(state, gone, now_s, random)
    here = state.arrival_s <= now_s
    offered_a = np.minimum(ratings.most_a, ordered(limit_a, np.inf))
    offered_a = np.where(offered_a < PAUSE_BELOW_A, 0.0, offered_a)
    offered_w = ratings.phases * voltage_v * offered_a
    flows = here & (offered_w > 0.0)
    stored_wh = charge(
        state.held_wh, state.capacity_wh, EFFICIENCY * offered_w, EFFICIENCY * state.most_w, step_s, flows
    )
    power_w = stored_wh * (S_PER_H / step_s / EFFICIENCY)
    registers = state.registers.add(power_w, step_s)
    taken_wh = np.where(here, state.taken_wh + power_w * (step_s / S_PER_H), 0.0)
    state = replace(state, held_wh=state.held_wh + stored_wh, taken_wh=taken_wh, registers=registers)
    outputs = {
        "activePower": power_w,
        "current": np.minimum(power_w / (ratings.phases * voltage_v), offered_a),
        "voltage": voltage_v + np.zeros_like(power_w),
        "activeEnergyImport": registers.import_wh,
        "sessionEnergy": taken_wh,
        "stateOfCharge": np.where(here, 100.0 * state.held_wh / state.capacity_wh, 0.0),
        "connectorState": _connector_state(here, offered_w, power_w),
        "currentLimit": ordered(limit_a, NO_LIMIT_A) + np.zeros_like(power_w),
    }
    return state, outputs


def charge(
    held_wh: Float64Array,
    capacity_wh: Float64Array,
    offered_w: Float64Array,
    most_w: Float64Array,
    step_s: float,
    flows: BoolArray,
) -> Float64Array:
    """Return what each battery stores within ``step_s`` [s] where ``flows``, float64 (n,) [Wh]; powers are at the cell.

    Below the bend the power is constant; above it what is missing decays exponentially. With an offer below the
    car's most, the bend lies higher: where the falling line meets the offer.
    """
    hours = step_s / S_PER_H
    capacity = np.where(flows, capacity_wh, 1.0)
    power_w = np.where(flows, np.minimum(offered_w, most_w), 1.0)
    most = np.where(flows, most_w, 1.0)
    share = np.where(flows, held_wh / capacity, 1.0)
    bend = 1.0 - (1.0 - TRANSITION) * power_w / most
    rate = power_w / capacity
    flat_h = np.clip((bend - share) / rate, 0.0, hours)
    begun = share + rate * flat_h
    decay = most / capacity / (1.0 - TRANSITION)
    ended = np.where(hours > flat_h, 1.0 - (1.0 - begun) * np.exp(-decay * (hours - flat_h)), begun)
    stored: Float64Array = np.where(flows, np.maximum(ended - share, 0.0) * capacity, 0.0)
    return stored


def _connector_state(here: BoolArray, offered_w: Float64Array, power_w: Float64Array) -> Float64Array:
    busy = np.where(power_w > 1.0, CHARGING, np.where(offered_w > 0.0, BY_VEHICLE, BY_CHARGER))
    return np.where(here, busy, AVAILABLE)


def _with_next(state: State, which: BoolArray, now_s: float, random: np.random.Generator) -> State:
    """Return the state with a new session after ``now_s`` for each charger of ``which``."""
    at = np.flatnonzero(which)
    count = len(at)
    next_day = np.floor(now_s / 86_400.0) * 86_400.0
    hour = random.normal(17.8, 2.5, count) % 24.0
    arrival = next_day + 3600.0 * hour
    arrival += 86_400.0 * np.ceil(np.maximum(now_s - arrival, 0.0) / 86_400.0)
    stay_h = np.minimum(random.lognormal(np.log(9.0), 0.5, count), 40.0)
    capacity = random.choice([40e3, 58e3, 77e3], count)
    need = np.minimum(random.gamma(2.0, 6e3, count), 0.9 * capacity)
    drawn = {
        "arrival_s": arrival,
        "departure_s": arrival + 3600.0 * stay_h,
        "capacity_wh": capacity,
        "held_wh": capacity - need,
        "taken_wh": np.zeros(count),
        "most_w": random.choice([7_400.0, 11_000.0], count),
    }
    columns = {name: getattr(state, name).copy() for name in drawn}
    for name, column in columns.items():
        column[at] = drawn[name]
    return replace(state, **columns)
