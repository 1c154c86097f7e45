"""Operating envelopes: limits of a connection point in intervals, and a default that holds outside of them.

::

    default      ≤ 1.5 kW ──────┐                 ┌──────────────
    interval                    [ ≤ 5 kW ─────────)

Several envelopes of one site hold at once: the tightest limit of all, and of the connection point's own, is the one.
Source: dynamic operating envelopes of CSIP-AUS (DERControl and DefaultDERControl), by name; its clauses were not read.
"""

from collections.abc import Iterator

import msgspec

from gridspine.energy.control import NOTHING, Control
from gridspine.energy.timeline import Limited
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import MAX_US, MIN_US

MAX_INTERVALS = 2_016
"""Intervals of one envelope at most: a week in steps of five minutes."""


class EnvelopeInterval(msgspec.Struct, frozen=True, rename="camel"):
    """Limits in ``[from_us, until_us)`` [µs since 1970]; a mode it leaves out is the default's."""

    from_us: int
    until_us: int
    limits: Control


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Limits of ``site``, in intervals in the order of time; ``default`` holds outside of them, for ever.

    ``changers`` are all who changed it since.
    """

    id: str
    site: str
    organisation: str
    title: str
    default: Control = NOTHING
    intervals: tuple[EnvelopeInterval, ...] = ()
    created_us: int = 0
    by: str = ""
    changers: tuple[str, ...] = ()
    version: int = 1

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < len(self.title.strip()) <= 200:
            raise Invalid("title: 1 to 200 characters are needed")
        if len(self.intervals) > MAX_INTERVALS:
            raise Invalid(f"intervals: at most {MAX_INTERVALS}")
        self.default.check("default", limits_only=True)
        before_us = MIN_US
        for at, one in enumerate(self.intervals):
            if not before_us <= one.from_us < one.until_us <= MAX_US:
                raise Invalid(f"intervals[{at}]: it must end after it starts, and start when the one before has ended")
            one.limits.check(f"intervals[{at}].limits", limits_only=True)
            before_us = one.until_us

    def layer(self, from_us: int, until_us: int) -> list[Limited]:
        """Return its limits in ``[from_us, until_us)`` [µs since 1970], without gaps."""
        return [one for one in self._all(from_us, until_us) if one.until_us > one.from_us]

    def _all(self, from_us: int, until_us: int) -> Iterator[Limited]:
        at_us = from_us
        for one in self.intervals:
            if one.until_us <= from_us:
                continue
            if one.from_us >= until_us:
                break
            begin_us, end_us = max(one.from_us, from_us), min(one.until_us, until_us)
            yield Limited(at_us, begin_us, self.default)
            yield Limited(begin_us, end_us, one.limits.over(self.default))
            at_us = end_us
        yield Limited(at_us, until_us, self.default)
