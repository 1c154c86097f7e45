"""Where a device is: the ``connection`` of a Thing's binding, read and checked."""

from typing import Any, Literal

import msgspec

from gridspine.adapters.modbus.register import Served
from gridspine.kernel.errors import Invalid

MAX_REGISTERS = 1_000
"""Points that are read of one device of no standard, at most."""


class Endpoint(msgspec.Struct, frozen=True):
    """One physical connection: a TCP host and port, or a serial line. Units behind it share it.

    ``guarded``: it is made only to addresses that a stranger may name.
    """

    transport: Literal["tcp", "rtu"]
    host: str = ""
    port: int = 0
    device: str = ""
    baudrate: int = 0
    parity: str = ""
    stopbits: int = 0
    guarded: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.transport == "tcp" else self.device


class Address(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The ``connection`` of a binding.

    ``transport`` *tcp* takes ``host`` and ``port``; *rtu* takes ``device``, ``baudrate``, ``parity`` (N, E, O) and
    ``stopbits``. ``unit`` is the Modbus unit id. ``interval_s`` [s] is the time from poll to poll, ``timeout_s`` [s]
    how long one answer may take. ``mapping`` names the mapping when the model has several. ``base`` is the address
    of the SunSpec marker where it is none of the usual three. ``serial_number`` is compared with what the device
    says of itself: another device at the same address is neither read nor commanded. With ``heartbeat`` the
    controller's heartbeat of SunSpec 715 is written at each poll.

    With ``registers`` it is a device of no standard, and all that is known of it are these points, by name.

    ``guarded``: a description says where it is, so that its address is checked first; with ``registers`` it always is.
    """

    transport: Literal["tcp", "rtu"] = "tcp"
    host: str = "127.0.0.1"
    port: int = 502
    device: str = ""
    baudrate: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    unit: int = 1
    interval_s: float = 5.0
    timeout_s: float = 3.0
    mapping: str = ""
    base: int | None = None
    serial_number: str = ""
    heartbeat: bool = False
    registers: dict[str, Served] = {}
    guarded: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """The connection this device shares with others at the same place."""
        if self.transport == "tcp":
            return Endpoint("tcp", host=self.host, port=self.port, guarded=self.guarded or bool(self.registers))
        return Endpoint("rtu", device=self.device, baudrate=self.baudrate, parity=self.parity, stopbits=self.stopbits)


def parse_address(connection: dict[str, Any]) -> Address:
    """Return the address in a binding's ``connection``; raise `Invalid` naming what is wrong."""
    try:
        address = msgspec.convert(connection, Address)
    except msgspec.ValidationError as error:
        raise Invalid(f"connection: {error}") from error
    if not 0 <= address.unit <= 255:
        raise Invalid("connection: unit is a number from 0 to 255")
    if not 0 < address.port <= 65535:
        raise Invalid("connection: port is a number from 1 to 65535")
    if address.interval_s <= 0 or address.timeout_s <= 0:
        raise Invalid("connection: intervalS and timeoutS are positive")
    if address.transport == "rtu" and not address.device:
        raise Invalid("connection: a serial line needs its device, such as /dev/ttyUSB0")
    if address.baudrate <= 0:
        raise Invalid("connection: baudrate is positive")
    if len(address.registers) > MAX_REGISTERS:
        raise Invalid(f"connection: at most {MAX_REGISTERS} registers")
    for name, served in address.registers.items():
        try:
            served.check()
        except Invalid as error:
            raise Invalid(f"connection: registers: {name[:100]}: {error.detail}") from error
    return address
