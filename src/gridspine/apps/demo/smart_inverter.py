"""An inverter with grid support functions, as a process of its own: SunSpec Modbus, panels and a battery behind it.

``python -m gridspine.apps.demo.smart_inverter --port 5023 --seed 7 --hour 12``

It shares no code with the node. Its chain is 1, 701, 702, 704, 705, 706, 707, 711, 712, 713, 715, 802. It follows set
points of active and reactive power, power factors, and its volt-var and volt-watt curves, each with a reversion timer
of its own; watt-var, frequency and trip curves are stored and adopted, and change nothing in its little physics. A
curve whose points do not ascend is not adopted. ``--network-v`` is the voltage it stands at.
"""

import argparse
import math
import random
import time
from collections.abc import Mapping
from itertools import pairwise

from gridspine.apps.demo.inverter import Sun
from gridspine.apps.demo.stored_curves import Adoption
from gridspine.apps.demo.sunspec_device import Function, Timer, arguments, common, run
from gridspine.apps.demo.sunspec_registers import Registers
from gridspine.apps.demo.sunspec_tables import CURVES, POINTS

RATED_W = 6000
NOMINAL_V = 230.0
_LIMIT = Function(
    704, "WMaxLimPctEna", "WMaxLimPctRvrtTms", ("WMaxLimPct",), "WMaxLimPctRvrtRem", "WMaxLimPctEnaRvrt",
    ("WMaxLimPctRvrt",),
)  # fmt: skip
_SET = Function(704, "WSetEna", "WSetRvrtTms", ("WSet",), "WSetRvrtRem", "WSetEnaRvrt", ("WSetRvrt",))
_VAR = Function(704, "VarSetEna", "VarSetRvrtTms", ("VarSet",), "VarSetRvrtRem", "VarSetEnaRvrt", ("VarSetRvrt",))
_FACTORS = tuple(
    Function(
        704, f"{name}Ena", f"{name}RvrtTms", (f"{name}.PF", f"{name}.Ext"), f"{name}RvrtRem", f"{name}EnaRvrt",
        (f"{name}Rvrt.PF", f"{name}Rvrt.Ext"),
    )
    for name in ("PFWInj", "PFWAbs")
)  # fmt: skip
_VOLT_VAR = ((920, 440), (980, 0), (1020, 0), (1080, -440))
_VOLT_WATT = ((1060, 1000), (1100, 200))
_WATT_VAR = ((200, 0), (500, 0), (1000, -440))
_TRIP = ((500, 200), (700, 2000), (880, 2000))


def _curves(
    set_: str, points: tuple[tuple[int, int], ...], x: str, y: str, zones: tuple[str, ...] = ("",)
) -> dict[str, int]:
    """Return the stored sets of a function, all alike; the first is read only."""
    found: dict[str, int] = {}
    for number in range(1, CURVES + 1):
        found[f"{set_}.{number}.ReadOnly"] = int(number == 1)
        for zone in zones:
            found[f"{set_}.{number}.{zone}ActPt"] = len(points)
            for at in range(1, POINTS + 1):
                here = points[min(at, len(points)) - 1]
                found |= {f"{set_}.{number}.{zone}Pt.{at}.{x}": here[0], f"{set_}.{number}.{zone}Pt.{at}.{y}": here[1]}
    return found


def _adopted(count: str = "NCrv", reversion: str = "RvrtCrv") -> dict[str, int]:
    found = {"Ena": 0, "AdptCrvReq": 0, "AdptCrvRslt": 1, "NPt": POINTS, count: CURVES}
    return found | ({"RvrtTms": 0, "RvrtRem": 0, reversion: 2} if reversion else {})


def _each(names: Mapping[str, int]) -> dict[str, int]:
    return {f"Crv.{number}.{name}": raw for number in range(1, CURVES + 1) for name, raw in names.items()}


def _controls() -> dict[int, dict[str, int]]:
    """Return the first values of the functions' models."""
    factor: dict[str, int] = {}
    for name in ("PFWInj", "PFWAbs"):
        factor |= {f"{name}Ena": 0, f"{name}EnaRvrt": 0, f"{name}RvrtTms": 0, f"{name}RvrtRem": 0}
        factor |= {f"{name}.PF": 1000, f"{name}.Ext": 0, f"{name}Rvrt.PF": 1000, f"{name}Rvrt.Ext": 0}
    limit = {"WMaxLimPctEna": 0, "WMaxLimPct": 1000, "WMaxLimPctRvrt": 1000, "WMaxLimPctEnaRvrt": 0}
    limit |= {"WMaxLimPctRvrtTms": 0, "WMaxLimPctRvrtRem": 0, "WMaxLimPct_SF": -1, "PF_SF": -3}
    for name, mode in (("WSet", 1), ("VarSet", 4)):
        limit |= {f"{name}Ena": 0, f"{name}Mod": mode, name: 0, f"{name}Rvrt": 0, f"{name}EnaRvrt": 0}
        limit |= {f"{name}RvrtTms": 0, f"{name}RvrtRem": 0, f"{name}_SF": 0}
    droop = {f"Ctl.{number}.{name}": raw for number in range(1, CURVES + 1)
             for name, raw in {"DbOf": 36, "DbUf": 36, "KOf": 50, "KUf": 50, "RspTms": 5, "PMin": 0,
                               "ReadOnly": int(number == 1)}.items()}  # fmt: skip
    control = {"Ena": 0, "AdptCtlReq": 0, "AdptCtlRslt": 1, "NCtl": CURVES, "RvrtTms": 0, "RvrtRem": 0, "RvrtCtl": 2}
    return {
        704: factor | limit,
        705: _adopted() | {"V_SF": -1, "DeptRef_SF": -1, "RspTms_SF": 0} | _curves("Crv", _VOLT_VAR, "V", "Var")
        | _each({"DeptRef": 1, "Pri": 1, "VRef": 1000, "VRefAuto": 1000, "VRefAutoEna": 0})
        | _each({"VRefAutoTms": 300, "RspTms": 5}),
        706: _adopted() | {"V_SF": -1, "DeptRef_SF": -1, "RspTms_SF": 0} | _curves("Crv", _VOLT_WATT, "V", "W")
        | _each({"DeptRef": 0, "RspTms": 5}),
        707: _adopted("NCrvSet", "") | {"V_SF": -1, "Tms_SF": -3}
        | _curves("Crv", _TRIP, "V", "Tms", ("MustTrip.", "MayTrip.", "MomCess.")),
        711: control | {"Db_SF": -3, "K_SF": -3, "RspTms_SF": 0} | droop,
        712: _adopted() | {"W_SF": -1, "DeptRef_SF": -1} | _curves("Crv", _WATT_VAR, "W", "Var")
        | _each({"DeptRef": 1, "Pri": 1}),
    }  # fmt: skip


def _models(seed: int, fault: str) -> dict[int, Mapping[str, int | str]]:
    ratings = {"WMaxRtg": RATED_W, "VAMaxRtg": RATED_W, "WMax": RATED_W, "VAMax": RATED_W, "VNom": 2300}
    bank = {"SoCMin": 50, "SocRsvMax": 1000, "SoCRsvMin": 100, "LocRemCtl": 0, "AlmRst": 0, "Typ": 4, "State": 3}
    controls = _controls()
    if fault == "no-timer":
        controls[704] = {name: raw for name, raw in controls[704].items() if not name.endswith(("RvrtTms", "RvrtRem"))}
    return {
        1: common("SM-6000", seed),
        701: {"ACType": 0, "St": 1, "InvSt": 3, "ConnSt": 1, "Alrm": 0, "V_SF": -1, "Hz_SF": -2, "W_SF": 0, "VA_SF": 0}
        | {"Var_SF": 0, "TotWh_SF": 0},
        702: ratings | {"W_SF": 0, "VA_SF": 0, "V_SF": -1},
        **controls,
        713: {"WHRtg": 1000, "SoH": 1000, "Sta": 0, "WH_SF": 1, "Pct_SF": -1},
        715: {"LocRemCtl": 0, "DERHb": 0, "ControllerHb": 0, "AlarmReset": 0, "OpCtl": 1},
        802: bank | {"SetOp": 1, "SetInvState": 3, "SoC_SF": -1, "V_SF": -1, "A_SF": -1, "ChaSt": 6, "Evt1": 0},
    }  # fmt: skip


class SmartInverter:
    """Sun, functions and registers."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._sun = Sun(options.seed, options.hour, options.day_s)
        self._random = random.Random(options.seed)  # noqa: S311 - a demonstration repeats itself
        self._network_v = options.network_v
        self.registers = Registers(options.base, _models(options.seed, options.fault))
        self.registers.set(715, "LocRemCtl", int(options.fault == "local"))
        self.timers = [Timer(self.registers, one) for one in (_LIMIT, _SET, _VAR, *_FACTORS)]
        self.timers += [Adoption(self.registers, model) for model in (705, 706, 707, 711, 712)]
        self.power_w = self.reactive_var = 0.0
        self.energy_wh = {"export": 1e6, "import": 1e5}
        self._elapsed_s = 0.0

    def step(self, step_s: float) -> None:
        """Move on by ``step_s`` [s]: power, then reactive power, as the functions in force have it."""
        self._elapsed_s += step_s
        registers = self.registers
        volt = 100.0 * self._network_v / NOMINAL_V
        generated_w = self._sun.available_w(self._elapsed_s)
        if registers.get(704, "WSetEna"):
            generated_w = float(registers.get(704, "WSet"))
        most_w = float(RATED_W)
        if registers.get(704, "WMaxLimPctEna"):
            most_w = RATED_W * registers.get(704, "WMaxLimPct") / 1000.0
        if registers.get(706, "Ena"):
            most_w = min(most_w, RATED_W * self._on_curve(706, volt, "W") / 100.0)
        self.power_w = -min(generated_w, most_w) if registers.get(715, "OpCtl") == 1 else 0.0
        self.reactive_var = -self._injected_var(volt)
        self.energy_wh["export" if self.power_w < 0 else "import"] += abs(self.power_w) * step_s / 3600.0
        self._measure()

    def _injected_var(self, volt_percent: float) -> float:
        """Return the reactive power it gives [var]: what is set, else by power factor, else by its volt-var curve."""
        registers = self.registers
        if registers.get(704, "VarSetEna"):
            return float(registers.get(704, "VarSet"))
        name = "PFWInj" if self.power_w <= 0 else "PFWAbs"
        if registers.get(704, f"{name}Ena"):
            factor = max(0.1, registers.get(704, f"{name}.PF") / 1000.0)
            size = abs(self.power_w) * math.tan(math.acos(min(1.0, factor)))
            return -size if registers.get(704, f"{name}.Ext") else size
        if registers.get(705, "Ena"):
            return RATED_W * 0.44 * self._on_curve(705, volt_percent, "Var") / 100.0
        return 0.0

    def _on_curve(self, model: int, volt_percent: float, y: str) -> float:
        """Return what the first stored curve, which is in force, says at a voltage [% of nominal]."""
        registers = self.registers
        count = registers.get(model, "Crv.1.ActPt")
        points = [
            (registers.get(model, f"Crv.1.Pt.{at}.V") / 10.0, registers.get(model, f"Crv.1.Pt.{at}.{y}") / 10.0)
            for at in range(1, count + 1)
        ]
        if not points or volt_percent <= points[0][0]:
            return points[0][1] if points else 0.0
        for (x0, y0), (x1, y1) in pairwise(points):
            if volt_percent <= x1:
                return y0 + (y1 - y0) * (volt_percent - x0) / (x1 - x0)
        return points[-1][1]

    def _measure(self) -> None:
        watt, var = round(-self.power_w), round(-self.reactive_var)
        values = {"W": watt, "Var": var, "VA": round(math.hypot(watt, var)), "LNV": round(10 * self._network_v)}
        values |= {"Hz": round(100 * (50.0 + self._random.gauss(0.0, 0.004)))}
        values |= {"TotWhInj": round(self.energy_wh["export"]), "TotWhAbs": round(self.energy_wh["import"])}
        for name, value in values.items():
            self.registers.set(701, name, value)
        self.registers.set(713, "SoC", 550)
        self.registers.set(802, "SoC", 550)
        self.registers.set(715, "DERHb", int(self._elapsed_s) % (1 << 16))
        if self.registers.get(715, "AlarmReset"):
            self.registers.set(715, "AlarmReset", 0)


def main() -> None:
    """Read the options and serve."""
    parser = arguments("A PV and battery inverter of 6 kW with grid support functions that speaks SunSpec.", "smart")
    parser.add_argument("--day-s", type=float, default=86_400.0, help="how long a day takes [s]")
    parser.add_argument("--hour", type=float, default=time.time() / 3600.0 % 24.0, help="hour of the day to start at")
    parser.add_argument("--network-v", type=float, default=NOMINAL_V, help="voltage of the network [V]")
    options = parser.parse_args()
    run(SmartInverter(options), options)


if __name__ == "__main__":
    main()
