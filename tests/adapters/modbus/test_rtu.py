"""Modbus RTU over a real serial line: two pseudo-terminals, wired to each other, and a device at the far end."""

import asyncio
import os
import select
import shutil
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_node import FakeNode
from modbus_bench import THING, order
from modbus_line import Line, Units

from gridspine.adapters.modbus import adapter
from gridspine.adapters.modbus.address import Endpoint
from gridspine.adapters.modbus.session import frame_gap_s
from gridspine.energy.models import load_models
from gridspine.things.adapter import Binding, Order

SLOW = pytest.mark.slow


@pytest.fixture
def line() -> Iterator[tuple[str, str]]:
    """Give the names of the two ends of a serial line."""
    pairs = [os.openpty(), os.openpty()]
    for _, end in pairs:
        tty.setraw(end)
    stop_out, stop_in = os.pipe()
    masters = [pairs[0][0], pairs[1][0]]

    def carry() -> None:
        while True:
            ready, _, _ = select.select([*masters, stop_out], [], [])
            if stop_out in ready:
                return
            for master in ready:
                os.write(masters[1 - masters.index(master)], os.read(master, 1024))

    wire = threading.Thread(target=carry)
    wire.start()
    yield os.ttyname(pairs[0][1]), os.ttyname(pairs[1][1])
    os.write(stop_in, b"x")
    wire.join(10)
    for descriptor in (*pairs[0], *pairs[1], stop_out, stop_in):
        os.close(descriptor)


async def test_a_battery_on_a_serial_line_is_read_and_commanded(start_device: Any, line: tuple[str, str]):
    near, far = line
    start_device("battery", "--serial", far, "--unit", "17", "--soc", "55")
    connection = {"transport": "rtu", "device": near, "baudrate": 115200, "unit": 17, "intervalS": 0.3}
    node = FakeNode([Binding(THING, "battery", "org", load_models()["battery"].id, connection)])

    def says(point: str, value: float) -> bool:
        found = [stored.value for stored in node.stored if stored.point == f"{THING}/{point}"]
        return bool(found) and found[-1] == value

    async with node.running(adapter()):
        await node.until(lambda: says("stateOfCharge", 55.0))
        node.order(order(node.clock.now_us(), "activePowerSetpoint", -800.0, 60))
        await node.until(lambda: says("activePower", -800.0))
    assert [state for _, state, _ in node.progressed] == ["sent", "acknowledged"]


@pytest.fixture
def units() -> Iterator[Line]:
    """Give a line with three units on it, each with what its number tells it from the others."""
    made = Line(Units({number: [number, 2300 + number, *range(20)] for number in (1, 2, 17)}))
    yield made
    made.close()


def bound(line: Line, number: int, **more: Any) -> Binding:
    """Return the binding of a unit that says its number and a voltage."""
    read = {"entity": "holding", "address": 1, "type": "uint16", "factor": 0.1}
    write = {"entity": "holding", "address": 5, "type": "uint16"}
    level = {"unit": "%", "read": write, "write": write, "held": True}
    connection = {
        "transport": "rtu", "device": line.near, "baudrate": 115200, "unit": number, "intervalS": 0.1, "timeoutS": 0.2,
        "registers": {"voltage": {"unit": "V", "read": read}, "level": level},
    }  # fmt: skip
    return Binding(f"urn:example:unit-{number}", "unit", "org", "m", connection | more)


def voltages(node: FakeNode, number: int) -> list[float]:
    return [one.value for one in node.stored if one.point == f"urn:example:unit-{number}/voltage"]


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed: a stranger's client is missing")
async def test_mbpoll_agrees_with_the_units_of_these_tests(units: Line):
    command = [
        "mbpoll",
        "-m",
        "rtu",
        "-b",
        "115200",
        "-P",
        "none",
        "-a",
        "17",
        "-0",
        "-r",
        "0",
        "-c",
        "3",
        "-1",
        units.near,
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("[")] == ["17", "2317", "0"]


async def test_several_units_share_a_line_and_a_dead_one_keeps_none_from_it(units: Line):
    node = FakeNode([bound(units, number) for number in (1, 2, 9, 17)], settings={"maxBackoffS": 0.5})
    async with node.running(adapter()):
        for number in (1, 2, 17):
            await node.until(lambda number=number: len(voltages(node, number)) > 2)
        node.order(Order("c1", "urn:example:unit-2", "level", 40.0, node.clock.now_us() + 60_000_000, 0.0, 1))
        await node.until(lambda: ("c1", "acknowledged", "") in node.progressed)
    assert {number: set(voltages(node, number)) for number in (1, 2, 17)} == {1: {230.1}, 2: {230.2}, 17: {231.7}}
    assert units.units.registers[2][5] == 40
    assert [units.units.registers[number][5] for number in (1, 17)] == [3, 3], "the others were not written to"
    assert not voltages(node, 9)
    assert units.units.wrong == 0, "no two requests ran into each other"


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda answer: answer[:-1] + bytes((answer[-1] ^ 0x40,)), id="check"),
        pytest.param(lambda answer: answer[:3] + bytes((answer[3] ^ 1,)) + answer[4:], id="value", marks=SLOW),
        pytest.param(lambda answer: answer[:4], id="short", marks=SLOW),
        pytest.param(lambda answer: b"\xff\x00" + answer[2:], id="head", marks=SLOW),
        pytest.param(lambda answer: b"", id="nothing", marks=SLOW),
    ],
)
async def test_a_spoilt_frame_is_no_value_and_is_asked_for_again(units: Line, spoilt: Callable[[bytes], bytes]):
    node = FakeNode([bound(units, 1)], settings={"maxBackoffS": 0.5})
    count = 0

    def now_and_then(answer: bytes) -> bytes:
        nonlocal count
        count += 1
        return spoilt(answer) if count % 4 == 0 else answer

    units.units.spoil = now_and_then
    async with node.running(adapter()):
        await node.until(lambda: len(voltages(node, 1)) > 5)
    assert set(voltages(node, 1)) == {230.1}
    assert count >= 4


async def test_a_write_is_never_sent_twice_however_spoilt_its_answer(units: Line):
    node = FakeNode([bound(units, 1)], settings={"maxBackoffS": 0.5})
    async with node.running(adapter()):
        await node.until(lambda: len(voltages(node, 1)) > 1)
        units.units.spoil = lambda answer: answer if answer[1] in {3, 4} else answer[:-1]
        node.order(Order("c1", "urn:example:unit-1", "level", 40.0, node.clock.now_us() + 60_000_000, 0.0, 1))
        await node.until(lambda: ("c1", "acknowledged", "") in node.progressed)
    assert [function for _, function, _ in units.units.asked if function in {6, 16}] == [16]


async def test_a_line_that_is_cut_and_comes_back_is_read_again(units: Line):
    node = FakeNode([bound(units, 1)], settings={"maxBackoffS": 0.3})
    async with node.running(adapter()):
        await node.until(lambda: len(voltages(node, 1)) > 1)
        units.mended = False
        await asyncio.sleep(0.2)  # a frame may be with its thread
        seen = len(units.units.asked)
        await asyncio.sleep(1.0)
        assert len(units.units.asked) == seen
        before = len(voltages(node, 1))
        units.mended = True
        await node.until(lambda: len(voltages(node, 1)) > before + 2)
    assert set(voltages(node, 1)) == {230.1}


async def test_an_adapter_that_is_pulled_out_and_put_in_again_is_opened_again(tmp_path: Path):
    """As of a USB adapter: its device file goes, and another one comes under the same name."""
    name = tmp_path / "ttyUSB0"
    lines = [Line(Units({1: [1, 2301 + at, *range(20)]})) for at in range(2)]
    try:
        name.symlink_to(lines[0].near)
        node = FakeNode([bound(lines[0], 1, device=str(name))], settings={"maxBackoffS": 0.3})
        async with node.running(adapter()):
            await node.until(lambda: 230.1 in voltages(node, 1))
            name.unlink()
            lines.pop(0).close()
            await asyncio.sleep(0.5)
            name.symlink_to(lines[0].near)
            await node.until(lambda: 230.2 in voltages(node, 1))
    finally:
        for line in lines:
            line.close()


@pytest.mark.parametrize(("baudrate", "gap_s"), [(1200, 0.03208), (9600, 0.00401), (19200, 0.002), (115200, 0.00175)])
def test_frames_are_as_far_apart_as_the_line_wants(baudrate: int, gap_s: float):
    assert frame_gap_s(Endpoint("rtu", device="/dev/ttyUSB0", baudrate=baudrate)) == pytest.approx(gap_s, abs=1e-5)
    assert frame_gap_s(Endpoint("tcp", host="192.0.2.1", port=502)) == 0.0
