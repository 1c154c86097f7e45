"""Meters at a connection point: what flows there, seen through the meter's error.

A meter of an accuracy class c is taken to have a constant gain error drawn from ±c/2 (a good meter of its class), the
same for power and energy, so that its registers are the sum of what it shows. Network frequency is one number for all.

Source: the classes A, B, C (2, 1, 0.5 %) of EN 50470-3 as the Measuring Instruments Directive names them; the clauses
were not read.
"""

from dataclasses import dataclass

import numpy as np

from gridspine.energy.emulators.column import Outputs, Registers
from gridspine.kernel.readings import Float64Array

MODEL = "https://gridspine.org/models/meter"
POINTS = ("activePower", "voltage", "frequency", "activeEnergyImport", "activeEnergyExport")
SETTINGS = ()
CLASS_B = 0.01


@dataclass(frozen=True, slots=True)
class Ratings:
    """``gain`` float64 (n,): what each meter multiplies power by."""

    gain: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator, accuracy: float = CLASS_B) -> "Ratings":
        """Return ``count`` meters within half of the class ``accuracy`` [share of the value]."""
        return cls(1.0 + random.uniform(-accuracy / 2.0, accuracy / 2.0, count))


@dataclass(frozen=True, slots=True)
class State:
    """The registers of n meters."""

    registers: Registers

    @classmethod
    def new(cls, count: int) -> "State":
        """Return ``count`` new meters."""
        return cls(Registers.zero(count))


def step(
    ratings: Ratings,
    state: State,
    step_s: float,
    power_w: Float64Array,
    voltage_v: Float64Array,
    frequency_hz: float,
) -> tuple[State, Outputs]:
    """Move on by ``step_s`` [s] with ``power_w`` (n,) [W, import positive] flowing at ``voltage_v`` (n,) [V]."""
    seen_w = power_w * ratings.gain
    registers = state.registers.add(seen_w, step_s)
    outputs = {
        "activePower": seen_w,
        "voltage": voltage_v,
        "frequency": np.full(len(seen_w), frequency_hz),
        "activeEnergyImport": registers.import_wh,
        "activeEnergyExport": registers.export_wh,
    }
    return State(registers), outputs
