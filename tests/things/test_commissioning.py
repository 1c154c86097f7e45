"""Commissioning: planted faults are named, and healthy devices, of whatever kind, are not accused."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.things.checks import CHECKS
from gridspine.things.commissioning import examine
from gridspine.things.observed import Device, Observed, aligned, role_of, si

BEGIN_US = 1_760_000_000_000_000
PHASES = ("a", "b", "c")


def point(name, quantity, value, *, kind="instantaneous", flow="none", phase="all", step_s=10.0, late_s=1.0, **more):
    value = np.asarray(value, np.float64)
    observed = BEGIN_US + (np.arange(len(value)) * step_s * 1e6).astype(np.int64)
    received = observed + round(late_s * 1e6)
    refused = np.zeros(len(value), np.bool_)
    return Observed(name, quantity, kind, flow, phase, observed, received, value, refused, **more)


def integrated(power, step_s):
    """What a register moves by [J] while power [W] holds until the next reading."""
    return np.concatenate([[0.0], np.cumsum(power[:-1] * step_s)])


class Meter:
    """A three-phase meter of a home, simulated: the truth, which faults are then planted into."""

    def __init__(self, seed=1, n=360, step_s=10.0, pv_w=0.0, factor=0.96, volts=230.0, hz=50.0):
        draw = np.random.default_rng(seed)
        self.step_s, self.volts, self.hz = step_s, volts, hz
        self.v = volts * (1 + 0.01 * draw.standard_normal((3, n)))
        # Appliances that come and go, differently on each phase.
        steps = draw.random((3, n)) < 0.05
        self.i = 1.5 + 12 * draw.random((3, n))
        for row in range(3):
            kept = np.maximum.accumulate(np.where(steps[row], np.arange(n), 0))
            self.i[row] = self.i[row][kept] * (1 + 0.02 * draw.standard_normal(n))
        self.factor = np.clip(factor + 0.01 * draw.standard_normal((3, n)), 0.5, 1.0)
        self.sun = pv_w * np.sin(np.linspace(0.2, 2.6, n))
        self.p = self.v * self.i * self.factor
        self.frequency = hz + 0.02 * draw.standard_normal(n)

    def device(self, *, p=None, i=None, v=None, total=None, late_s=1.0, **more):
        p, i, v = (self.p if p is None else p), (self.i if i is None else i), (self.v if v is None else v)
        net = p.sum(axis=0) - self.sun
        total = net if total is None else total
        at = {"step_s": self.step_s, "late_s": late_s}
        points = [
            point("activePower", "active_power", total, flow="net", possible=(-1e5, 1e5), **at),
            point("frequency", "frequency", self.frequency, **at),
            point("activeEnergyImport", "active_energy", 5e9 + integrated(np.maximum(self._net(), 0), self.step_s),
                  kind="register", flow="import", **at),
            point("activeEnergyExport", "active_energy", 1e9 + integrated(np.maximum(-self._net(), 0), self.step_s),
                  kind="register", flow="export", **at),
        ]  # fmt: skip
        for row, phase in enumerate(PHASES):
            points.append(point(f"activePower{phase.upper()}", "active_power", p[row], phase=phase, **at))
            points.append(point(f"voltage{phase.upper()}", "voltage", v[row], phase=phase, **at))
            points.append(point(f"current{phase.upper()}", "current", i[row], phase=phase, **at))
        return Device(points, nominal_v=self.volts, nominal_hz=self.hz, **more)

    def _net(self):
        return self.p.sum(axis=0) - self.sun


def faults(device):
    return {(one.code, *one.points) for one in examine(device, CHECKS).faults}


def codes(device):
    return {one.code for one in examine(device, CHECKS).findings}


def changed(device, name, **more):
    return replace(device, points=[replace(one, **more) if one.name == name else one for one in device.points])


def scaled(device, name, by):
    return replace(
        device, points=[replace(one, value=one.value * by) if one.name == name else one for one in device.points]
    )


# -- healthy devices are not accused --------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31), step_s=st.sampled_from([1.0, 5.0, 10.0, 60.0, 300.0]),
    pv_w=st.sampled_from([0.0, 3_000.0, 9_000.0]), factor=st.floats(0.6, 1.0), late_s=st.floats(-3, 8),
    volts=st.sampled_from([120.0, 230.0, 277.0]), hz=st.sampled_from([50.0, 60.0]), n=st.integers(5, 400),
)  # fmt: skip
def test_a_healthy_meter_is_not_accused(seed, step_s, pv_w, factor, late_s, volts, hz, n):
    meter = Meter(seed, n, step_s, pv_w, factor, volts, hz)
    total = meter.device().find("active_power")
    found = examine(meter.device(late_s=late_s, nameplate_w=30_000.0, reference=total), CHECKS)
    assert found.findings == ()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), cloud=st.floats(0, 1), night=st.booleans(), plate=st.floats(500, 2e6))
def test_a_healthy_inverter_is_not_accused_by_day_or_night(seed, cloud, night, plate):
    draw = np.random.default_rng(seed)
    n = 400
    sun = np.zeros(n) if night else np.sin(np.linspace(0.0, np.pi, n)) * (1 - cloud * draw.random(n))
    power = -plate * sun + 0.003 * plate * (sun < 0.01)
    volts = 230 + draw.standard_normal(n)
    amps = np.abs(power) / volts + 0.002 * plate / 230
    points = [
        point("activePower", "active_power", power, possible=(-1.2 * plate, 0.05 * plate), flow="net"),
        point("voltage", "voltage", volts, limits=(207.0, 253.0)),
        point("current", "current", amps),
        point("activeEnergyExport", "active_energy", 7e9 + integrated(np.maximum(-power, 0), 10.0),
              kind="register", flow="export"),
    ]  # fmt: skip
    role = role_of(points[0])
    assert role == "source"
    found = examine(Device(points, role=role, nameplate_w=plate), CHECKS)
    assert found.faults == ()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 60), network_s=st.floats(0, 5))
def test_readings_gathered_before_they_are_sent_are_no_wrong_clock(seed, batch, network_s):
    device = Meter(seed, 300).device()
    received = {
        one.name: one.observed_us[np.minimum((np.arange(300) // batch + 1) * batch - 1, 299)] + round(network_s * 1e6)
        for one in device.points
    }
    device = replace(device, points=[replace(one, received_us=received[one.name]) for one in device.points])
    assert "stale-clock" not in codes(device)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), factor=st.floats(0.02, 0.3))
def test_a_motor_that_idles_is_at_most_doubted(seed, factor):
    draw = np.random.default_rng(seed)
    volts, amps = 230 + draw.standard_normal(200), 10 + draw.random(200)
    points = [
        point("activePower", "active_power", volts * amps * factor),
        point("voltage", "voltage", volts), point("current", "current", amps),
    ]  # fmt: skip
    assert faults(Device(points, nominal_v=230.0)) == set()


def test_pv_on_one_phase_is_at_most_doubted():
    meter = Meter(3)
    p = meter.p * np.array([[1], [-1], [1]])
    found = examine(meter.device(p=p, total=None), {"phases": CHECKS["phases"]})
    assert found.faults == ()
    assert [(one.code, one.points, one.severity) for one in found.findings] == [
        ("reversed-ct", ("activePowerB",), "doubt")
    ]


def test_what_cannot_be_checked_is_said():
    found = examine(Device([point("temperature", "temperature", [290.0] * 9)]), CHECKS)
    assert found.findings == ()
    assert {one.check for one in found.unchecked} == {
        "nameplate", "apparent", "registers", "reference", "sign", "phases",
    }  # fmt: skip
    assert found.made == ("answers", "clock", "nominal")


# -- planted faults are named ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), pv_w=st.sampled_from([0.0, 2_000.0]), step_s=st.sampled_from([1.0, 10.0, 60.0]))
def test_a_reversed_ct_is_named_by_registers_and_by_another_meter(seed, pv_w, step_s):
    meter = Meter(seed, 360, step_s, pv_w)
    net = meter.p.sum(axis=0) - meter.sun
    device = meter.device(total=-net)
    assert faults(device) == {("reversed-ct", "activePower")}
    alone = replace(device, points=[one for one in device.points if one.kind != "register"])
    assert faults(alone) == set(), "nothing tells"
    other = point("theirs", "active_power", net * 1.02, step_s=step_s)
    assert faults(replace(alone, reference=other)) == {("reversed-ct", "activePower")}


def test_a_reversed_ct_is_named_by_what_the_device_is():
    power = point("activePower", "active_power", 3000 + 100 * np.arange(20.0), possible=(-7200, 300))
    refused = replace(power, refused=np.ones(20, np.bool_))
    found = faults(Device([refused], role=role_of(refused), nameplate_w=6000.0))
    assert ("reversed-ct", "activePower") in found
    assert ("implausible", "activePower") in found
    heater = point("activePower", "active_power", -power.value, possible=(-100, 9000))
    assert role_of(heater) == "load"
    assert faults(Device([heater], role="load", nameplate_w=6000.0)) == {("reversed-ct", "activePower")}


@pytest.mark.parametrize("row", [0, 1, 2])
def test_one_reversed_phase_of_a_load_is_named(row):
    meter = Meter(5)
    signs = np.ones((3, 1))
    signs[row] = -1
    device = meter.device(p=meter.p * signs, role="load")
    assert ("reversed-ct", f"activePower{'ABC'[row]}") in faults(device)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), exponent=st.sampled_from([-3, -2, -1, 1, 2, 3]),
    name=st.sampled_from(["activePower", "frequency", "voltageB"]),
)  # fmt: skip
def test_a_wrong_scale_is_named_with_its_factor(seed, exponent, name):
    device = scaled(Meter(seed).device(), name, 10.0**exponent)
    found = [one for one in examine(device, CHECKS).faults if one.code == "wrong-scale" and name in one.points]
    assert found
    assert found[0].evidence["factor"] == pytest.approx(10.0**exponent)


def test_a_wrong_scale_is_named_by_the_nameplate_and_by_voltage_times_current():
    draw = np.random.default_rng(1)
    volts, amps = 230 + draw.standard_normal(100), 5 + draw.random(100)
    points = [
        point("activePower", "active_power", volts * amps * 0.95 * 100),
        point("voltage", "voltage", volts), point("current", "current", amps),
    ]  # fmt: skip
    device = Device(points, nominal_v=230.0)
    assert faults(device) == {("wrong-scale", "activePower", "voltage", "current")}
    assert ("wrong-scale", "activePower") in faults(replace(device, nameplate_w=5_000.0))


@pytest.mark.parametrize("order", [one for one in permutations(range(3)) if one != (0, 1, 2)])
def test_exchanged_phase_labels_are_named(order):
    meter = Meter(7)
    device = meter.device(i=meter.i[list(order)])
    (found,) = examine(device, CHECKS).faults
    assert found.code == "swapped-phase"
    moved = {f"current{'ABC'[at]}" for at in range(3) if order[at] != at}
    assert moved <= set(found.points)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), pair=st.sampled_from([(0, 1), (0, 2), (1, 2)]), angle=st.floats(-25, 25))
def test_exchanged_current_transformers_are_named(seed, pair, angle):
    """Each of the two phases measures its voltage with the other's current, 120° off; the meter says what it sees."""
    draw = np.random.default_rng(seed)
    meter = Meter(seed)
    i, shift = meter.i.copy(), np.zeros(3)
    one, other = pair
    i[[one, other]] = i[[other, one]]
    shift[one], shift[other] = (120, -120) if draw.random() < 0.5 else (-120, 120)
    p = meter.v * i * np.cos(np.deg2rad(angle + shift))[:, None]
    found = examine(meter.device(p=p, i=i), {"phases": CHECKS["phases"]}).faults
    assert [(f.code, set(f.points)) for f in found] == [
        ("swapped-phase", {f"current{'ABC'[one]}", f"current{'ABC'[other]}"})
    ]


@pytest.mark.parametrize(
    ("offset_s", "words"),
    [(3600.0, "+1 h, as if local time"), (-7200.0, "-2 h, as if local time"), (600.0, "600 s behind"),
     (-90.0, "90 s ahead of"), (19_800.0, "+5.5 h")],
)  # fmt: skip
def test_a_stale_clock_is_named(offset_s, words):
    (found,) = examine(Meter(2).device(late_s=offset_s), CHECKS).faults
    assert found.code == "stale-clock"
    assert words in found.words
    assert found.evidence["offsetS"] == pytest.approx(offset_s, abs=1)


def test_a_clock_that_stands_still_and_values_that_do():
    device = Meter(2, 120).device()
    standing = [replace(one, observed_us=np.full(120, BEGIN_US)) for one in device.points]
    (found,) = [f for f in examine(replace(device, points=standing), CHECKS).faults if f.code == "stale-clock"]
    assert "stands still" in found.words
    frozen = [
        replace(one, value=np.full(120, one.value[0])) if one.kind == "instantaneous" else one for one in device.points
    ]
    assert "frozen" in {f.code for f in examine(replace(device, points=frozen), CHECKS).faults}


def test_a_point_that_does_not_answer_is_named():
    device = Meter(2).device()
    silent = changed(device, "frequency", value=np.zeros(0), observed_us=np.zeros(0, np.int64),
                     received_us=np.zeros(0, np.int64), refused=np.zeros(0, np.bool_))  # fmt: skip
    assert faults(silent) == {("no-answer", "frequency")}
    optional = changed(silent, "frequency", needed=False)
    assert faults(optional) == set()


# -- what they stand on ---------------------------------------------------------------------------------------------


def test_points_are_compared_at_the_same_times():
    first = point("a", "voltage", [1, 2, 3, 4], step_s=10)
    other = point("b", "voltage", [10, 20, 30, 40], step_s=10.5)
    one, two = aligned(first, other, within_us=1_000_000)
    assert one.tolist() == [1, 2, 3]
    assert two.tolist() == [10, 20, 30]
    assert [len(column) for column in aligned(first, other.take(np.zeros(4, np.bool_)))] == [0, 0]


def test_units_come_to_si():
    assert si(np.array([1.5]), "kW").tolist() == [1500.0]
    assert si(np.array([2.0]), "kWh").tolist() == [7_200_000.0]
