"""Devices that take orders by Modbus TCP: the registers of the demonstration's SunSpec devices, and of one without
standard. None shares code with the adapter; frames are as in the Modbus Messaging on TCP/IP guide V1.0b, which was not
read again.
"""

import argparse
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from one_command import Side, binding

from gridspine.adapters.modbus import adapter
from gridspine.apps.demo.battery import Battery
from gridspine.apps.demo.inverter import Inverter
from gridspine.apps.demo.smart_inverter import SmartInverter
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import TcpDevice

READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY = 3, 4, 6, 16
ILLEGAL_ADDRESS, DEVICE_FAILURE = 2, 4


class Memory(Protocol):
    """The registers of a device."""

    def read(self, address: int, count: int) -> list[int] | None: ...

    def write(self, address: int, words: list[int]) -> None: ...


class ModbusSide(Side):
    """A device at a socket; ``memory`` is what it answers from."""

    memory: Memory
    connection: Mapping[str, Any] = MappingProxyType({})
    model = "m"

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self._tcp = TcpDevice(self._serve)

    def adapter(self) -> Any:
        return adapter()

    @contextlib.asynccontextmanager
    async def listening(self, node: FakeNode) -> AsyncIterator[None]:
        await self._tcp.start()
        where = {"host": "127.0.0.1", "port": self._tcp.port, "intervalS": 1, "timeoutS": 1}
        node.set_bindings([binding(where | dict(self.connection), model=self.model)])
        try:
            yield
        finally:
            await self._tcp.stop()

    def node(self, clock: VirtualClock) -> FakeNode:
        return FakeNode([], settings={"allow": ["127.0.0.0/8"], "maxBackoffS": 1.0}, clock=clock)

    @contextlib.asynccontextmanager
    async def connected(self, node: FakeNode) -> AsyncIterator[None]:
        yield

    async def _serve(self, reader: Any, writer: Any) -> None:
        while True:
            transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            pdu = await reader.readexactly(length - 1)
            if self.silent:
                continue
            answer = self._answer(pdu)
            writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
            await writer.drain()

    def _answer(self, pdu: bytes) -> bytes:
        function, address, count = struct.unpack(">BHH", pdu[:5])
        if function in {READ_HOLDING, READ_INPUT}:
            words = self.memory.read(address, count)
            if words is None:
                return bytes((function | 0x80, ILLEGAL_ADDRESS))
            return bytes((function, 2 * count)) + struct.pack(f">{count}H", *words)
        assert function in {WRITE_ONE, WRITE_MANY}
        if self.refuses:
            return bytes((function | 0x80, DEVICE_FAILURE))
        self.said += pdu
        self.memory.write(address, [count] if function == WRITE_ONE else list(struct.unpack(f">{count}H", pdu[6:])))
        return pdu[:5]


# -- SunSpec -------------------------------------------------------------------------------------------------------


class SunSpec:
    """The registers of a demonstration device, and its reversion timers, by the test's clock."""

    def __init__(self, clock: VirtualClock, plant: Any) -> None:
        self.clock, self.plant, self.registers = clock, plant, plant.registers
        self.touched: set[tuple[int, str]] = set()
        self.on_write: Callable[[set[tuple[int, str]]], None] = lambda _: None
        self.registers.on_write = self._written

    def read(self, address: int, count: int) -> list[int] | None:
        self.tick(self.clock.now_us())
        at = address - self.registers.base
        words: list[int] = self.registers.words[at : at + count] if at >= 0 else []
        return words if len(words) == count else None

    def write(self, address: int, words: list[int]) -> None:
        assert self.registers.may_write(address, len(words)), "a register that must not be written"
        self.registers.write(address, words)

    def tick(self, at_us: int) -> None:
        for timer in self.plant.timers:
            timer.tick(at_us / US)

    def _written(self, touched: set[tuple[int, str]]) -> None:
        self.touched |= touched
        for timer in self.plant.timers:
            timer.written(touched, self.clock.now_us() / US)
        self.on_write(touched)


class SunSpecSide(ModbusSide):
    """A demonstration device; ``enable``, ``timer`` and ``window`` are its points for a lease."""

    legacy = False
    number = 704
    enable, timer, window = "", "", ""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        size = {"capacity_wh": 10_000, "soc": 50.0, "hour": 12.0, "day_s": 86_400.0, "network_v": 230.0}
        options = argparse.Namespace(seed=1, legacy=self.legacy, fault="none", base=40000, **size)
        self.sunspec = SunSpec(clock, self.plant(options))
        self.memory = self.sunspec
        self.sunspec.on_write = self._begun
        self.sunspec.plant.step(0.0)

    def plant(self, options: argparse.Namespace) -> Any:
        raise NotImplementedError

    def raw(self, name: str, model: int = 0) -> int:
        return int(self.sunspec.registers.get(model or self.number, name))

    def holds(self, at_us: int) -> float:
        self.sunspec.tick(at_us)
        return self.reads()

    def _begun(self, touched: set[tuple[int, str]]) -> None:
        self.told_chance |= (self.number, self.window) in touched
        if (self.number, self.enable) in touched and self.raw(self.enable):
            self.told_end_us = self.clock.now_us() + self.raw(self.timer) * US

    def reads(self) -> float:
        raise NotImplementedError


class Limited(SunSpecSide):
    """An inverter: per cent of 6 kW, none in force where it is not enabled."""

    model = "https://gridspine.org/models/pv_inverter"
    enable, timer = "WMaxLimPctEna", "WMaxLimPctRvrtTms"
    rated_w = 6_000.0
    step = 6.0

    def plant(self, options: argparse.Namespace) -> Any:
        return Inverter(options)

    def reads(self) -> float:
        if not self.raw(self.enable):
            return self.rated_w
        return self.raw("WMaxLimPct") * 10.0 ** self.raw("WMaxLimPct_SF") / 100.0 * self.rated_w


class LegacyLimited(Limited):
    legacy, number = True, 123
    enable, timer, window = "WMaxLim_Ena", "WMaxLimPct_RvrtTms", "WMaxLimPct_WinTms"
    fallback = 6_000.0
    step = 60.0


class SetPoint(SunSpecSide):
    """A battery: watts, discharging positive in its registers."""

    point = "activePowerSetpoint"
    model = "https://gridspine.org/models/battery"
    enable, timer = "WSetEna", "WSetRvrtTms"
    value, fallback, other_fallback, older = -2_222.6, -700.4, -700.4, 900.0
    step = 1.0

    def plant(self, options: argparse.Namespace) -> Any:
        return Battery(options)

    def reads(self) -> float:
        if not self.raw("WSetEna"):
            return 0.0
        assert self.raw("WSetMod") == 1, "a set-point that is not in watts"
        return -self.raw("WSet") * 10.0 ** self.raw("WSet_SF")


class LegacySetPoint(SetPoint):
    """An older battery: the most it may charge and discharge, the one the negative of the other."""

    legacy, number = True, 124
    enable, timer, window = "StorCtl_Mod", "InOutWRte_RvrtTms", "InOutWRte_WinTms"
    fallback = 0.0
    step = 0.5

    def reads(self) -> float:
        mode, most = self.raw("StorCtl_Mod"), self.raw("WChaMax") * 10.0 ** self.raw("WChaMax_SF")
        if not mode:
            return 0.0
        assert mode == 3
        scale = 10.0 ** self.raw("InOutWRte_SF") / 100.0
        charge, discharge = self.raw("InWRte") * scale * most, self.raw("OutWRte") * scale * most
        assert charge == -discharge, "not one power, but a band"
        return charge


class Reactive(SunSpecSide):
    """An inverter with grid support: reactive power, injection positive in its registers."""

    point = "reactivePowerSetpoint"
    model = "https://gridspine.org/models/smart_inverter"
    enable, timer = "VarSetEna", "VarSetRvrtTms"
    value, fallback, other_fallback, older = -2_222.6, -700.4, -700.4, 900.0
    step = 1.0

    def plant(self, options: argparse.Namespace) -> Any:
        return SmartInverter(options)

    def reads(self) -> float:
        if not self.raw("VarSetEna"):
            return 0.0
        assert self.raw("VarSetMod") == 4, "a set-point that is not in vars"
        return -self.raw("VarSet") * 10.0 ** self.raw("VarSet_SF")


class Exporting(Reactive):
    """A power factor: under-excited is negative here, and a code of its own in its registers."""

    point, name = "powerFactorExportSetpoint", "PFWInj"
    enable, timer = "PFWInjEna", "PFWInjRvrtTms"
    value, fallback, other_fallback, older = -0.9304, -0.9801, -0.9801, 0.9
    step = 0.001

    def reads(self) -> float:
        if not self.raw(f"{self.name}Ena"):
            return 1.0
        size = self.raw(f"{self.name}.PF") * 10.0 ** self.raw("PF_SF")
        return -size if self.raw(f"{self.name}.Ext") else size


class Importing(Exporting):
    point, name = "powerFactorImportSetpoint", "PFWAbs"
    enable, timer = "PFWAbsEna", "PFWAbsRvrtTms"


class VoltVar(Reactive):
    """A stored curve: its number; it goes back to another one, and never to none."""

    number, point, word = 705, "voltVarCurve", "Crv"
    enable, timer = "Ena", "RvrtTms"
    value, fallback, other_fallback, older = 3.0, 2.0, 2.0, 2.0

    def reads(self) -> float:
        """Return which of the stored curves the first, which is in force, is a copy of."""
        if not self.raw("Ena"):
            return self.fallback
        found = [number for number in (2, 3) if self._set(number) == self._set(1)]
        assert len(found) == 1
        return float(found[0])

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self._tell_apart()

    def _tell_apart(self) -> None:
        first = next(name for name in self.sunspec.registers.names(self.number, f"{self.word}.3.") if "RspTms" in name)
        self.sunspec.registers.set(self.number, first, 9)

    def _set(self, number: int) -> list[int]:
        names = self.sunspec.registers.names(self.number, f"{self.word}.{number}.")
        return [self.raw(name) for name in names if not name.endswith("ReadOnly")]


class VoltWatt(VoltVar):
    number, point = 706, "voltWattCurve"


class Droop(VoltVar):
    number, point, word = 711, "frequencyDroopCurve", "Ctl"


class WattVar(VoltVar):
    number, point = 712, "wattVarCurve"

    def _tell_apart(self) -> None:
        self.sunspec.registers.set(712, "Crv.3.Pri", 0)


# -- registers of a description ------------------------------------------------------------------------------------


class Bare:
    """Thirty-two registers: a set-point [0.5 W] at 10 and 11, its timer [s] at 20."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.words, self.ends_us = clock, [0] * 32, 0

    def read(self, address: int, count: int) -> list[int] | None:
        self.tick(self.clock.now_us())
        return self.words[address : address + count]

    def write(self, address: int, words: list[int]) -> None:
        self.words[address : address + len(words)] = words
        if address == 20:
            self.ends_us = self.clock.now_us() + words[0] * US

    def tick(self, at_us: int) -> None:
        if self.ends_us and at_us >= self.ends_us:
            self.ends_us = 0
            self.words[10:12] = 0, 0


class RegisterSide(ModbusSide):
    """A device of no standard with a timer: afterwards it rests."""

    point = "activePowerSetpoint"
    value, fallback, other_fallback, older = -2_222.6, -700.4, -700.4, 900.0
    step = 0.5
    ends: Mapping[str, Any] = MappingProxyType({"timer": {"entity": "holding", "address": 20, "type": "uint16"}})

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.memory = self.bare = Bare(clock)
        place = {"entity": "holding", "address": 10, "type": "int32", "factor": 0.5}
        register = {"unit": "W", "read": place, "write": place, **self.ends}
        self.connection = {"unit": 1, "registers": {self.point: register}}

    def holds(self, at_us: int) -> float:
        self.bare.tick(at_us)
        self.told_end_us = self.told_end_us or self.bare.ends_us or None
        return 0.5 * int(struct.unpack(">i", struct.pack(">2H", *self.bare.words[10:12]))[0])


class HeldSide(RegisterSide):
    """One without a timer, whose model calls its states safe to keep."""

    ends: Mapping[str, Any] = MappingProxyType({"held": True})


LANGUAGES = {
    "SunSpec 704 WMaxLimPct": (Limited,),
    "SunSpec 704 WSet": (SetPoint,),
    "SunSpec 123 WMaxLimPct": (LegacyLimited,),
    "SunSpec 124 InWRte, OutWRte": (LegacySetPoint,),
    "SunSpec 704 VarSet": (Reactive,),
    "SunSpec 704 PFWInj, PFWAbs": (Exporting, Importing),
    "SunSpec 705, 706, 711, 712, a stored curve": (VoltVar, VoltWatt, Droop, WattVar),
    "Modbus registers": (RegisterSide, HeldSide),
}
