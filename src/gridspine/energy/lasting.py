"""Values that still hold: of a point that is reported by exception, no reading means "as before". Pure; no I/O.

::

    a reading ─ its point's longest silence ─┤                     it holds as long by itself
       ╎     ├─ heard of, within the deadband ─┤ longest silence ┤ and as long as it is heard of
    ───┴─────────────────────────────────────────────────────────┴──► nothing is known any more

Only what is a state of things lasts: not what a register counted, nor the energy of an interval.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gridspine.kernel.reading_type import Kind

LASTING: frozenset[Kind] = frozenset({"instantaneous", "state", "setting"})
"""Kinds of points whose values last."""


class Slot(NamedTuple):
    """What was read in an interval: what is told of it (None where nothing valid was), and the last of it."""

    told: float | None
    last_us: int
    last: float | None


class Lasting(NamedTuple):
    """How long values of a point last [µs]: ``silence_us`` after they were read, for ever where that is 0.

    So do they after ``heard_us``, in times since ``steady_us`` [µs since 1970]: the point was heard of all the while.
    """

    silence_us: int
    steady_us: int
    heard_us: int

    def holds(self, read_us: int, begin_us: int, end_us: int) -> bool:
        """Whether what was read before holds in the whole of ``[begin_us, end_us)``."""
        if not self.silence_us or end_us <= read_us + self.silence_us:
            return True
        return self.steady_us <= begin_us and end_us <= self.heard_us + self.silence_us


def lasted(
    slots: Mapping[int, Slot], before: Slot | None, rule: Lasting, begin_us: int, step_us: int, count: int
) -> tuple[Sequence[float | None], tuple[int, ...]]:
    """Return one value for each of ``count`` intervals from ``begin_us`` on, and which of them were read ``before``.

    An interval in which something was read tells that, or None where it is not valid.
    """
    told: list[float | None] = []
    earlier = []
    for at in range(count):
        here, from_us = slots.get(at), begin_us + at * step_us
        if here is not None:
            before = here
            told.append(here.told)
        elif before is None or before.last is None or not rule.holds(before.last_us, from_us, from_us + step_us):
            told.append(None)
        else:
            told.append(before.last)
            earlier.append(at)
    return told, tuple(earlier)
