"""The demonstration's inverter and battery as strangers see them: real SunSpec, sane physics, a wire in the wall."""

import argparse
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from gridspine.apps.demo.battery import Battery
from gridspine.apps.demo.inverter import RATED_W, Sun
from gridspine.apps.demo.sunspec_device import Function, Timer
from gridspine.apps.demo.sunspec_registers import Registers
from gridspine.apps.demo.sunspec_tables import CURVES, POINTS, TABLES

Start = Callable[..., dict[str, Any]]
MODBUS_SERIAL = Path(__file__).parents[2] / "strangers" / "modbus"
BATTERY = {"seed": 3, "base": 40000, "legacy": False, "fault": "none", "capacity_wh": 10_000, "soc": 50.0}


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a device and returns its first line and its process."""
    processes: list[subprocess.Popen[str]] = []

    def begin(kind: str, *options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", f"gridspine.apps.demo.{kind}", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        return json.loads(process.stdout.readline()) | {"process": process}

    yield begin
    for process in processes:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def _grouped(group: dict[str, Any], prefix: str) -> list[tuple[str, str, int]]:
    """Return the points of inner groups, as often as the demonstration's devices have each."""
    found = []
    for inner in group.get("groups", []):
        times = {None: 0, "NPt": POINTS}.get(inner.get("count"), CURVES)
        for head in [f"{prefix}{inner['name']}.{at + 1}." for at in range(times)] or [f"{prefix}{inner['name']}."]:
            found += [(f"{head}{point['name']}", point["type"], point["size"]) for point in inner["points"]]
            found += _grouped(inner, head)
    return found


@pytest.mark.parametrize("model", sorted(TABLES))
def test_tables_agree_with_the_published_definitions(model: int):
    folder = Path(str(resources.files("sunspec2"))) / "models" / "json"
    group = json.loads((folder / f"model_{model}.json").read_text())["group"]
    published = [(point["name"], point["type"], point["size"]) for point in group["points"]]
    published += _grouped(group, "")
    words = {"u": "uint", "i": "int", "a": "acc", "e": "enum", "b": "bitfield"}
    sizes = {"16": 1, "32": 2, "64": 4}
    ours = [("ID", "uint16", 1), ("L", "uint16", 1)]
    for entry in TABLES[model].split():
        name, kind = entry.rstrip("*").split(":")
        if kind in {"sf", "pad"}:
            ours.append((name, {"sf": "sunssf", "pad": "pad"}[kind], 1))
        elif kind[0] == "s":
            ours.append((name, "string", int(kind[1:])))
        else:
            ours.append((name, words[kind[0]] + kind[1:], sizes[kind[1:]]))
    assert ours == published


@pytest.mark.parametrize(
    ("kind", "options", "models"),
    [
        ("inverter", (), [1, 701, 702, 704]),
        ("smart_inverter", (), [1, 701, 702, 704, 705, 706, 707, 711, 712, 713, 715, 802]),
        ("inverter", ("--legacy",), [1, 103, 120, 121, 123]),
        ("battery", (), [1, 701, 702, 704, 713, 802]),
        ("battery", ("--legacy",), [1, 103, 124, 802]),
    ],
)
def test_the_sunspec_alliance_s_own_client_reads_it(
    start: Start, kind: str, options: tuple[str, ...], models: list[int]
):
    device = SunSpecModbusClientDeviceTCP(1, ipaddr="127.0.0.1", ipport=start(kind, *options)["port"], timeout=5)
    device.scan()
    device.close()
    assert [model for model in device.models if isinstance(model, int)] == models
    assert device.common[0].Mn.value == "Gridspine Demo"
    for model in models:
        assert device.models[model][0].error_info == ""
    measured = device.models[models[1]][0]
    assert 49.0 < measured.Hz.cvalue < 51.0


def test_the_client_s_set_point_is_obeyed_and_ends(start: Start):
    port = start("battery", "--soc", "50")["port"]
    device = SunSpecModbusClientDeviceTCP(1, ipaddr="127.0.0.1", ipport=port, timeout=5)
    device.scan()
    control = device.DERCtlAC[0]
    control.WSetMod.value, control.WSet.value, control.WSetRvrtTms.value = 1, -1500, 6
    control.write()
    control.WSetEna.value = 1
    control.write()
    assert wait_for_power(device, -1500) == -1500
    assert wait_for_power(device, 0) == 0
    control.read()
    assert control.WSetEna.value == 0
    device.close()


def wait_for_power(device: Any, power_w: int) -> int:
    """Read the device's power until it is ``power_w`` [W], or for a minute, and return it."""
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        device.DERMeasureAC[0].read()
        if device.DERMeasureAC[0].W.value == power_w:
            break
        time.sleep(0.02)
    return int(device.DERMeasureAC[0].W.value)


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed: a stranger's client is missing")
def test_mbpoll_reads_the_marker(start: Start):
    port = start("inverter")["port"]
    command = ["mbpoll", "-m", "tcp", "-p", str(port), "-o", "10", "-a", "1", "-0"]
    command += ["-r", "40000", "-c", "4", "-t", "4:hex", "-1"]
    told = subprocess.run([*command, "127.0.0.1"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert [int(word, 16) for word in re.findall(r"0x([0-9A-F]{4})", told)] == [0x5375, 0x6E53, 1, 66]


@pytest.mark.skipif(not shutil.which("node") or not shutil.which("npm"), reason="node and npm are not installed")
def test_modbus_serial_reads_the_marker(start: Start):
    if not (MODBUS_SERIAL / "node_modules" / ".package-lock.json").exists():
        words = ["npm", "ci", "--omit=optional", "--no-audit", "--no-fund"]
        subprocess.run(words, cwd=MODBUS_SERIAL, check=True, timeout=240)
    port = start("inverter")["port"]
    script = f"""
        const Client = require('modbus-serial'); const client = new Client();
        client.connectTCP('127.0.0.1', {{port: {port}}}, async () => {{
            client.setID(1); const read = await client.readHoldingRegisters(40000, 2);
            console.log(JSON.stringify(read.data)); client.close(() => {{}});
        }});"""
    told = subprocess.run(
        ["node", "-e", script], cwd=MODBUS_SERIAL, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert json.loads(told) == [0x5375, 0x6E53]


def test_the_wire_in_the_wall_says_import_positive(start: Start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as home:
        home.bind(("127.0.0.1", 0))
        home.settimeout(60)
        start("inverter", "--hour", "12", "--home-port", str(home.getsockname()[1]))
        said = json.loads(home.recv(512))
    assert said["device"] == "pv"
    assert -RATED_W <= said["power_w"] < 0


def test_registers_do_not_fall_when_the_device_is_switched_off_and_on(start: Start, tmp_path: Path):
    options = ("--hour", "12", "--state", str(tmp_path / "pv.json"))
    seen = []
    for _ in range(2):
        ready = start("inverter", *options)
        device = SunSpecModbusClientDeviceTCP(1, ipaddr="127.0.0.1", ipport=ready["port"], timeout=5)
        device.scan()
        while not (tmp_path / "pv.json").exists():
            device.DERMeasureAC[0].read()
        seen.append(device.DERMeasureAC[0].TotWhInj.value)
        device.close()
        ready["process"].send_signal(signal.SIGKILL)
        ready["process"].wait(10)
    assert seen[1] >= seen[0] > 0


def test_the_sun_rises_and_sets_and_repeats_itself_by_seed():
    sky = [Sun(4, 0.0, 240.0).available_w(second) for second in range(240)]
    assert sky == [Sun(4, 0.0, 240.0).available_w(second) for second in range(240)]
    assert sky != [Sun(5, 0.0, 240.0).available_w(second) for second in range(240)]
    assert max(sky) <= RATED_W
    assert all(power == 0 for power in sky[:60] + sky[181:])
    assert all(power > 0 for power in sky[61:180])


@pytest.mark.parametrize("set_w", [5000, -5000])
def test_a_battery_keeps_its_energy_and_its_bounds(set_w: int):
    battery = Battery(argparse.Namespace(**BATTERY))
    battery.registers.set(704, "WSet", -set_w)
    battery.registers.set(704, "WSetEna", 1)
    before = dict(battery.energy_wh)
    for _ in range(20_000):
        battery.step(1.0)
    into = battery.energy_wh["import"] - before["import"]
    out = battery.energy_wh["export"] - before["export"]
    stored = battery.energy_wh["stored"] - before["stored"]
    assert stored == pytest.approx(0.95 * into - out / 0.95, rel=1e-6, abs=5.0)
    assert battery.power_w == 0
    assert battery.registers.get(802, "ChaSt") == (5 if set_w > 0 else 2)
    assert battery.registers.get(713, "SoC") == (1000 if set_w > 0 else pytest.approx(50, abs=1))


def test_a_timer_falls_back_restarts_and_stops():
    registers = Registers(
        0, {704: {"WSetEna": 1, "WSet": -900, "WSetRvrt": -100, "WSetEnaRvrt": 1, "WSetRvrtTms": 10, "WSetRvrtRem": 0}}
    )
    function = Function(704, "WSetEna", "WSetRvrtTms", ("WSet",), "WSetRvrtRem", "WSetEnaRvrt", ("WSetRvrt",))
    timer = Timer(registers, function)
    enabled = {(704, "WSetEna")}
    timer.written({(704, "WSet")}, 0.0)
    timer.tick(50.0)
    assert registers.get(704, "WSet") == -900, "only enabling starts it"
    timer.written(enabled, 100.0)
    timer.tick(104.0)
    assert registers.get(704, "WSetRvrtRem") == 6
    timer.written(enabled, 105.0)
    timer.tick(114.9)
    assert registers.get(704, "WSet") == -900
    timer.tick(115.0)
    assert (registers.get(704, "WSet"), registers.get(704, "WSetEna")) == (-100, 1)
    registers.set(704, "WSetEna", 0)
    timer.written(enabled, 116.0)
    timer.tick(1000.0)
    assert registers.get(704, "WSetEna") == 0
