"""Modbus RTU over a real serial line: two pseudo-terminals, wired to each other, and a device at the far end."""

import os
import select
import threading
import tty
from collections.abc import Iterator
from typing import Any

import pytest
from adapter_node import FakeNode
from modbus_bench import THING, order

from gridspine.adapters.modbus import adapter
from gridspine.energy.models import load_models
from gridspine.things.adapter import Binding


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
