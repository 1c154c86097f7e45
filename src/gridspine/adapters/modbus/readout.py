"""All points of a device of no standard at once: registers as they came ↔ arrays of values. No I/O.

::

    blocks      holding [0 ─── 3]   [10─11]   input [5]       what was read, one request each
    words       w0 w1 w2 w3 w10 w11 w5                        end to end, in that order
    points      (w0 w1) int32 · w2 uint16 · …                 those of one type and order are decoded together
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gridspine.adapters.modbus.plan import Span
from gridspine.adapters.modbus.register import Entity, Register, Served, steps_of
from gridspine.kernel.ids import point_id
from gridspine.kernel.names import PackedNames
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import NamedReadings

_MAX_EXACT = float(1 << 53)
_INEXACT = int(Quality.QUESTIONABLE | Quality.INACCURATE)
_TYPES = {
    "int16": ">i2", "uint16": ">u2", "int32": ">i4", "uint32": ">u4", "int64": ">i8", "uint64": ">u8",
    "float32": ">f4", "float64": ">f8",
}  # fmt: skip
Words = npt.NDArray[np.uint16]
Place = tuple[Entity, Span]


@dataclass(frozen=True, slots=True)
class _Group:
    """Points of one type: which they are, and where in the words their registers are, most significant first."""

    type: str
    byte_swap: bool
    points: npt.NDArray[np.intp]
    words: npt.NDArray[np.intp]


class Readout:
    """Where each point's registers are in what the requests for ``blocks`` bring, one after the other."""

    def __init__(self, thing: str, served: Mapping[str, Served], blocks: Sequence[Place]) -> None:
        self.blocks = tuple(blocks)
        self.length = sum(block.end - block.start for _, block in blocks)
        self.served = tuple(served)
        self._registers = [one.read for one in served.values()]
        self._names = PackedNames.of([point_id(thing, name) for name in served])
        self._units = [one.unit for one in served.values()]
        steps = [steps_of(one.factor) for one in self._registers]
        self._times = np.array([times for times, _ in steps], np.float64)
        self._over = np.array([over for _, over in steps], np.float64)
        self._places = np.arange(len(served), dtype=np.int32)
        self._groups = self._grouped(_starts(blocks))

    def _grouped(self, starts: Mapping[tuple[Entity, int], int]) -> tuple[_Group, ...]:
        alike: dict[tuple[str, bool], list[int]] = {}
        for at, one in enumerate(self._registers):
            alike.setdefault((one.type, one.byte_swap), []).append(at)
        groups = []
        for (type_, byte_swap), points in alike.items():
            words = [_words(self._registers[at], starts) for at in points]
            groups.append(_Group(type_, byte_swap, np.array(points, np.intp), np.array(words, np.intp)))
        return tuple(groups)

    def read(self, words: Words, came: npt.NDArray[np.bool_], observed_us: int) -> tuple[NamedReadings, list[str]]:
        """Return readings of ``words`` uint16 (`length`,), of which those in ``came`` are there, and what gave none.

        What gave none is told in words, point by point: its registers did not come, or hold no number.
        """
        number = np.empty(len(self._registers))
        quality = np.zeros(len(number), np.uint16)
        there = np.ones(len(number), np.bool_)
        whole = bool(came.all())
        with np.errstate(over="ignore", invalid="ignore"):
            for group in self._groups:
                found = _numbers(group, words)
                number[group.points] = found
                if group.type in {"int64", "uint64"}:
                    quality[group.points[np.abs(found) > _MAX_EXACT]] = _INEXACT
                if not whole:
                    there[group.points] = came[group.words].all(axis=1)
            number = number * self._times / self._over
        good = there & np.isfinite(number)
        if good.all():
            at_us = np.full(len(number), observed_us, np.int64)
            places = self._places
            return NamedReadings(self._names, self._units, places, places.astype(np.int64), at_us, number, quality), []
        places = np.flatnonzero(good).astype(np.int32)
        at_us, item = np.full(len(places), observed_us, np.int64), np.arange(len(places), dtype=np.int64)
        kept = NamedReadings(self._names, self._units, places, item, at_us, number[places], quality[places])
        return kept, [self._lacking(at, there=bool(there[at])) for at in np.flatnonzero(~good).tolist()]

    def _lacking(self, at: int, *, there: bool) -> str:
        one = self._registers[at]
        if there:
            return f"{self.served[at]}: {one.entity} {one.address} holds no number"
        return f"{self.served[at]}: refused at {one.entity} {one.address}"


def _starts(blocks: Iterable[Place]) -> dict[tuple[Entity, int], int]:
    """Return where each register is in the words of all blocks."""
    found: dict[tuple[Entity, int], int] = {}
    at = 0
    for entity, block in blocks:
        for address in range(block.start, block.end):
            found.setdefault((entity, address), at)
            at += 1
    return found


def _words(register: Register, starts: Mapping[tuple[Entity, int], int]) -> list[int]:
    """Return where the registers of a value are, most significant first."""
    found = [starts[register.entity, register.address + at] for at in range(register.count)]
    return found[::-1] if register.word_swap else found


def _numbers(group: _Group, words: Words) -> npt.NDArray[np.float64]:
    raw = words[group.words]
    if group.byte_swap:
        raw = raw.byteswap()
    if group.type == "bit":
        numbers: npt.NDArray[Any] = raw[:, 0] != 0
    elif group.type in {"int8", "uint8"}:
        low = (raw[:, 0] & 0xFF).astype(np.uint8)
        numbers = low.view(np.int8) if group.type == "int8" else low
    else:
        numbers = raw.astype(">u2").view(_TYPES[group.type])[:, 0]
    return numbers.astype(np.float64)
