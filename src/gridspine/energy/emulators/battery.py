"""Batteries with their inverters: a store of energy behind two efficiencies and two limits of power.

With a one-way efficiency η, a power p at the terminals [W, charging positive] moves the store by

    ΔE = η · max(p, 0) · Δt + min(p, 0) · Δt / η

so that what was taken = what was given + what is stored + what was lost, and nothing is lost at rest but the standby
power and a self-discharge proportional to what is stored. p is the order, else the battery's own rule, cut to the
rated powers and to what the store can take or give within the step.

Source: the energy reservoir model that is usual in planning tools (e.g. PyPSA's StorageUnit, CityLearn's battery with
a constant efficiency); compared with NREL's SAM in ``cases/battery``.
"""

from dataclasses import dataclass

import numpy as np

from gridspine.energy.emulators.column import S_PER_H, Outputs, Registers, ordered
from gridspine.kernel.readings import Float64Array

MODEL = "https://gridspine.org/models/battery"
POINTS = (
    "activePower",
    "stateOfCharge",
    "activeEnergyImport",
    "activeEnergyExport",
    "operatingState",
    "activePowerSetpoint",
)
SETTINGS = ("activePowerSetpoint",)
EMPTY, DISCHARGING, CHARGING, FULL, HOLDING = 2.0, 3.0, 4.0, 5.0, 6.0
_MOVES_W = 1.0
_SAGGED, _KEEPS_C = 0.01, 0.02


@dataclass(frozen=True, slots=True)
class Ratings:
    """What n batteries are, each float64 (n,).

    ``energy_wh`` rated energy [Wh]; ``charge_w``, ``discharge_w`` most power either way [W, positive];
    ``efficiency`` one way [0…1]; ``lowest``, ``highest`` bounds of the state of charge [0…1]; ``standby_w`` what the
    electronics draw always [W]; ``loss_per_h`` share of the stored energy that leaves by itself in an hour.
    """

    energy_wh: Float64Array
    charge_w: Float64Array
    discharge_w: Float64Array
    efficiency: Float64Array
    lowest: Float64Array
    highest: Float64Array
    standby_w: Float64Array
    loss_per_h: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator) -> "Ratings":
        """Return ``count`` home batteries of 5 to 10 kWh and up to 5 kW."""
        energy_wh = random.choice([5_000.0, 6_400.0, 10_000.0], count)
        most_w = np.minimum(5_000.0, 0.6 * energy_wh)
        return cls(
            energy_wh,
            most_w,
            most_w,
            random.uniform(0.93, 0.97, count),
            random.uniform(0.08, 0.12, count),
            np.ones(count),
            random.uniform(4.0, 12.0, count),
            np.full(count, 2e-5),
        )


@dataclass(frozen=True, slots=True)
class State:
    """How n batteries are: ``stored_wh`` float64 (n,) [Wh] and the registers at the terminals."""

    stored_wh: Float64Array
    registers: Registers

    @classmethod
    def draw(cls, ratings: Ratings, random: np.random.Generator) -> "State":
        """Return batteries anywhere between their bounds."""
        share = random.uniform(ratings.lowest, ratings.highest)
        return cls(share * ratings.energy_wh, Registers.zero(len(share)))


def step(
    ratings: Ratings,
    state: State,
    step_s: float,
    rule_w: Float64Array | float = 0.0,
    setpoint_w: Float64Array | None = None,
) -> tuple[State, Outputs]:
    """Move on by ``step_s`` [s].

    ``setpoint_w`` (n,) is what was ordered [W, charging positive], NaN where nothing was; ``rule_w`` what the battery
    does by itself then, but for a little charging where it sagged below its lowest charge. Standby power comes on top:
    it is drawn at the terminals, not from the store.
    """
    hours = step_s / S_PER_H
    kept_wh = state.stored_wh * np.exp(-ratings.loss_per_h * hours)
    room_w = np.maximum(ratings.highest * ratings.energy_wh - kept_wh, 0.0) / (ratings.efficiency * hours)
    left_w = np.maximum(kept_wh - ratings.lowest * ratings.energy_wh, 0.0) * (ratings.efficiency / hours)
    low = kept_wh < (ratings.lowest - _SAGGED) * ratings.energy_wh
    own_w = np.where(low, np.maximum(rule_w, _KEEPS_C * ratings.energy_wh), rule_w)
    power_w = np.clip(
        ordered(setpoint_w, own_w),
        -np.minimum(ratings.discharge_w, left_w),
        np.minimum(ratings.charge_w, room_w),
    )
    moved_wh = power_w * hours
    stored_wh = kept_wh + np.where(moved_wh > 0.0, moved_wh * ratings.efficiency, moved_wh / ratings.efficiency)
    terminal_w = power_w + ratings.standby_w
    registers = state.registers.add(terminal_w, step_s)
    share = stored_wh / ratings.energy_wh
    outputs = {
        "activePower": terminal_w,
        "stateOfCharge": np.clip(100.0 * share, 0.0, 100.0),
        "activeEnergyImport": registers.import_wh,
        "activeEnergyExport": registers.export_wh,
        "operatingState": _operating_state(power_w, share, ratings),
        "activePowerSetpoint": ordered(setpoint_w, 0.0) + np.zeros_like(power_w),
    }
    return State(stored_wh, registers), outputs


def _operating_state(power_w: Float64Array, share: Float64Array, ratings: Ratings) -> Float64Array:
    """Return the codes of SunSpec's ChaSt."""
    near = 1e-6
    rests = np.where(share >= ratings.highest - near, FULL, np.where(share <= ratings.lowest + near, EMPTY, HOLDING))
    return np.where(power_w > _MOVES_W, CHARGING, np.where(power_w < -_MOVES_W, DISCHARGING, rests))
