"""Weather stations: the sky that all devices of a fleet live under, as instruments show it.

Relative humidity is e(T_d) / e(T), with the vapour pressure e by Magnus' formula (the coefficients of the World
Meteorological Organization's Guide No. 8 as they are widely repeated, the guide was not read) and a dew point T_d some
kelvin below the air's temperature, more of them the clearer the sky. Each station has a small error of its own.
"""

from dataclasses import dataclass
from math import exp

import numpy as np

from gridspine.energy.emulators.column import Outputs
from gridspine.energy.emulators.weather import Weather, clear_sky
from gridspine.kernel.readings import Float64Array

MODEL = "https://gridspine.org/models/weather_station"
POINTS = ("airTemperature", "relativeHumidity", "windSpeed", "globalIrradiance")
SETTINGS = ()
_DRIEST_K, _DAMPEST_K = 12.0, 2.0
"""How far the dew point lies below the air, under a clear sky at noon and under a closed one."""


@dataclass(frozen=True, slots=True)
class Ratings:
    """``bias_k`` float64 (n,): the error of each thermometer [K]; ``gain`` (n,) of each anemometer and pyranometer."""

    bias_k: Float64Array
    gain: Float64Array

    @classmethod
    def draw(cls, count: int, random: np.random.Generator) -> "Ratings":
        """Return ``count`` stations, good to 0.2 K and 2 %."""
        return cls(random.uniform(-0.2, 0.2, count), random.uniform(0.98, 1.02, count))


def humidity(air: float, dew_point: float) -> float:
    """Return the relative humidity [%] of air at ``air`` with ``dew_point`` [degC]."""
    return 100.0 * exp(17.62 * dew_point / (243.12 + dew_point) - 17.62 * air / (243.12 + air))


def step(ratings: Ratings, sky: Weather) -> Outputs:
    """Return what the stations show."""
    clear = clear_sky(sky.zenith)
    dryness = min(sky.ghi / clear, 1.0) * min(clear / 800.0, 1.0) if clear > 0.0 else 0.0
    damp = humidity(sky.air, sky.air - _DAMPEST_K - (_DRIEST_K - _DAMPEST_K) * dryness)
    return {
        "airTemperature": sky.air + ratings.bias_k,
        "relativeHumidity": np.full(len(ratings.gain), min(damp, 100.0)),
        "windSpeed": sky.wind * ratings.gain,
        "globalIrradiance": max(sky.ghi, 0.0) * ratings.gain,
    }
