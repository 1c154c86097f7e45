"""What a device was seen to report while it was being commissioned, as arrays in SI units.

::

    log "readings" ─┐
                    ├─► one `Observed` a point: times, values, whether the screen refused them ─► checks
    quarantine ─────┘   (what cannot be is the best evidence of a wrong scale or sign)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gridspine.kernel.reading_type import Flow, Kind, Phase
from gridspine.kernel.readings import BoolArray, Float64Array, Int64Array
from gridspine.kernel.units import unit

Role = Literal["source", "load", "storage", "connection"]
"""What a device does with power: only gives it, only takes it, both as it is told, or both as those behind it do."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """One point: ``observed_us`` and ``received_us`` int64 [µs since 1970], ``value`` float64 [SI], all (n,).

    In order of observed time. ``refused`` bool (n,): the screen did not take it. ``needed``: the model says the point
    is there. ``possible`` and ``limits`` bound the value [SI], infinite where the model says nothing.
    """

    name: str
    quantity: str
    kind: Kind
    flow: Flow
    phase: Phase
    observed_us: Int64Array
    received_us: Int64Array
    value: Float64Array
    refused: BoolArray
    needed: bool = True
    possible: tuple[float, float] = (-np.inf, np.inf)
    limits: tuple[float, float] = (-np.inf, np.inf)

    def __len__(self) -> int:
        return len(self.value)

    def finite(self) -> "Observed":
        """Return the same without values that are no numbers."""
        return self.take(np.isfinite(self.value))

    def take(self, mask: BoolArray | Int64Array) -> "Observed":
        """Return the readings at ``mask``."""
        return replace(
            self,
            observed_us=self.observed_us[mask],
            received_us=self.received_us[mask],
            value=self.value[mask],
            refused=self.refused[mask],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """A device under commissioning: its points, what is known of it from its plate, and something to compare with.

    ``nameplate_w`` [W], ``nominal_v`` [V, phase to neutral] and ``nominal_hz`` [Hz] are None where unknown.
    ``reference`` is a power [W, import positive] that must be the device's own, by another meter or as a sum of parts.
    """

    points: Sequence[Observed]
    role: Role = "connection"
    nameplate_w: float | None = None
    nominal_v: float | None = None
    nominal_hz: float | None = None
    reference: Observed | None = None

    def find(self, quantity: str, *, kind: Kind = "instantaneous", phase: Phase = "all") -> Observed | None:
        """Return the first point that measures ``quantity`` so, or None."""
        return self._first(lambda one: (one.quantity, one.kind, one.phase) == (quantity, kind, phase))

    def register(self, flow: Flow) -> Observed | None:
        """Return the register of active energy in one direction, of all phases, or None."""
        return self._first(
            lambda one: (one.quantity, one.kind, one.flow, one.phase) == ("active_energy", "register", flow, "all")
        )

    def _first(self, wanted: Callable[[Observed], bool]) -> Observed | None:
        return next((one for one in self.points if wanted(one)), None)


def si(value: Float64Array, symbol: str) -> Float64Array:
    """Return values in ``symbol`` as SI."""
    known = unit(symbol)
    return value * known.factor + known.offset


def aligned(first: Observed, *others: Observed, within_us: int = 2_000_000) -> list[Float64Array]:
    """Return the values of several points at the times of ``first`` where all were observed within ``within_us``."""
    times, columns = first.observed_us, [first.value]
    good = np.ones(len(times), np.bool_)
    for other in others:
        if not len(other):
            return [np.zeros(0) for _ in range(len(others) + 1)]
        right = np.minimum(np.searchsorted(other.observed_us, times), len(other) - 1)
        left = np.maximum(right - 1, 0)
        nearer = np.abs(other.observed_us[left] - times) < np.abs(other.observed_us[right] - times)
        at = np.where(nearer, left, right)
        good &= np.abs(other.observed_us[at] - times) <= within_us
        columns.append(other.value[at])
    return [column[good] for column in columns]


def role_of(power: Observed | None) -> Role:
    """Return what the bounds of a device's power [W, import positive] say it does."""
    if power is None:
        return "connection"
    low, high = power.possible
    if not np.isfinite(low) or not np.isfinite(high):
        return "connection"
    if low < 0 and high <= 0.2 * -low:
        return "source"
    if high > 0 and -low <= 0.2 * high:
        return "load"
    return "connection"
