"""A fleet: devices of many kinds that share weather, homes and a network, stepped together.

The same seed, start, steps and orders give the same values, to the bit, on one machine. Everything is arrays of shape
(n,); no Python object stands for a device. Which value belongs to which point says the fleet's `layout.Layout`.

A home has a meter and perhaps a plant, a battery, a charger, a heat pump; its battery by itself takes what the home
would export and gives what it would import. Its voltage is that of the street less what its own power drops, as of the
step before and half-way (`grid_support`). Wind turbines and CHP plants stand by themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import numpy as np

from gridspine.energy.emulators import (
    battery,
    chp,
    ev_charger,
    heat_pump,
    load,
    meter,
    pv,
    weather,
    weather_station,
    wind_turbine,
)
from gridspine.energy.emulators.column import Outputs
from gridspine.energy.emulators.kept import pack, unpack
from gridspine.energy.emulators.layout import Layout, Orders
from gridspine.energy.emulators.mix import KINDS, Mix
from gridspine.kernel.errors import Invalid
from gridspine.kernel.readings import BoolArray, Float64Array, Int32Array, Int64Array
from gridspine.kernel.time import US

MAX_STEP_S = 3_600.0
_NOMINAL_V = 230.0
_DEVICES = ("meter", "pv", "battery", "ev_charger", "heat_pump", "wind_turbine", "chp")
"""Kinds of device that become something; a weather station only shows what is."""


@dataclass(slots=True)
class _Homes:
    """What hangs on each home, and how it is: the devices of a kind are in distinct homes, by number."""

    of: dict[str, Int64Array]
    households: load.Ratings
    using: load.State
    street_v: Float64Array
    resistance: Float64Array
    voltage_v: Float64Array
    power_w: Float64Array


class Fleet:
    """Devices of ``mix`` at ``place`` from ``seed``, beginning at ``start_us`` [µs since 1970].

    ``sky`` gives the weather at a time [µs since 1970], such as a recorded one; without it, it is made from the seed.
    """

    def __init__(
        self,
        mix: Mix,
        seed: int,
        start_us: int,
        place: weather.Place | None = None,
        sky: Callable[[int], weather.Weather] | None = None,
    ) -> None:
        for field in fields(mix):
            if getattr(mix, field.name) < 0:
                raise Invalid(f"{field.name}: {getattr(mix, field.name)} devices are none")
        self.layout = Layout.of(
            {kind: (getattr(mix, kind), m.MODEL, m.POINTS, m.SETTINGS) for kind, m in KINDS.items()}
        )
        self.place = place or weather.Place()
        self.now_us = start_us
        self._seed = seed
        self._random = random = np.random.default_rng(seed)
        self._sky = sky
        self._orders = {block.kind: Orders(block) for block in self.layout.blocks}
        self._homes = _homes(mix, random)
        self._weather_state = weather.State.draw(random)
        self._deviation_hz = 0.0
        self._meter = meter.Ratings.draw(mix.meter, random), meter.State.new(mix.meter)
        self._pv = pv.Ratings.draw(mix.pv, random), pv.State.new(mix.pv)
        stores = battery.Ratings.draw(mix.battery, random)
        self._battery = stores, battery.State.draw(stores, random)
        chargers = ev_charger.Ratings.draw(mix.ev_charger, random)
        self._ev_charger = chargers, ev_charger.State.draw(mix.ev_charger, start_us / US, random)
        pumps = heat_pump.Ratings.draw(mix.heat_pump, random)
        self._heat_pump = pumps, heat_pump.State.draw(pumps, random)
        self._wind_turbine = (
            wind_turbine.Ratings.draw(mix.wind_turbine, random),
            wind_turbine.State.new(mix.wind_turbine),
        )
        self._stations = weather_station.Ratings.draw(mix.weather_station, random)
        plants = chp.Ratings.draw(mix.chp, random)
        self._chp = plants, chp.State.draw(plants, random)

    def keep(self) -> bytes:
        """Return all that the fleet has become, to go on from: what it is itself follows from mix and seed."""
        return pack(self._kept(), self._random, seed=self._seed)

    def go_on(self, kept: bytes) -> None:
        """Be as the fleet was that said ``kept``: one of the same mix, seed and beginning.

        It goes on at its own time then. Raises `Corrupt` for what was not said by such a fleet, and is as before.
        """
        found = unpack(kept, self._kept(), self._random, seed=self._seed)
        self.now_us, self._weather_state, self._deviation_hz = found["now"], found["weather"], found["hertz"]
        homes = found["homes"]
        self._homes.using, self._homes.voltage_v, self._homes.power_w = homes["using"], homes["volts"], homes["watts"]
        for kind in _DEVICES:
            setattr(self, f"_{kind}", (getattr(self, f"_{kind}")[0], found[kind]))
        for kind, orders in self._orders.items():
            orders.value, orders.until_us = found["orders"][kind]["value"], found["orders"][kind]["until"]

    def _kept(self) -> dict[str, Any]:
        homes = self._homes
        orders = {kind: {"value": one.value, "until": one.until_us} for kind, one in self._orders.items()}
        return {
            "now": self.now_us, "weather": self._weather_state, "hertz": self._deviation_hz, "orders": orders,
            "homes": {"using": homes.using, "volts": homes.voltage_v, "watts": homes.power_w},
            **{kind: getattr(self, f"_{kind}")[1] for kind in _DEVICES},
        }  # fmt: skip

    def order(self, place: Int32Array, value: Float64Array, until_us: Int64Array) -> BoolArray:
        """Order ``value`` (n,) for the settings at ``place`` (n,) of the layout until ``until_us`` (n,).

        Returns which were taken, bool (n,): the others are no settings of the fleet. NaN ends an order.
        """
        taken = np.zeros(len(place), np.bool_)
        for orders in self._orders.values():
            taken |= orders.take(place, value, until_us)
        return taken

    def step(self, step_s: float) -> Float64Array:
        """Move on by ``step_s`` [s] and return what every point reads then, in order of the layout, float64 (m,)."""
        if not (isfinite(step_s) and 0.0 < step_s <= MAX_STEP_S):
            raise Invalid(f"a step is longer than 0 and at most {MAX_STEP_S:.0f} s, not {step_s} s")
        self.now_us += round(step_s * US)
        self._weather_state, sky = weather.step(self.place, self._weather_state, self.now_us / US, step_s, self._random)
        keep = float(np.exp(-step_s / 300.0))
        self._deviation_hz = (
            keep * self._deviation_hz + (1 - keep * keep) ** 0.5 * 0.02 * self._random.standard_normal()
        )
        if self._sky is not None:
            sky = self._sky(self.now_us)
        outputs = self._at_homes(sky, step_s) | self._alone(sky, step_s)
        values = np.empty(self.layout.size)
        for block in self.layout.blocks:
            block.put(values, outputs[block.kind])
        return values

    def _at_homes(self, sky: weather.Weather, step_s: float) -> dict[str, Outputs]:
        homes, outputs = self._homes, dict[str, Outputs]()
        hour = (self.now_us / US / 3600.0 + self.place.longitude / 15.0) % 24.0
        homes.using, used_w = load.step(homes.households, homes.using, step_s, hour, self._random)
        net_w = used_w.copy()
        hertz = 50.0 + self._deviation_hz
        ratings, state = self._pv
        volts = homes.voltage_v[homes.of["pv"]]
        state, outputs["pv"] = pv.step(
            ratings, state, step_s, sky, volts, hertz, self._ordered("pv", "activePowerLimit")
        )
        self._pv = ratings, state
        self._step_charger(outputs, step_s)
        self._step_pump(outputs, sky, used_w, step_s)
        for kind in ("pv", "ev_charger", "heat_pump"):
            net_w[homes.of[kind]] += outputs[kind]["activePower"]
        stores, held = self._battery
        rule_w = -net_w[homes.of["battery"]]
        held, outputs["battery"] = battery.step(
            stores, held, step_s, rule_w, self._ordered("battery", "activePowerSetpoint")
        )
        self._battery = stores, held
        net_w[homes.of["battery"]] += outputs["battery"]["activePower"]
        self._settle_voltage(net_w, step_s)
        meters, counted = self._meter
        at = homes.of["meter"]
        counted, outputs["meter"] = meter.step(meters, counted, step_s, net_w[at], homes.voltage_v[at], hertz)
        self._meter = meters, counted
        return outputs

    def _step_charger(self, outputs: dict[str, Outputs], step_s: float) -> None:
        chargers, sessions = self._ev_charger
        begun_s = self.now_us / US - step_s
        volts = self._homes.voltage_v[self._homes.of["ev_charger"]]
        limit_a = self._ordered("ev_charger", "currentLimit")
        sessions, outputs["ev_charger"] = ev_charger.step(
            chargers, sessions, begun_s, step_s, self._random, limit_a, volts
        )
        self._ev_charger = chargers, sessions

    def _step_pump(
        self, outputs: dict[str, Outputs], sky: weather.Weather, used_w: Float64Array, step_s: float
    ) -> None:
        """People, appliances and the sun in the windows heat the houses too."""
        pumps, houses = self._heat_pump
        gains_w = 0.5 * used_w[self._homes.of["heat_pump"]] + 3.0 * sky.ghi
        limit_w, mode = self._ordered("heat_pump", "activePowerLimit"), self._ordered("heat_pump", "sgReadyMode")
        houses, outputs["heat_pump"] = heat_pump.step(pumps, houses, step_s, sky.air, gains_w, limit_w, mode)
        self._heat_pump = pumps, houses

    def _alone(self, sky: weather.Weather, step_s: float) -> dict[str, Outputs]:
        turbines, spinning = self._wind_turbine
        gusts = self._random.normal(1.0, 0.05, len(turbines.hub_m))
        wind = wind_turbine.hub_speed(sky.wind, turbines.hub_m) * np.maximum(gusts, 0.0)
        density = 101_325.0 / (287.05 * (sky.air + 273.15))
        spinning, turned = wind_turbine.step(
            turbines, spinning, step_s, wind, density, self._ordered("wind_turbine", "activePowerLimit")
        )
        self._wind_turbine = turbines, spinning
        plants, running = self._chp
        demand = 0.06 + 0.9 * min(max((17.0 - sky.air) / 27.0, 0.0), 1.0)
        demand_w = demand * plants.power_w * plants.thermal / plants.electric
        setpoint_w = self._ordered("chp", "activePowerSetpoint")
        running, burnt = chp.step(plants, running, step_s, demand_w, setpoint_w)
        self._chp = plants, running
        return {"wind_turbine": turned, "chp": burnt, "weather_station": weather_station.step(self._stations, sky)}

    def _ordered(self, kind: str, name: str) -> Float64Array | None:
        orders = self._orders.get(kind)
        return None if orders is None else orders.now(name, self.now_us)

    def _settle_voltage(self, net_w: Float64Array, step_s: float) -> None:
        """Go half-way to the voltage that the homes' powers make: all the way, curves and networks would swing."""
        homes = self._homes
        common_v = 1.5 * self._weather_state.wind * 0.5 + 50.0 * self._deviation_hz
        target_v = homes.street_v + common_v - homes.resistance * net_w / _NOMINAL_V
        share = 1.0 - 0.5 ** max(step_s / 60.0, 0.2)
        homes.voltage_v = homes.voltage_v + min(share, 0.5) * (np.clip(target_v, 180.0, 280.0) - homes.voltage_v)
        homes.power_w = net_w


def _homes(mix: Mix, random: np.random.Generator) -> _Homes:
    count = mix.homes
    of = {"meter": np.arange(mix.meter)}
    for kind in ("pv", "battery", "ev_charger", "heat_pump"):
        of[kind] = np.sort(random.permutation(count)[: getattr(mix, kind)])
    return _Homes(
        of,
        load.Ratings.draw(count, random),
        load.State.draw(count, random),
        random.normal(_NOMINAL_V + 2.0, 2.0, count),
        random.uniform(0.05, 0.3, count),
        np.full(count, _NOMINAL_V),
        np.zeros(count),
    )
