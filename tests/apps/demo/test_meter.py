"""The smart meter: its measurements, and the process against a real broker that goes and comes."""

import contextlib
import json
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.apps.demo.meter import DEVICE_SILENT_S, MAX_SILENCE_S, Load, Meter, Registers, Wires, parse
from tests.ports import free_port

THING = "urn:dev:ops:32473-meter-1"


@contextlib.contextmanager
def wired() -> Iterator[tuple[Wires, socket.socket]]:
    port = free_port(socket.SOCK_DGRAM)
    wires = Wires(port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.connect(("127.0.0.1", port))
        yield wires, device
    wires.close()


def test_the_load_repeats_itself_by_seed_and_peaks_in_the_evening() -> None:
    one, two, other = Load(7), Load(7), Load(8)
    day = [one.power_w(60.0 * n, 60.0) for n in range(24 * 60)]
    assert day == [two.power_w(60.0 * n, 60.0) for n in range(24 * 60)]
    assert day != [other.power_w(60.0 * n, 60.0) for n in range(24 * 60)]
    night, evening = sum(day[2 * 60 : 4 * 60]), sum(day[18 * 60 : 20 * 60])
    assert evening > 2 * night
    assert min(day) > 0


def test_what_hangs_on_the_wires_counts_while_it_is_heard() -> None:
    with wired() as (wires, device):
        for message in (b'{"device": "pv", "power_w": -3000}', b'{"device": "battery", "power_w": 500.5}'):
            device.send(message)
        for wrong in (b"", b"x", b"[]", b'{"device": "x"}', b'{"device": "x", "power_w": NaN}', b'{"power_w": 1}'):
            device.send(wrong)
        assert _eventually(lambda: wires.power_w(100.0), -2499.5)
        device.send(b'{"device": "pv", "power_w": -1000}')
        assert _eventually(lambda: wires.power_w(101.0), -499.5)
        assert wires.power_w(100.0 + DEVICE_SILENT_S) == -1000.0  # the battery fell silent
        assert wires.power_w(101.0 + DEVICE_SILENT_S) == 0.0


def _eventually(read: object, wanted: float) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if read() == wanted:  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


@given(st.lists(st.tuples(st.floats(-10_000, 10_000), st.floats(0, 3600)), max_size=20))
def test_registers_never_fall_and_hold_the_net_energy(steps: list[tuple[float, float]]) -> None:
    registers = Registers(1, None)
    before = dict(registers.values)
    for power_w, step_s in steps:
        last = dict(registers.values)
        registers.add(power_w, step_s)
        assert all(registers.values[name] >= last[name] for name in last)
    net_wh = (registers.values["activeEnergyImport"] - before["activeEnergyImport"]) - (
        registers.values["activeEnergyExport"] - before["activeEnergyExport"]
    )
    assert math.isclose(net_wh, sum(w * s for w, s in steps) / 3600.0, abs_tol=1e-3)


def test_registers_outlive_the_process(tmp_path: Path) -> None:
    first = Registers(1, tmp_path / "state")
    first.add(1000.0, 3600.0)
    assert first.next_seq() == 1
    second = Registers(2, tmp_path / "state")
    assert second.values == first.values
    assert second.next_seq() == 2


def test_reports_by_exception() -> None:
    meter = Meter(THING, 1, Registers(1, None), None)
    steady = {"activePower": 500.0, "voltage": 230.0, "frequency": 50.0} | {
        "activeEnergyImport": 1e6, "activeEnergyExport": 0.0,
    }  # fmt: skip
    first = json.loads(meter.message(steady, 1000.0, 0.0) or b"")
    assert {record["n"]: record["v"] for record in first} == steady
    assert (first[0]["bn"], first[0]["bt"], first[0]["seq"]) == (f"{THING}/", 1000.0, 1)
    assert meter.message(steady | {"activePower": 510.0}, 1001.0, 1.0) is None
    moved = json.loads(meter.message(steady | {"activePower": 520.0}, 1002.0, 2.0) or b"")
    assert [(record["n"], record["v"], record["seq"]) for record in moved] == [("activePower", 520.0, 2)]
    assert len(json.loads(meter.message(steady, 1000.0 + MAX_SILENCE_S, MAX_SILENCE_S) or b"")) == 5


def test_no_password_on_the_command_line() -> None:
    with pytest.raises(SystemExit):
        parse(["--thing", THING, "--username", "u", "--password", "secret"])
