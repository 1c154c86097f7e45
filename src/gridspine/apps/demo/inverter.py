"""A photovoltaic inverter, as a process of its own: a SunSpec Modbus TCP server with a sun behind it.

``python -m gridspine.apps.demo.inverter --port 5021 --seed 7 --home-port 5007``

It shares no code with the node. Its chain is 1, 701, 702, 704, or with ``--legacy`` 1, 103, 120, 121, 123. Generation
is positive in its registers, as SunSpec has it, and negative on the wire in the wall. A limit with a reversion time
is lifted by the inverter itself when that has passed. ``--day-s 600`` lets a day go by in ten minutes; ``--hour``
says when to start (default: now, UTC).
"""

import argparse
import math
import random
import time
from collections.abc import Mapping

from gridspine.apps.demo.sunspec_device import Function, Timer, arguments, common, run
from gridspine.apps.demo.sunspec_registers import Registers

RATED_W = 6000
NIGHT_W = 4.0
_LIMIT = Function(
    704,
    "WMaxLimPctEna",
    "WMaxLimPctRvrtTms",
    ("WMaxLimPct",),
    "WMaxLimPctRvrtRem",
    "WMaxLimPctEnaRvrt",
    ("WMaxLimPctRvrt",),
)
_OLD_LIMIT = Function(123, "WMaxLim_Ena", "WMaxLimPct_RvrtTms", ("WMaxLimPct",))
_STATES = {"sleeping": 1, "running": 3, "throttled": 4}
_OLD_STATES = {"sleeping": 2, "running": 4, "throttled": 5}


class Sun:
    """Available power [W] over the day, with clouds from a seed; the same seed gives the same sky."""

    def __init__(self, seed: int, hour: float, day_s: float) -> None:
        self._seed, self._start_hour, self._day_s = seed, hour, day_s

    def hour(self, elapsed_s: float) -> float:
        """Return the hour of the day ``elapsed_s`` [s] after the start."""
        return (self._start_hour + 24.0 * elapsed_s / self._day_s) % 24.0

    def available_w(self, elapsed_s: float) -> float:
        """Return what the panels could give ``elapsed_s`` [s] after the start."""
        height = math.sin(math.pi * (self.hour(elapsed_s) - 6.0) / 12.0)
        return 0.97 * RATED_W * math.pow(max(0.0, height), 1.2) * self._sky(elapsed_s)

    def _sky(self, elapsed_s: float) -> float:
        """Return what the clouds let through, 0.35 to 1, drifting from one draw to the next every 20 minutes."""
        at = (self._start_hour * 3600.0 + 86_400.0 * elapsed_s / self._day_s) / 1200.0
        left, share = int(at), at - int(at)
        first, second = (random.Random(f"{self._seed}/{slot}").betavariate(4.0, 1.2) for slot in (left, left + 1))  # noqa: S311
        smooth = share * share * (3.0 - 2.0 * share)
        return 0.35 + 0.65 * (first + (second - first) * smooth)


def _modern(seed: int, fault: str) -> Mapping[int, Mapping[str, int | str]]:
    timer: dict[str, int | str] = {} if fault == "no-timer" else {"WMaxLimPctRvrtTms": 0, "WMaxLimPctRvrtRem": 0}
    return {
        1: common("PV-6000", seed),
        701: {"ACType": 0, "St": 1, "ConnSt": 1, "Alrm": 0, "TotWhAbs": 0}
        | {"V_SF": -1, "Hz_SF": -2, "W_SF": -1 if fault == "wrong-scale" else 0, "VA_SF": 0, "TotWh_SF": 0},
        702: {"WMaxRtg": RATED_W, "VAMaxRtg": RATED_W, "WMax": RATED_W, "VAMax": RATED_W, "W_SF": 0, "VA_SF": 0},
        704: {"WMaxLimPctEna": 0, "WMaxLimPct": 1000, "WMaxLimPctRvrt": 1000, "WMaxLimPctEnaRvrt": 0}
        | timer
        | {"WMaxLimPct_SF": -1},
    }


def _legacy(seed: int, fault: str) -> Mapping[int, Mapping[str, int | str]]:
    timer: dict[str, int | str] = {} if fault == "no-timer" else {"WMaxLimPct_RvrtTms": 0}
    return {
        1: common("PV-6000", seed),
        103: {"A_SF": -1, "V_SF": -1, "W_SF": -1 if fault == "wrong-scale" else 0, "Hz_SF": -2, "WH_SF": 0}
        | {"Tmp_SF": 0, "Evt1": 0, "Evt2": 0},
        120: {"DERTyp": 4, "WRtg": RATED_W, "WRtg_SF": 0},
        121: {"WMax": RATED_W, "WMax_SF": 0},
        123: {"Conn": 1, "WMaxLimPct": 100, "WMaxLim_Ena": 0, "WMaxLimPct_SF": 0} | timer,
    }


class Inverter:
    """Sun, limit and registers."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._sun = Sun(options.seed, options.hour, options.day_s)
        self._random = random.Random(options.seed)  # noqa: S311 - a demonstration repeats itself
        self._limit = _OLD_LIMIT if options.legacy else _LIMIT
        make = _legacy if options.legacy else _modern
        self._fault = options.fault
        self.registers = Registers(options.base, make(options.seed, options.fault))
        self.timers = [Timer(self.registers, self._limit)]
        self.power_w = 0.0
        self.energy_wh = {"export": self._random.uniform(1e6, 9e6)}
        self._elapsed_s = 0.0

    def step(self, step_s: float) -> None:
        """Move the sun on by ``step_s`` [s] and measure."""
        self._elapsed_s += step_s
        available_w = self._sun.available_w(self._elapsed_s)
        generated_w = min(available_w, self._ceiling_w())
        state = "sleeping" if available_w < 1.0 else "throttled" if generated_w < available_w else "running"
        self.power_w = NIGHT_W if state == "sleeping" else -generated_w
        self.energy_wh["export"] += max(0.0, -self.power_w) * step_s / 3600.0
        self._measure(-self.power_w, state)

    def _ceiling_w(self) -> float:
        limit = self._limit
        if not self.registers.get(limit.model, limit.enable):
            return RATED_W
        scale = self.registers.get(limit.model, "WMaxLimPct_SF")
        percent = self.registers.get(limit.model, limit.values[0]) * math.pow(10.0, scale)
        return RATED_W * min(100.0, percent) / 100.0

    def _measure(self, generated_w: float, state: str) -> None:
        told_w = -generated_w if self._fault == "reversed-sign" else generated_w
        volt = round(10 * (231.0 + 0.0008 * generated_w + self._random.gauss(0.0, 0.1)))
        hertz = round(100 * (50.0 + self._random.gauss(0.0, 0.004)))
        watt, energy = round(told_w), round(self.energy_wh["export"])
        if self._limit is _LIMIT:
            values = {"W": watt, "VA": abs(watt), "LNV": volt, "Hz": hertz, "TotWhInj": energy, "InvSt": _STATES[state]}
            model = 701
        else:
            values = {"W": watt, "PhVphA": volt, "PhVphB": volt, "PhVphC": volt, "Hz": hertz, "WH": energy}
            values |= {"St": _OLD_STATES[state], "A": 0, "AphA": 0, "AphB": 0, "AphC": 0, "TmpCab": 30}
            model = 103
        for name, value in values.items():
            self.registers.set(model, name, value)


def main() -> None:
    """Read the options and serve."""
    parser = arguments("A PV inverter of 6 kW that speaks SunSpec.", "pv")
    parser.add_argument("--day-s", type=float, default=86_400.0, help="how long a day takes [s]")
    parser.add_argument("--hour", type=float, default=time.time() / 3600.0 % 24.0, help="hour of the day to start at")
    options = parser.parse_args()
    run(Inverter(options), options)


if __name__ == "__main__":
    main()
