"""The weather over a neighbourhood, made from a seed: sun, sky, air and wind at one place.

* **Sun**: NREL's solar position algorithm, by pvlib; a clear sky by Haurwitz (1945), tested against pvlib.
* **Sky**: a clearness between 0.1 and 1 from an Ornstein-Uhlenbeck process; global irradiance is that times the clear
  sky's, split into direct and diffuse by Erbs, Klein and Duffie (1982).
* **Air**: a mean by the season and the hour, with a slow deviation.
* **Wind**: Weibull distributed (shape 2) with a memory of hours.

The parameters are a temperate place's and ours. There is one sky for all, so the plants of a neighbourhood rise and
fall together more than real ones do. Recorded weather may stand in for it: all kinds take `Weather`, a fleet a ``sky``.
"""

from dataclasses import dataclass
from math import cos, erfc, exp, log, pi, radians, sin, sqrt

import numpy as np
from pvlib import spa

from gridspine.kernel.readings import Float64Array

_DELTA_T_S = 69.0
"""Terrestrial time less UT1, about 2020 [s]; an error of a second moves the sun by 15 seconds of arc."""
_CLOUDS_S, _AIR_S, _WIND_S = 2_400.0, 200_000.0, 20_000.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where: ``latitude``, ``longitude`` [degrees, WGS 84], ``altitude_m`` [m]."""

    latitude: float = 50.9
    longitude: float = 6.9
    altitude_m: float = 60.0


@dataclass(frozen=True, slots=True)
class Weather:
    """One moment at one place.

    ``zenith`` (apparent) and ``azimuth`` of the sun [degrees, from north by east]; ``ghi``, ``dni``, ``dhi`` and
    ``extra`` (beyond the air) irradiances [W/m²]; ``air`` [degC]; ``wind`` at 10 m [m/s].
    """

    zenith: float
    azimuth: float
    ghi: float
    dni: float
    dhi: float
    extra: float
    air: float
    wind: float


@dataclass(frozen=True, slots=True)
class State:
    """The deviations of sky, air and wind, each a standard normal number of its own pace."""

    clouds: float
    air: float
    wind: float

    @classmethod
    def draw(cls, random: np.random.Generator) -> "State":
        """Return any weather."""
        clouds, air, wind = random.standard_normal(3).tolist()
        return cls(clouds, air, wind)


def sun(place: Place, now_s: float) -> tuple[float, float]:
    """Return apparent zenith and azimuth of the sun [degrees] at ``now_s`` [s since 1970]."""
    zenith, azimuth = sun_path(place, np.array([now_s]))
    return float(zenith[0]), float(azimuth[0])


def sun_path(place: Place, times_s: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return apparent zenith and azimuth (n,) of the sun [degrees] at ``times_s`` (n,) [s since 1970]."""
    found = spa.solar_position_numpy(
        times_s, place.latitude, place.longitude, place.altitude_m, 1013.25, 12.0, _DELTA_T_S, 0.5667, 1
    )
    return found[0], found[4]


def step(place: Place, state: State, now_s: float, step_s: float, random: np.random.Generator) -> tuple[State, Weather]:
    """Return the weather at ``now_s`` [s since 1970], ``step_s`` [s] after the last."""
    noise = random.standard_normal(3).tolist()
    after = State(
        _drift(state.clouds, noise[0], step_s / _CLOUDS_S),
        _drift(state.air, noise[1], step_s / _AIR_S),
        _drift(state.wind, noise[2], step_s / _WIND_S),
    )
    zenith, azimuth = sun(place, now_s)
    clear = clear_sky(zenith)
    clearness = float(np.clip(0.72 + 0.3 * after.clouds, 0.1, 1.0))
    return after, Weather(
        zenith,
        azimuth,
        *split(clear * clearness, zenith, extra := extraterrestrial(now_s)),
        extra,
        _air(now_s, place) + 4.0 * after.air,
        _weibull(after.wind),
    )


def clear_sky(zenith: float) -> float:
    """Return the global irradiance [W/m²] of a clear sky by Haurwitz, with the sun at ``zenith`` [degrees]."""
    height = cos(radians(zenith))
    return 1098.0 * height * exp(-0.059 / height) if height > 0.0 else 0.0


def split(ghi: float, zenith: float, extra: float) -> tuple[float, float, float]:
    """Return global, direct normal and diffuse irradiance [W/m²] of ``ghi`` by Erbs' correlation, straight written.

    Source: Erbs, Klein and Duffie, Solar Energy 28 (1982), as pvlib's documentation gives it; tested against pvlib.
    """
    height = cos(radians(zenith))
    if ghi <= 0.0 or height <= 0.065:
        return ghi, 0.0, ghi
    kt = min(max(ghi / (extra * height), 0.0), 2.0)
    if kt <= 0.22:
        share = 1.0 - 0.09 * kt
    elif kt <= 0.8:
        share = 0.9511 - 0.1604 * kt + 4.388 * kt**2 - 16.638 * kt**3 + 12.336 * kt**4
    else:
        share = 0.165
    diffuse = ghi * share
    return ghi, (ghi - diffuse) / height, diffuse


def extraterrestrial(now_s: float) -> float:
    """Return the irradiance beyond the air [W/m²], by Spencer (1971)."""
    angle = 2.0 * pi * ((now_s / 86_400.0) % 365.2425) / 365.2425
    first = 0.034221 * cos(angle) + 0.00128 * sin(angle)
    second = 0.000719 * cos(2.0 * angle) + 7.7e-05 * sin(2.0 * angle)
    return 1366.1 * (1.00011 + first + second)


def _air(now_s: float, place: Place) -> float:
    """Return the usual temperature [degC]: coldest at the end of January (north), and an hour before sunrise."""
    season = 2.0 * pi * ((now_s / 86_400.0) % 365.2425 - 25.0) / 365.2425
    hour = (now_s / 3600.0 + place.longitude / 15.0) % 24.0
    sign = 1.0 if place.latitude >= 0.0 else -1.0
    return 10.5 - sign * 8.0 * cos(season) - 3.5 * cos(2.0 * pi * (hour - 3.5) / 24.0)


def _drift(value: float, noise: float, pace: float) -> float:
    keep = exp(-pace)
    return value * keep + noise * sqrt(1.0 - keep * keep)


def _weibull(normal: float, mean: float = 5.0) -> float:
    """Return the speed [m/s] of a Rayleigh distribution (Weibull, shape 2) at the rank of a standard normal number."""
    above = min(max(0.5 * erfc(normal / sqrt(2.0)), 1e-12), 1.0)
    return 2.0 * mean / sqrt(pi) * sqrt(-log(above))
