"""Meter exchange: both registers' readings are an event, and what was used goes on across it.

::

    old meter   … 81 240 ─┐ final             register falls from 81 240 to 12: no energy flowed back
    new meter             └─ first 12 … 480   used = (81 240 - start) + (end - 12)

A register also starts again from 0 when it is full (``rollover``): then it has fallen, and what it lacks to full is
counted. A fall that neither explains is a fault in the data: nothing is counted over it, and it is said.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from gridspine.kernel.errors import Invalid
from gridspine.kernel.readings import Float64Array, Int64Array
from gridspine.things.model import ThingModel

MAX_EXCHANGES = 100
"""Exchanges one Thing keeps."""
_ROLLED = 0.5
"""The part of a register's range that a fall by roll-over is larger than: less is not believed to be one."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A meter was exchanged at ``at_us`` [µs since 1970]: serials, and of each register the old meter's last reading
    (``final``) and the new one's first (``first``), by the point's name, in the point's unit.
    """

    at_us: int
    old_serial: str
    new_serial: str
    final: dict[str, float]
    first: dict[str, float]
    by: str
    why: str
    event: str = ""

    def check(self, model: ThingModel, now_us: int) -> None:
        """Raise `Invalid` naming what is wrong."""
        registers = {point.name for point in model.points if point.reading_type.kind == "register"}
        if not registers:
            raise Invalid("the Thing has no register: nothing is exchanged")
        if set(self.final) != registers or set(self.first) != registers:
            raise Invalid(f"final, first: a reading of each register is needed: {', '.join(sorted(registers))}")
        for name, value in (*self.final.items(), *self.first.items()):
            if not np.isfinite(value) or value < 0:
                raise Invalid(f"{name}: a register's reading is a number that is not negative")
        for name, serial in (("oldSerial", self.old_serial), ("newSerial", self.new_serial)):
            if not 0 < len(serial) <= 200 or not serial.isprintable():
                raise Invalid(f"{name}: 1 to 200 printable characters")
        if self.at_us > now_us:
            raise Invalid("at: lies in the future")
        if not 0 < len(self.why.strip()) <= 2_000:
            raise Invalid("why: 1 to 2000 characters are needed")


class Exchanges(msgspec.Struct, frozen=True):
    """The exchanges of a Thing's meter, in the order of time."""

    list: tuple[Exchange, ...] = ()


class Used(NamedTuple):
    """What went through a register: ``amount`` [the point's unit], and what was met on the way."""

    amount: float
    rollovers: int
    exchanges: int
    unexplained: int


def used(
    observed_us: Int64Array, value: Float64Array, exchanges: Sequence[tuple[int, float, float]], rollover: float | None
) -> Used:
    """Return what a register counted from its first reading to its last.

    ``observed_us`` int64 (n,) [µs since 1970], in order, and ``value`` float64 (n,) [the point's unit] are its
    readings; ``exchanges`` are (time, final, first) in order of time, ``rollover`` the value at which it starts again.
    """
    if len(value) < 2:
        return Used(0.0, 0, 0, 0)
    within = [one for one in exchanges if observed_us[0] < one[0] <= observed_us[-1]]
    total, rolled, unexplained, start = 0.0, 0, 0, 0
    before = float(value[0])
    for at_us, final, first in [*within, (int(observed_us[-1]) + 1, float("nan"), 0.0)]:
        end = int(np.searchsorted(observed_us, at_us))
        readings = np.concatenate(([before], value[start:end]))
        if np.isfinite(final):
            readings = np.append(readings, final)
        amount, times, odd = _piece(readings, rollover)
        total, rolled, unexplained = total + amount, rolled + times, unexplained + odd
        start, before = end, first
    return Used(total, rolled, len(within), unexplained)


def of_register(exchanges: Sequence[Exchange], name: str) -> list[tuple[int, float, float]]:
    """Return the exchanges as `used` wants them, of one register."""
    return [(one.at_us, one.final[name], one.first[name]) for one in exchanges if name in one.final]


def with_exchange(known: Exchanges, new: Exchange) -> Exchanges:
    """Return ``known`` and one more; raise `Invalid` when there are too many or one is of the same time."""
    if len(known.list) >= MAX_EXCHANGES:
        raise Invalid(f"a Thing keeps {MAX_EXCHANGES} exchanges: register a new Thing")
    if any(one.at_us == new.at_us for one in known.list):
        raise Invalid("at: there is an exchange of that time already")
    return Exchanges(tuple(sorted((*known.list, new), key=lambda one: one.at_us)))


def _piece(value: Float64Array, rollover: float | None) -> tuple[float, int, int]:
    """Return what one meter counted, how often it rolled over, and the falls that nothing explains."""
    steps = np.diff(value)
    falls = steps < 0
    if not falls.any():
        return float(steps.sum()), 0, 0
    rolls = falls & (-steps > _ROLLED * rollover) if rollover else np.zeros(len(steps), np.bool_)
    counted = np.where(rolls, steps + (rollover or 0.0), np.where(falls, 0.0, steps))
    return float(counted.sum()), int(np.count_nonzero(rolls)), int(np.count_nonzero(falls & ~rolls))
