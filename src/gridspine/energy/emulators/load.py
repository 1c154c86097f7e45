"""What households use, their own plants, chargers and heat pumps apart.

Of household i at local hour h:  P = E_i / 8760 h · shape(h + s_i) · exp(x_i − σ²/2), where E_i is what it uses in a
year, s_i shifts its day by some hours, and x is an Ornstein-Uhlenbeck process (mean 0, deviation σ, time constant τ):
what one household does differs from the mean shape by a factor that lasts for a while. exp(… − σ²/2) has the mean 1, so
energy over a year is E_i. Switching of single appliances within minutes is not modelled.

Shape, σ and τ were fitted to two of three recorded homes and scored on the third (``cases/load``,
``docs/emulators.md``); the step of the process is exact for any length (Gillespie 1996, Phys. Rev. E 54, 2084).
"""

from dataclasses import dataclass

import numpy as np

from gridspine.kernel.readings import Float64Array

SHAPE = np.array(
    [
        0.750, 0.705, 0.645, 0.645, 0.670, 0.800, 0.740, 0.735,
        0.805, 0.980, 0.980, 1.060, 0.900, 0.930, 0.980, 1.145,
        1.350, 1.395, 1.530, 1.470, 1.370, 1.235, 1.140, 1.040,
    ]
)  # fmt: skip
"""Mean power of the hour that begins at 0, 1, … 23 o'clock local time, share of the mean of the day."""
SIGMA, TAU_S = 0.8, 5_400.0


@dataclass(frozen=True, slots=True)
class Ratings:
    """``mean_w`` float64 (n,) mean power over the year [W]; ``shift_h`` (n,) how much later its day is [h]."""

    mean_w: Float64Array
    shift_h: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator, year_wh: float = 4_000e3) -> "Ratings":
        """Return ``count`` households that use ``year_wh`` [Wh] a year in the mean, spread by a third."""
        spread = random.lognormal(-0.5 * 0.35**2, 0.35, count)
        return cls(year_wh / 8760.0 * spread, random.normal(0.0, 1.0, count))


@dataclass(frozen=True, slots=True)
class State:
    """``deviation`` float64 (n,): the process x."""

    deviation: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator) -> "State":
        """Return households in their usual spread."""
        return cls(random.normal(0.0, SIGMA, count))


def step(
    ratings: Ratings, state: State, step_s: float, local_hour: float, random: np.random.Generator
) -> tuple[State, Float64Array]:
    """Move on by ``step_s`` [s] to ``local_hour`` [0…24); return the power used (n,) [W]."""
    keep = np.exp(-step_s / TAU_S)
    noise = random.standard_normal(len(ratings.mean_w))
    deviation = state.deviation * keep + noise * (SIGMA * np.sqrt(1.0 - keep * keep))
    power_w = ratings.mean_w * _shape(local_hour - ratings.shift_h) * np.exp(deviation - 0.5 * SIGMA * SIGMA)
    return State(deviation), power_w


def _shape(hour: Float64Array) -> Float64Array:
    """Return the shape at ``hour`` (n,), any real number, straight between the middles of hours."""
    at = (hour - 0.5) % 24.0
    low = at.astype(np.int64) % 24
    part = at - np.floor(at)
    here: Float64Array = SHAPE[low] * (1.0 - part) + SHAPE[(low + 1) % 24] * part
    return here
