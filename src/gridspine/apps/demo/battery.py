"""A home battery, as a process of its own: a SunSpec Modbus TCP server with a store of energy behind it.

``python -m gridspine.apps.demo.battery --port 5022 --seed 7 --home-port 5007``

It shares no code with the node. Its chain is 1, 701, 702, 704, 713, 802, or with ``--legacy`` 1, 103, 124, 802.
Discharging is positive in registers 701 and 704, as SunSpec has it; charging is positive on the wire in the wall. A
set-point with a reversion time ends by itself in the battery; it then rests at 0 W, its own rule.
"""

import argparse
import random
from collections.abc import Mapping

from gridspine.apps.demo.sunspec_device import Function, Timer, arguments, common, run
from gridspine.apps.demo.sunspec_registers import Registers

RATED_W = 5000
RAMP_W_PER_S = 5000.0
EFFICIENCY = 0.95
LOWEST_PERCENT = 5.0
_SET = Function(704, "WSetEna", "WSetRvrtTms", ("WSet",), "WSetRvrtRem", "WSetEnaRvrt", ("WSetRvrt",))
_OLD_SET = Function(124, "StorCtl_Mod", "InOutWRte_RvrtTms", ("InWRte", "OutWRte"))
_EMPTY, _DISCHARGING, _CHARGING, _FULL, _HOLDING = 2, 3, 4, 5, 6
_MAY_CHARGE, _MAY_DISCHARGE = 1, 2


def _modern(seed: int, fault: str, capacity_wh: int) -> Mapping[int, Mapping[str, int | str]]:
    timer: dict[str, int | str] = {} if fault == "no-timer" else {"WSetRvrtTms": 0, "WSetRvrtRem": 0}
    return {
        1: common("BA-5000", seed),
        701: {"ACType": 0, "St": 1, "InvSt": 3, "ConnSt": 1, "Alrm": 0}
        | {"V_SF": -1, "Hz_SF": -2, "W_SF": -1 if fault == "wrong-scale" else 0, "VA_SF": 0, "TotWh_SF": 0},
        702: {"WMaxRtg": RATED_W, "WChaRteMaxRtg": RATED_W, "WDisChaRteMaxRtg": RATED_W, "WMax": RATED_W}
        | {"WChaRteMax": RATED_W, "WDisChaRteMax": RATED_W, "W_SF": 0},
        704: {"WSetEna": 0, "WSetMod": 1, "WSet": 0, "WSetRvrt": 0, "WSetEnaRvrt": 0} | timer | {"WSet_SF": 0},
        713: {"WHRtg": capacity_wh // 10, "SoH": 1000, "Sta": 0, "WH_SF": 1, "Pct_SF": -1},
        802: _bank(capacity_wh),
    }


def _legacy(seed: int, fault: str, capacity_wh: int) -> Mapping[int, Mapping[str, int | str]]:
    timer: dict[str, int | str] = {} if fault == "no-timer" else {"InOutWRte_RvrtTms": 0}
    return {
        1: common("BA-5000", seed),
        103: {"A_SF": -1, "V_SF": -1, "W_SF": -1 if fault == "wrong-scale" else 0, "Hz_SF": -2, "WH_SF": 0}
        | {"St": 4, "Tmp_SF": 0, "Evt1": 0, "Evt2": 0, "A": 0, "AphA": 0, "AphB": 0, "AphC": 0, "TmpCab": 25},
        124: {"WChaMax": RATED_W, "WChaGra": 100, "WDisChaGra": 100, "StorCtl_Mod": 0, "OutWRte": 10000}
        | timer
        | {"InWRte": 10000, "WChaMax_SF": 0, "WChaDisChaGra_SF": 0, "ChaState_SF": -1, "InOutWRte_SF": -2},
        802: _bank(capacity_wh),
    }


def _bank(capacity_wh: int) -> dict[str, int | str]:
    return {
        "AHRtg": capacity_wh // 50,
        "WHRtg": capacity_wh // 10,
        "WChaRteMax": RATED_W,
        "WDisChaRteMax": RATED_W,
        "SoCMin": round(10 * LOWEST_PERCENT),
        "LocRemCtl": 0,
        "AlmRst": 0,
        "Typ": 4,
        "State": 3,
        "Evt1": 0,
        "V": 512,
        "A": 0,
        "SetOp": 1,
        "SetInvState": 3,
        "AHRtg_SF": 0,
        "WHRtg_SF": 1,
        "WChaDisChaMax_SF": 0,
        "SoC_SF": -1,
        "V_SF": -1,
        "A_SF": -1,
        "W_SF": 0,
    }


class Battery:
    """Store, set-point and registers."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._random = random.Random(options.seed)  # noqa: S311 - a demonstration repeats itself
        self._function = _OLD_SET if options.legacy else _SET
        self._fault = options.fault
        self._capacity_wh: int = options.capacity_wh
        make = _legacy if options.legacy else _modern
        self.registers = Registers(options.base, make(options.seed, options.fault, options.capacity_wh))
        self.timers = [Timer(self.registers, self._function)]
        self.power_w = 0.0
        start = options.soc if options.soc is not None else self._random.uniform(40.0, 70.0)
        self.energy_wh: dict[str, float] = {"stored": start / 100.0 * self._capacity_wh, "import": 1e5, "export": 9e4}

    def step(self, step_s: float) -> None:
        """Move on by ``step_s`` [s]: ramp to the set-point as far as the store allows, count energy, measure."""
        wanted_w = self._allowed_w(self._wanted_w())
        ramp_w = RAMP_W_PER_S * step_s
        self.power_w += max(-ramp_w, min(ramp_w, wanted_w - self.power_w))
        self.power_w = self._allowed_w(self.power_w)
        moved_wh = self.power_w * step_s / 3600.0
        self.energy_wh["import" if moved_wh > 0 else "export"] += abs(moved_wh)
        stored_wh = self.energy_wh["stored"] + (moved_wh * EFFICIENCY if moved_wh > 0 else moved_wh / EFFICIENCY)
        self.energy_wh["stored"] = max(0.0, min(float(self._capacity_wh), stored_wh))
        self._measure()

    @property
    def _percent(self) -> float:
        return 100.0 * self.energy_wh["stored"] / self._capacity_wh

    def _wanted_w(self) -> float:
        """Return the set-point in force [W, charging positive], or 0: its own rule is to rest."""
        registers = self.registers
        if self._function is _SET:
            if registers.get(704, "WSetEna") and registers.get(704, "WSetMod") == 1:
                return -float(registers.get(704, "WSet"))
            return 0.0
        mode = registers.get(124, "StorCtl_Mod")
        most_in = registers.get(124, "InWRte") / 10_000 * RATED_W if mode & _MAY_CHARGE else RATED_W
        most_out = registers.get(124, "OutWRte") / 10_000 * RATED_W if mode & _MAY_DISCHARGE else RATED_W
        return min(max(0.0, -most_out), most_in)

    def _allowed_w(self, power_w: float) -> float:
        if (power_w > 0 and self._percent >= 100.0) or (power_w < 0 and self._percent <= LOWEST_PERCENT):
            return 0.0
        return float(max(-RATED_W, min(RATED_W, power_w)))

    def _state(self) -> int:
        if abs(self.power_w) >= 1.0:
            return _CHARGING if self.power_w > 0 else _DISCHARGING
        return _FULL if self._percent >= 100.0 else _EMPTY if self._percent <= LOWEST_PERCENT else _HOLDING

    def _measure(self) -> None:
        watt = round(self.power_w if self._fault == "reversed-sign" else -self.power_w)
        volt = round(10 * (231.0 - 0.0008 * self.power_w + self._random.gauss(0.0, 0.1)))
        hertz = round(100 * (50.0 + self._random.gauss(0.0, 0.004)))
        percent = round(10 * self._percent)
        put = self.registers.set
        put(802, "SoC", percent)
        put(802, "ChaSt", self._state())
        put(802, "W", watt)
        if self._function is _SET:
            ac = {"W": watt, "VA": abs(watt), "LNV": volt, "Hz": hertz}
            ac |= {"TotWhInj": round(self.energy_wh["export"]), "TotWhAbs": round(self.energy_wh["import"])}
            put(713, "SoC", percent)
            put(713, "WHAvail", round(self.energy_wh["stored"] / 10))
        else:
            ac = {"W": watt, "PhVphA": volt, "PhVphB": volt, "PhVphC": volt, "Hz": hertz}
            ac |= {"WH": round(self.energy_wh["export"])}
            put(124, "ChaState", percent)
            put(124, "ChaSt", self._state())
        for name, value in ac.items():
            put(701 if self._function is _SET else 103, name, value)


def main() -> None:
    """Read the options and serve."""
    parser = arguments("A home battery of 5 kW that speaks SunSpec.", "battery")
    parser.add_argument("--capacity-wh", type=int, default=10_000, help="rated energy [Wh]")
    parser.add_argument("--soc", type=float, help="state of charge at the start [%%]")
    options = parser.parse_args()
    run(Battery(options), options)


if __name__ == "__main__":
    main()
