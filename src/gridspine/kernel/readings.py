"""`Readings`: a batch of readings as arrays. The hot path never makes an object for one reading.

`NamedReadings` is the same before its points are known by number: what a codec makes of a wire's bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
UInt16Array = npt.NDArray[np.uint16]
BoolArray = npt.NDArray[np.bool_]

MAX_BATCH = 32_768
"""Readings in one batch at most: even incompressible ones (22 bytes each) stay within a 1 MB log record."""


class Channel(IntEnum):
    """Four different things a value can be; never mixed, never substituted for each other."""

    REPORTED = 0
    COMMANDED = 1
    PLANNED = 2
    EMULATED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Readings of numbered points on one channel, received at one time, all arrays of shape (n,).

    ``point`` int32; ``observed_us`` int64 [µs since 1970, the source's clock]; ``value`` float64 [the point's unit];
    ``quality`` uint16 (`gridspine.kernel.quality`). ``sources`` are the authenticated principals they came from, and
    ``origin`` uint16 says which of them each reading came from; None where there is one source only. ``received_us``
    [µs since 1970] is the node's clock. ``backfill`` marks declared history, which never moves a twin back in time.
    """

    point: Int32Array
    observed_us: Int64Array
    value: Float64Array
    quality: UInt16Array
    sources: tuple[str, ...]
    channel: Channel
    received_us: int
    backfill: bool = False
    origin: UInt16Array | None = None

    def __len__(self) -> int:
        return len(self.point)

    def take(self, index: Int64Array | BoolArray | slice) -> "Readings":
        """Return the readings at ``index`` (positions, mask or slice), in that order."""
        return Readings(
            self.point[index],
            self.observed_us[index],
            self.value[index],
            self.quality[index],
            self.sources,
            self.channel,
            self.received_us,
            self.backfill,
            None if self.origin is None else self.origin[index],
        )


class ItemProblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why one item of a batch was refused: its place in what was sent, a stable ``reason``, words for a person."""

    index: int
    reason: str
    detail: str
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class NamedReadings:
    """Readings whose points are still names: what a codec makes of a wire's bytes.

    ``names`` and ``units`` list each distinct (point id, unit) pair once; ``name_index`` int32 (n,) points into
    them; a unit of "" means *the point's own*. ``item`` int64 (n,) is each reading's place in what was sent.
    ``observed_us`` int64, ``value`` float64, ``quality`` uint16, each (n,). ``problems`` are the items that could
    not even be read; received = n + len(problems). ``names`` may be packed: index them rather than walk them.
    """

    names: Sequence[str]
    units: Sequence[str]
    name_index: Int32Array
    item: Int64Array
    observed_us: Int64Array
    value: Float64Array
    quality: UInt16Array
    problems: list[ItemProblem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.value)

    @property
    def received(self) -> int:
        """How many items were sent, readable or not."""
        return len(self.value) + len(self.problems)

    def take(self, index: slice) -> "NamedReadings":
        """Return the readings at ``index``; the problems stay with the first slice only."""
        return NamedReadings(
            self.names,
            self.units,
            self.name_index[index],
            self.item[index],
            self.observed_us[index],
            self.value[index],
            self.quality[index],
            self.problems if index.start in {None, 0} else [],
        )


def named_readings(rows: list[tuple[str, str, int, float, int]]) -> NamedReadings:
    """Build a small batch from ``(point id, unit, observed [µs], value, quality)`` rows: for adapters and tests."""
    pairs: dict[tuple[str, str], int] = {}
    index = [pairs.setdefault((name, unit), len(pairs)) for name, unit, *_ in rows]
    columns: Any = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    return NamedReadings(
        names=[name for name, _ in pairs],
        units=[unit for _, unit in pairs],
        name_index=np.array(index, np.int32),
        item=np.arange(len(rows), dtype=np.int64),
        observed_us=np.array(columns[2], np.int64),
        value=np.array(columns[3], np.float64),
        quality=np.array(columns[4], np.uint16),
    )
