"""Grid support of an inverter (SunSpec 704 to 712, 715, 802) by a node's API, and what it does once the node is dead.

Node and device are processes; what the device holds is read by the SunSpec Alliance's own client, pysunspec2.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading

import pytest
from running_node import Child
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

THING, MODEL = "urn:example:inverter", "https://gridspine.org/models/smart_inverter"
LASTS_S = 20
LEASES = {
    "activePowerLimit": 3_000.0, "activePowerSetpoint": -1_500.0, "reactivePowerSetpoint": 1_200.0,
    "powerFactorImportSetpoint": -0.95, "voltVarCurve": 3.0, "voltWattCurve": 3.0, "frequencyDroopCurve": 3.0,
    "wattVarCurve": 3.0,
}  # fmt: skip
CURVE = [{"x": 90.0, "y": 40.0}, {"x": 99.0, "y": 0.0}, {"x": 101.0, "y": 0.0}, {"x": 110.0, "y": -25.0}]


class GridNode(Child):
    """A node that may read devices on this machine by Modbus."""

    def settings(self):
        super().settings()
        with (self.folder / "settings.toml").open("a") as file:
            file.write("[adapters]\nallow = ['modbus']\n[adapters.settings.modbus]\nallow = ['127.0.0.0/8']\n")


class Wire:
    """The device as pysunspec2 reads it; raw numbers, each with its scale factor beside it."""

    def __init__(self, port):
        self.device = SunSpecModbusClientDeviceTCP(1, ipaddr="127.0.0.1", ipport=port, timeout=30)
        self.device.scan()
        self._lock = threading.Lock()

    def read(self, *models):
        """Return models as they are now."""
        with self._lock:
            found = [self.device.models[number][0] for number in models]
            for one in found:
                one.read()
        return found

    def in_force(self):
        """Return what is in force, by the leased point, in SunSpec's own signs; None for what is not."""
        ac, var, watt, droop, watt_var = self.read(704, 705, 706, 711, 712)
        curves = (var, "Crv"), (watt, "Crv"), (droop, "Ctl"), (watt_var, "Crv")
        return {
            "activePowerLimit": ac.WMaxLimPct.cvalue if ac.WMaxLimPctEna.value else None,
            "activePowerSetpoint": ac.WSet.cvalue if ac.WSetEna.value else None,
            "reactivePowerSetpoint": ac.VarSet.cvalue if ac.VarSetEna.value else None,
            "powerFactorImportSetpoint": (ac.PFWAbs.PF.cvalue, ac.PFWAbs.Ext.value) if ac.PFWAbsEna.value else None,
            **{name: _adopted(*one) for name, one in zip(list(LEASES)[4:], curves, strict=True)},
        }

    def left_s(self):
        """Return how long each has left by the device's own timer [s]."""
        ac, *others = self.read(704, 705, 706, 711, 712)
        names = ("WMaxLimPctRvrtTms", "WSetRvrtTms", "VarSetRvrtTms", "PFWAbsRvrtTms")
        return [getattr(ac, name).value for name in names] + [one.RvrtTms.value for one in others]


def _adopted(model, word):
    """Return which stored set the one in force is a copy of, None where the function is off."""
    if not model.Ena.value:
        return None
    sets = [_said(getattr(model, word)[at]) for at in range(3)]
    return next((number for number in (3, 2) if sets[number - 1] == sets[0]), 0)


def _said(group):
    """Return what a stored set says: its points, and those of its groups, but for whether it can be written."""
    own = {name: point.value for name, point in group.points.items() if name != "ReadOnly"}
    inner = [_said(one) for found in group.groups.values() for one in (found if isinstance(found, list) else [found])]
    return own, inner


@pytest.fixture
def device():
    command = [sys.executable, "-m", "gridspine.apps.demo.smart_inverter", "--hour", "12"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    wire = Wire(json.loads(process.stdout.readline())["port"])
    yield wire
    wire.device.close()
    process.kill()
    process.wait(10)
    process.stdout.close()


@contextlib.asynccontextmanager
async def node_with(folder, port):
    """Start a node as a process that reads the device; end it, however it fares."""
    child = GridNode(folder)
    try:
        async with await child.ready() as http:
            where = {"host": "127.0.0.1", "port": port, "intervalS": 1, "timeoutS": 20}
            body = {"id": THING, "title": "Roof", "model": MODEL, "adapter": "modbus", "connection": where}
            answer = await http.post("/things", json=body)
            assert answer.status_code == 201, answer.text
            yield child, http
    finally:
        child.stop()


async def until(ask, wanted, timeout_s=60.0):
    """Wait until ``ask`` returns what is wanted."""
    found = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while (found := await ask()) != wanted:
                await asyncio.sleep(0.1)
    assert found == wanted


async def done(http, action, given=None):
    """Have an action carried out; return its output."""
    answer = await http.post(f"/things/{THING}/actions/{action}", json=given)
    assert answer.status_code < 300, answer.text

    async def status():
        return (await http.get(answer.json()["href"])).json()["status"]

    await until(status, "completed")
    return (await http.get(answer.json()["href"])).json()["output"]


@pytest.mark.slow
async def test_leases_by_http_hold_at_the_device_and_end_there_when_the_node_is_dead(tmp_path, device) -> None:
    before = await asyncio.to_thread(device.in_force)
    assert before == dict.fromkeys(LEASES)
    async with node_with(tmp_path / "data", device.device.ipport) as (child, http):

        async def local():
            return (await http.get(f"/things/{THING}/properties/localControl")).json().get("value")

        await until(local, 0.0)
        await _prepared(http, device)
        body = [
            {"thing": THING, "point": point, "value": value, "durationS": LASTS_S} for point, value in LEASES.items()
        ]
        answer = await http.post("/commands/batch", json=body)
        assert answer.status_code == 200, answer.text
        held = {
            "activePowerLimit": 50.0,  # per cent of 6 kW, a ceiling of generation
            "activePowerSetpoint": 1_500, "reactivePowerSetpoint": -1_200,  # what it gives is positive there
            "powerFactorImportSetpoint": (0.95, 1),  # under-excited
            "voltVarCurve": 3, "voltWattCurve": 3, "frequencyDroopCurve": 3, "wattVarCurve": 3,
        }  # fmt: skip

        async def in_force():
            return await asyncio.to_thread(device.in_force)

        await until(in_force, held)
        assert all(0 < left <= LASTS_S for left in await asyncio.to_thread(device.left_s))
        child.kill()
    # Nobody is there any more. A fallback is: what it may at all, nothing told, and for curves another stored one.
    over = dict.fromkeys(LEASES) | dict.fromkeys(list(LEASES)[4:], 2)
    await until(in_force, over)


async def _prepared(http, device):
    """Write a curve of one's own, keep a reserve, reset alarms; each is seen in the device's registers."""
    assert await done(http, "resetAlarms") == {"reset": ["715.AlarmReset", "802.AlmRst"]}
    await done(http, "setReserve", {"minimum": 15, "maximum": 90})
    given = {"function": "voltVar", "curve": 3, "points": CURVE, "settings": {"RspTms": 7}}
    assert (await done(http, "writeCurve", given))["points"] == CURVE
    for name, function in (("voltWatt", 706), ("wattVar", 712)):
        points = CURVE if function == 712 else [{"x": 105.0, "y": 100.0}, {"x": 109.0, "y": 15.0}]
        await done(http, "writeCurve", {"function": name, "curve": 3, "points": points})
    await done(http, "writeCurve", {"function": "frequencyDroop", "curve": 3, "settings": {"DbOf": 0.017, "KOf": 0.03}})
    var, bank = await asyncio.to_thread(device.read, 705, 802)
    assert [(one.V.cvalue, one.Var.cvalue) for one in var.Crv[2].Pt] == [(one["x"], one["y"]) for one in CURVE]
    assert (bank.SoCRsvMin.cvalue, bank.SocRsvMax.cvalue) == (15.0, 90.0)
