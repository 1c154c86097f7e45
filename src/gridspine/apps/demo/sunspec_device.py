"""What the demonstration's inverter and battery share: Modbus server, reversion timers, the wire in the wall.

It shares no code with the node. The timers run in the device: when everything else is gone, they still end a
set-point.
"""

import argparse
import asyncio
import contextlib
import json
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gridspine.apps.demo.sunspec_registers import Registers

TICK_S = 0.2
FAULTS = ("none", "reversed-sign", "wrong-scale", "no-timer", "dead-timer", "refuse-writes", "forgetful", "local")


@dataclass(frozen=True)
class Function:
    """The points of a function with a reversion timer; empty names are points the model does not have.

    ``resting`` is what ``values`` go to at the end where the model has no reversion values.
    """

    model: int
    enable: str
    time: str
    values: tuple[str, ...]
    remaining: str = ""
    reversion_enable: str = ""
    reversion_values: tuple[str, ...] = ()


class Timer:
    """The reversion timer of one function: started by enabling it, it ends the function by itself."""

    def __init__(self, registers: Registers, function: Function) -> None:
        self._registers, self._function = registers, function
        self._ends_s: float | None = None

    def written(self, touched: set[tuple[int, str]], now_s: float) -> None:
        """Start, restart or stop after a write at ``now_s`` [s, monotonic]."""
        function, registers = self._function, self._registers
        if (function.model, function.enable) not in touched:
            return
        wanted_s = registers.get(function.model, function.time) if registers.has(function.model, function.time) else 0
        runs = registers.get(function.model, function.enable) != 0 and wanted_s > 0
        self._ends_s = now_s + wanted_s if runs else None

    def tick(self, now_s: float) -> None:
        """Count down; at the end, fall back."""
        function, registers = self._function, self._registers
        left_s = max(0, math.ceil(self._ends_s - now_s)) if self._ends_s is not None else 0
        if function.remaining and registers.has(function.model, function.remaining):
            registers.set(function.model, function.remaining, left_s)
        if self._ends_s is None or now_s < self._ends_s:
            return
        self._ends_s = None
        for value, reversion in zip(function.values, function.reversion_values, strict=False):
            registers.set(function.model, value, registers.get(function.model, reversion))
        after = registers.get(function.model, function.reversion_enable) if function.reversion_enable else 0
        registers.set(function.model, function.enable, after)


class Plant(Protocol):
    """The physics behind the registers."""

    registers: Registers
    timers: list[Timer]
    power_w: float
    """Power now [W], import positive."""
    energy_wh: dict[str, float]
    """What it keeps when switched off [Wh or %]."""

    def step(self, step_s: float) -> None:
        """Move on by ``step_s`` [s] and put what is measured into the registers."""
        ...


def arguments(what: str, name: str) -> argparse.ArgumentParser:
    """Return the options every device has."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 takes a free one")
    parser.add_argument("--serial", default="", help="serve Modbus RTU on this serial device instead of TCP")
    parser.add_argument("--unit", type=int, default=1, help="Modbus unit id")
    parser.add_argument("--base", type=int, default=40000, choices=(0, 40000, 50000), help="where SunSpec starts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home-port", type=int, default=0, help="UDP port of the home's meter: the wire in the wall")
    parser.add_argument("--name", default=name, help="what the device calls itself on that wire")
    parser.add_argument("--state", type=Path, help="file for what it keeps when switched off")
    parser.add_argument("--legacy", action="store_true", help="the older SunSpec models")
    parser.add_argument("--fault", default="none", choices=FAULTS, help="a fault to be found")
    return parser


def common(model: str, seed: int) -> dict[str, int | str]:
    """Return the first values of SunSpec model 1."""
    return {"Mn": "Gridspine Demo", "Md": model, "Vr": "1.0", "SN": f"GS-{model[:2].upper()}-{seed:06d}", "DA": 1}


def _sim_device(
    registers: Registers, unit: int, fault: str, written: Callable[[set[tuple[int, str]]], None]
) -> SimDevice:
    registers.on_write = written

    async def on_access(
        function_code: int,
        start_address: int,
        address: int,
        count: int,
        current_registers: list[int],
        set_values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if set_values:
            if fault == "refuse-writes" or not registers.may_write(address, count):
                return ExcCodes.ILLEGAL_ADDRESS
            if fault != "forgetful":
                registers.write(address, [int(word) for word in set_values])
            kept: list[Any] = registers.words[address - start_address : address - start_address + count]
            set_values[:] = kept
        current_registers[: len(registers.words)] = registers.words
        return None

    data = SimData(registers.base, values=list(registers.words), datatype=DataType.REGISTERS)
    return SimDevice(id=unit, simdata=[data], action=on_access)


def _load(plant: Plant, path: Path | None) -> None:
    if path is not None and path.exists():
        plant.energy_wh |= json.loads(path.read_text())


def _save(plant: Plant, path: Path | None) -> None:
    if path is not None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(plant.energy_wh))
        fresh.replace(path)


async def _live(plant: Plant, options: argparse.Namespace) -> None:
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.setblocking(False)
    before_s = said_s = time.monotonic()
    while True:
        now_s = time.monotonic()
        for timer in plant.timers:
            timer.tick(now_s)
        plant.step(now_s - before_s)
        before_s = now_s
        if now_s - said_s >= 1.0:
            said_s = now_s
            _save(plant, options.state)
            if options.home_port:
                message = json.dumps({"device": options.name, "power_w": round(plant.power_w, 1)}).encode()
                with contextlib.suppress(OSError):
                    wire.sendto(message, ("127.0.0.1", options.home_port))
        await asyncio.sleep(TICK_S)


async def serve(plant: Plant, options: argparse.Namespace) -> None:
    """Serve ``plant`` until killed; one JSON line on standard output says where, once it can be reached."""

    def written(touched: set[tuple[int, str]]) -> None:
        if options.fault != "dead-timer":
            for timer in plant.timers:
                timer.written(touched, time.monotonic())

    _load(plant, options.state)
    for timer in plant.timers:
        timer.tick(time.monotonic())
    plant.step(0.0)
    device = _sim_device(plant.registers, options.unit, options.fault, written)
    ready = {"device": options.name, "unit": options.unit, "base": options.base}
    if options.serial:
        line = ModbusSerialServer(device, port=options.serial, baudrate=115200)
        await line.serve_forever(background=True)
        ready["serial"] = options.serial
    else:
        server = ModbusTcpServer(device, address=(options.host, options.port))
        await server.serve_forever(background=True)
        ready["port"] = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    print(json.dumps(ready), flush=True)
    await _live(plant, options)


def run(plant: Plant, options: argparse.Namespace) -> None:
    """Serve until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(plant, options))
