"""Modbus TCP and RTU devices that speak SunSpec: polled for readings, given leases they hold by themselves.

::

    layout    where SunSpec puts a model's points (definitions from ``pysunspec2``)
    wire      registers ↔ numbers, scale factors, "not implemented"
    plan      which registers to read together
    session   one connection: serialised requests, time-outs, back-off
    sunspec   finding the chain of models in a device
    mapping   Thing Model properties ↔ SunSpec points, and the sign table, as data
    device    one Thing at one unit: identify, poll, read, write
    control   an order as register values, and whether a device holds it
    applying  one setting into one device, and out again when it did not stay
    keeper    carries orders out: write, read back, renew, end
    curve     stored curves of grid support functions: registers ↔ values
    asked     carries out actions: curves, start and stop, alarms
    heartbeat whether the device and its controller live
    driver    the `Adapter`

    register       a register of no standard: bytes ↔ number, by a description
    readout        all registers of such a device, as arrays
    plain_device   a device of such registers: poll, read, write
    plain_keeper   carries out its orders, and ends leases where the device does not

Power is import positive in all readings and orders; SunSpec counts generation as positive. The factor of every signed
point is in ``models/signs.json`` and nowhere else.
"""

from gridspine.adapters.modbus.driver import ModbusAdapter
from gridspine.things.adapter import Adapter


def adapter() -> Adapter:
    """Return the adapter: what the entry point ``gridspine.adapters: modbus`` names."""
    return ModbusAdapter()
