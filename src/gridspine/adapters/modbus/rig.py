"""A Modbus TCP device of no standard to judge this adapter by: registers of its own, written down here byte by byte.

::

    input 3, 4    active power [W], int32, import positive     holding 10, 11   set-point [0.5 W], int32
    input 5, 6    set-point as it measures it [W], int32       holding 20       its timer [s], uint16
    input 7       voltage [0.1 V], uint16

It speaks the frames of the Modbus Messaging on TCP/IP guide V1.0b (MBAP header) itself, so that the library of the
adapter does not talk to itself. The clauses were not read again.
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from gridspine.adapters.modbus.register import Register, decode, encode
from gridspine.adapters.modbus.wire import to_bytes, to_words
from gridspine.kernel.errors import Invalid
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import Frame, Rig, Sample, TcpDevice, recorded
from gridspine.things.adapter import Binding, Order

THING = "urn:example:inverter"
_POWER = {"entity": "input", "address": 3, "type": "int32"}
_LIMIT = {"entity": "input", "address": 5, "type": "int32"}
_VOLTAGE = {"entity": "input", "address": 7, "type": "uint16", "factor": 0.1}
_WRITE = {"entity": "holding", "address": 10, "type": "int32", "factor": 0.5}
_TIMER = {"entity": "holding", "address": 20, "type": "uint16"}
_REGISTERS = {
    "activePower": {"unit": "W", "read": _POWER},
    "activePowerSetpoint": {"unit": "W", "read": _LIMIT, "write": _WRITE, "timer": _TIMER},
    "voltage": {"unit": "V", "read": _VOLTAGE},
}
_FRAME = (Register("input", 3, "int32"), Register("input", 5, "int32"), Register("input", 7, "uint16", factor=0.1))
_SET = Register("holding", 10, "int32", factor=0.5)
_ILLEGAL_VALUE = 3


class PlainDevice:
    """See `gridspine.testing.rig.Rig`."""

    pushes, commands = False, True
    passwords: Sequence[str] = ()
    acknowledged = 0
    samples = (
        Sample(THING, "activePower", 1_500.0, "W"),
        Sample(THING, "activePower", -3_250.0, "W"),
        Sample(THING, "voltage", 230.5, "V"),
    )

    def __init__(self) -> None:
        self.silent = self.refuses = False
        self.written: list[float | None] = []
        self.settings: Mapping[str, Any] = {"allow": ["127.0.0.0/8"]}
        self.secrets: Mapping[str, str] = {}
        self._input, self._holding = [0] * 32, [0] * 32
        self._device = TcpDevice(self._serve)

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._device.connections

    def bindings(self) -> Sequence[Binding]:
        """Return the device, read every two seconds."""
        connection = {
            "host": "127.0.0.1", "port": self._device.port, "unit": 1, "intervalS": 2, "timeoutS": 1,
            "registers": _REGISTERS,
        }  # fmt: skip
        return (Binding(THING, "Inverter", "org", "m", connection),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order on the set-point."""
        return Order(f"c{sequence}", THING, "activePowerSetpoint", value, until_us, 0.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return what is in frames.json: the registers 3 to 7, most significant byte first."""
        return recorded("gridspine.adapters.modbus")

    def decode(self, frame: bytes) -> Any:
        """Return power, set-point and voltage of five registers."""
        if len(frame) != 10:
            raise Invalid(f"asked for 5 registers, {len(frame) / 2:g} came")
        words = to_words(frame)
        return [decode(one, words[one.address - 3 : one.address - 3 + one.count]) for one in _FRAME]

    def encode(self, means: Any) -> bytes:
        """Return five registers."""
        return b"".join(to_bytes(encode(one, value)) for one, value in zip(_FRAME, means, strict=True))

    async def start(self, node: FakeNode) -> None:
        """Listen."""
        await self._device.start()

    async def join(self, node: FakeNode) -> None:
        """It is polled: nothing to do."""

    async def measure(self, sample: Sample) -> None:
        """Have this value in its registers from now on."""
        register = _FRAME[0] if sample.name == "activePower" else _FRAME[2]
        self._input[register.address : register.address + register.count] = encode(register, sample.value)

    async def cut(self) -> None:
        """Be gone."""
        await self._device.stop()

    async def restore(self) -> None:
        """Be back."""
        await self._device.start()

    async def stop(self) -> None:
        """End."""
        await self._device.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            pdu = await reader.readexactly(length - 1)
            if self.silent:
                continue
            answer = self._answer(pdu)
            writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
            await writer.drain()

    def _answer(self, pdu: bytes) -> bytes:
        """Return the answer to a request: functions 3 and 4 read, 6 and 16 write."""
        function, address, count = struct.unpack(">BHH", pdu[:5])
        if function in {3, 4}:
            words = (self._holding if function == 3 else self._input)[address : address + count]
            return bytes((function, 2 * count)) + to_bytes(words)
        if function not in {6, 16}:
            return bytes((function | 0x80, 1))
        words = [count] if function == 6 else list(to_words(pdu[6:]))
        if address == _SET.address and len(words) == _SET.count:
            self.written.append(decode(_SET, words))
            if self.refuses:
                return bytes((function | 0x80, _ILLEGAL_VALUE))
        self._holding[address : address + len(words)] = words
        return pdu[:5]


def rig() -> Rig:
    """Return a new device."""
    return PlainDevice()
