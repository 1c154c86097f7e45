"""Orders as register values: signs, rounding, bounds; the registers are made by the demonstration devices' own code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modbus_bench import order

from gridspine.adapters.modbus.control import choose_control, holds, in_force, to_setting
from gridspine.adapters.modbus.mapping import builtin_mappings
from gridspine.adapters.modbus.sunspec import Chain, Instance
from gridspine.adapters.modbus.view import View
from gridspine.apps.demo.sunspec_registers import Registers
from gridspine.kernel.errors import Invalid

PV, BATTERY, SMART = builtin_mappings()
LIMIT = PV.properties["activePowerLimit"].controls
SETPOINT = BATTERY.properties["activePowerSetpoint"].controls
NOW_US = 1_767_225_600_000_000


def view(values: dict[int, dict[str, int | str]]) -> View:
    registers = Registers(40000, values)
    models, address = [], 40002
    while (model := registers.words[address - 40000]) != 0xFFFF:
        length = registers.words[address - 40000 + 1]
        models.append(Instance(model, address, length))
        address += 2 + length
    return View(Chain(40000, tuple(models)), dict(enumerate(registers.words, 40000)), NOW_US)


def inverter(scale: int, rated_w: int, **more: int) -> View:
    control = {"WMaxLimPctEna": 0, "WMaxLimPct": 0, "WMaxLimPctRvrt": 0, "WMaxLimPctEnaRvrt": 0}
    timer = {"WMaxLimPctRvrtTms": 0, "WMaxLimPctRvrtRem": 0, "WMaxLimPct_SF": scale}
    return view({702: {"WMax": rated_w, "W_SF": 0}, 704: control | timer | more})


def battery(scale: int, **more: int) -> View:
    values = {"WSetEna": 0, "WSetMod": 1, "WSet": 0, "WSetRvrt": 0, "WSetEnaRvrt": 0, "WSetRvrtTms": 0}
    return view({704: values | {"WSetRvrtRem": 0, "WSet_SF": scale} | more})


@given(st.floats(0, 20_000), st.integers(-2, 0), st.integers(100, 12_000))
def test_a_limit_is_never_above_what_was_asked(limit_w: float, scale: int, rated_w: int):
    device = inverter(scale, rated_w)
    asked = order(NOW_US, "activePowerLimit", limit_w, 60, fallback=20_000.0)
    setting = to_setting(choose_control(LIMIT, device), device, asked, "generator", NOW_US)
    limited = inverter(scale, rated_w, **{name: int(raw) for name, raw in setting.raw.items()}, WMaxLimPctEna=1)
    found = in_force(LIMIT[0], limited, "generator")
    assert found is not None
    step_w = rated_w * 10.0**scale / 100.0
    assert min(limit_w, rated_w) - step_w - 1e-3 <= found.value <= min(limit_w, rated_w) + 1e-3


@given(st.floats(-5000, 5000), st.integers(-2, 1))
def test_a_set_point_is_the_nearest_step_and_of_the_other_sign_in_the_device(power_w: float, scale: int):
    device = battery(scale)
    asked = order(NOW_US, "activePowerSetpoint", power_w, 60)
    setting = to_setting(choose_control(SETPOINT, device), device, asked, "storage", NOW_US)
    assert setting.raw["WSet"] == round(-power_w * 10.0**-scale)
    held = battery(scale, **{name: int(raw) for name, raw in setting.raw.items()}, WSetEna=1, WSetRvrtRem=60)
    found = in_force(SETPOINT[0], held, "storage")
    assert found is not None
    assert found.value == pytest.approx(power_w, abs=10.0**scale / 2 + 1e-9)
    assert holds(setting, held, timer_known=False)
    assert not holds(setting, device, timer_known=True)


@pytest.mark.parametrize(("left_s", "held"), [(0, False), (54, False), (56, True), (64, True), (66, False)])
def test_a_timer_that_would_end_too_early_or_too_late_is_not_the_lease_s(left_s: int, held: bool):
    device = battery(0, WSet=-500, WSetEna=1, WSetRvrtTms=60, WSetRvrtRem=left_s)
    setting = to_setting(SETPOINT[0], device, order(NOW_US, "activePowerSetpoint", 500.0, 60), "storage", NOW_US)
    assert holds(setting, device, timer_known=True) == held


def test_ending_asks_for_nothing_in_force_and_for_a_fallback_that_is_a_value():
    device = battery(0, WSet=-500, WSetEna=1)
    ended = order(NOW_US, "activePowerSetpoint", None, 60)
    assert to_setting(SETPOINT[0], device, ended, "storage", NOW_US).enable == 0
    setting = to_setting(
        SETPOINT[0], device, order(NOW_US, "activePowerSetpoint", None, 60, fallback=-300.0), "storage", NOW_US
    )
    assert (setting.enable, setting.raw["WSet"], setting.timer_s) == (1, 300, 0)


def test_what_a_device_cannot_hold_is_refused():
    with pytest.raises(Invalid, match="does not fit"):
        far = order(NOW_US, "activePowerSetpoint", 1e12, 60)
        to_setting(SETPOINT[0], battery(0), far, "storage", NOW_US)
    old = view({124: {"WChaMax": 3000, "StorCtl_Mod": 0, "OutWRte": 0, "InWRte": 0, "InOutWRte_RvrtTms": 0}
                | {"WChaMax_SF": 0, "InOutWRte_SF": -2}})  # fmt: skip
    with pytest.raises(Invalid, match="beyond"):
        to_setting(SETPOINT[1], old, order(NOW_US, "activePowerSetpoint", 3100.0, 60), "storage", NOW_US)
    with pytest.raises(Invalid, match="looked for 704, 124"):
        choose_control(SETPOINT, view({702: {"WMax": 1}}))


def test_a_set_point_given_in_another_mode_is_not_read_as_watts():
    assert in_force(SETPOINT[0], battery(0, WSet=-500, WSetEna=1, WSetMod=0), "storage") is None
