"""Houses as two lumps of heat: the air with what it touches, and the heavy parts of the building.

::

    outside ──R_v── air ──R_m── mass ──R_w── outside          C_a dT_a/dt = (T_o−T_a)/R_v + (T_m−T_a)/R_m + Φ
                                                              C_m dT_m/dt = (T_a−T_m)/R_m + (T_o−T_m)/R_w

Φ is what heats the air [W]: the heating, people and appliances, the sun. The pair of equations is linear: a step under
constant inputs is solved exactly, by the two eigenvalues of its matrix, whatever the length of the step.

Source: grey-box models of Bacher and Madsen, "Identifying suitable models for the heat dynamics of buildings", Energy
and Buildings 43 (2011), the two-state structure. Not scored: the recorded homes have no indoor temperatures.
"""

from dataclasses import dataclass

import numpy as np

from gridspine.kernel.readings import Float64Array


@dataclass(frozen=True, slots=True)
class Ratings:
    """``to_outside``, ``to_mass``, ``mass_to_outside`` conductances [W/K]; ``air``, ``mass`` capacities [J/K]; (n,)."""

    to_outside: Float64Array
    to_mass: Float64Array
    mass_to_outside: Float64Array
    air: Float64Array
    mass: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator) -> "Ratings":
        """Return ``count`` detached houses: they lose 100 to 250 W/K, with time constants of one to three days."""
        loss = random.uniform(100.0, 250.0, count)
        constant_s = 3600.0 * random.uniform(25.0, 70.0, count)
        capacity = loss * constant_s
        return cls(0.6 * loss, 6.0 * loss, 0.4 * loss, 0.1 * capacity, 0.9 * capacity)

    @property
    def loss(self) -> Float64Array:
        """What the house loses in all once it is warm through [W/K], (n,)."""
        return self.to_outside + self.to_mass * self.mass_to_outside / (self.to_mass + self.mass_to_outside)


@dataclass(frozen=True, slots=True)
class State:
    """``air``, ``mass`` temperatures (n,) [degC]."""

    air: Float64Array
    mass: Float64Array


@dataclass(frozen=True, slots=True)
class Flow:
    """What crossed the walls in a step (n,) [J, outwards positive]."""

    outwards_j: Float64Array


def step(
    ratings: Ratings, state: State, step_s: float, outside: Float64Array | float, heat_w: Float64Array
) -> tuple[State, Flow]:
    """Move on by ``step_s`` [s] with ``heat_w`` (n,) [W] into the air and ``outside`` [degC].

    What crossed the walls is the integral of the same solution, so that heat in = heat kept + heat out, exactly.
    """
    a = -(ratings.to_outside + ratings.to_mass) / ratings.air
    b = ratings.to_mass / ratings.air
    c = ratings.to_mass / ratings.mass
    d = -(ratings.to_mass + ratings.mass_to_outside) / ratings.mass
    rise = heat_w / ratings.loss
    air_end = outside + rise
    mass_end = outside + rise * (ratings.to_mass / (ratings.to_mass + ratings.mass_to_outside))
    x, y = state.air - air_end, state.mass - mass_end
    middle, root = 0.5 * (a + d), np.sqrt(0.25 * (a - d) ** 2 + b * c)
    fast, slow = np.exp((middle - root) * step_s), np.exp((middle + root) * step_s)
    # exp(M t) = slow · (M − λ_fast I)/(2 root) − fast · (M − λ_slow I)/(2 root)
    even, odd = 0.5 * (slow + fast), 0.5 * (slow - fast) / root
    air = air_end + even * x + odd * ((a - middle) * x + b * y)
    mass = mass_end + even * y + odd * (c * x + (d - middle) * y)
    kept_j = ratings.air * (air - state.air) + ratings.mass * (mass - state.mass)
    return State(air, mass), Flow(heat_w * step_s - kept_j)
