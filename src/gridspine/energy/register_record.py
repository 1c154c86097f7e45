"""Register records: what a meter's registers were at an instant, and how that is known.

::

    tolerance          ├────┤instant├────┤
    exact                       x                    a reading of just that instant
    near                          x                  the nearest within the tolerance, as it is: no correction
    interpolated    x                       x        between the two nearest, where the bid agreed to estimates
    missing                                          nothing of these: said, and nothing is guessed

The energy of an interval is the difference of two records, never a sum of powers.
"""

from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from gridspine.energy.bid import Bid
from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.readings import Float64Array, Int64Array
from gridspine.kernel.time import US
from gridspine.things.model import PointModel

Which = Literal["start", "end"]
Method = Literal["exact", "near", "interpolated"]
_UNFIT = (
    Quality.OVERFLOW | Quality.BAD_REFERENCE | Quality.FAILURE | Quality.OLD_DATA | Quality.INCONSISTENT
    | Quality.SUBSTITUTED | Quality.TEST | Quality.OPERATOR_BLOCKED
)  # fmt: skip
_FALLEN = Quality.QUESTIONABLE | Quality.INCONSISTENT
"""How the node marks a register's reading that is less than the one before it."""
_ESTIMATES = Quality.ESTIMATED | Quality.CLOCK_UNSYNCHRONISED
"""What makes a reading one that only they take who agreed to estimates."""


class Sample(msgspec.Struct, frozen=True, rename="camel"):
    """A reading of a register: when it was observed [µs since 1970], its value as an exact decimal, its quality."""

    observed_us: int
    value: str
    quality: int


class RegisterReading(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A register of ``point`` at the record's instant: ``value``, an exact decimal in ``unit``, observed when.

    ``rollover`` is the value at which it starts again, "" where that is not known. An interpolated value names the two
    readings it lies ``between``; its ``observed_us`` is the instant. ``estimated``: it is not simply what was read.
    """

    point: str
    unit: str
    value: str
    observed_us: int
    quality: int
    method: Method
    rollover: str = ""
    between: tuple[Sample, ...] = ()

    @property
    def estimated(self) -> bool:
        """Whether it is an estimate: interpolated, or read from one, or by a clock that nobody set."""
        return self.method == "interpolated" or bool(self.quality & _ESTIMATES)


class RegisterRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The registers of ``meter`` at ``at_us`` [µs since 1970], where ``bid`` begins (*start*) or ends.

    ``missing`` are registers of which nothing is known there. ``number`` counts its corrections, ``supersedes`` is the
    record before it. ``kept_us`` is when it was made: what came later is not in it.
    """

    id: str
    organisation: str
    buyer: str
    bid: str
    meter: str
    which: Which
    at_us: int
    readings: tuple[RegisterReading, ...]
    missing: tuple[str, ...] = ()
    number: int = 0
    supersedes: str = ""
    kept_us: int = 0
    version: int = 1

    def of(self, point: str) -> RegisterReading | None:
        """Return what it knows of a register, None where that is missing."""
        return next((one for one in self.readings if one.point == point), None)

    def same(self, other: "RegisterRecord") -> bool:
        """Whether it says the same of the registers."""
        return (self.readings, self.missing) == (other.readings, other.missing)


class Samples(NamedTuple):
    """Readings of a register, in the order of ``observed_us`` int64 (n,); ``value`` float64 (n,); ``quality`` (n,)."""

    observed_us: Int64Array
    value: Float64Array
    quality: Int64Array

    def at(self, place: int) -> Sample:
        """Return one of them, its value as the shortest decimal that is that number."""
        return Sample(int(self.observed_us[place]), exact(float(self.value[place])), int(self.quality[place]))


def exact(value: float) -> str:
    """Return the shortest decimal that is ``value``, without an exponent."""
    return f"{Decimal(repr(value + 0.0)).normalize():f}"


def serves(quality: int, which: Which) -> bool:
    """Whether a reading of this quality may settle anything.

    One that fell from the reading before it may at the end: whether a roll-over or an exchange explains that is seen
    there. At the start it may not: nobody knows from where it fell.
    """
    if quality & VALIDITY_MASK == 0:
        return quality & int(_UNFIT) == 0
    return which == "end" and quality & (VALIDITY_MASK | int(_UNFIT)) == int(_FALLEN)


def reading_at(bid: Bid, point: PointModel, which: Which, samples: Samples) -> RegisterReading | None:
    """Return a register where ``bid`` begins or ends, by its rules; None where nothing there serves."""
    at_us = bid.from_us if which == "start" else bid.until_us
    good = np.array([serves(int(one), which) for one in samples.quality], np.bool_)
    measured = good & (samples.quality & int(_ESTIMATES) == 0)
    found = _near(bid, at_us, samples, np.flatnonzero(measured))
    if found is None and bid.estimate == "interpolate":
        found = _near(bid, at_us, samples, np.flatnonzero(good))
        found = found or _between(bid, at_us, samples, np.flatnonzero(measured))
    if found is None:
        return None
    method, sample, between = found
    kind = point.reading_type
    return RegisterReading(
        point=point.name, unit=kind.unit, value=sample.value, observed_us=sample.observed_us, quality=sample.quality,
        method=method, rollover="" if kind.rollover is None else exact(kind.rollover), between=between,
    )  # fmt: skip


_Found = tuple[Method, Sample, tuple[Sample, ...]]


def _near(bid: Bid, at_us: int, samples: Samples, places: Int64Array) -> _Found | None:
    if not len(places):
        return None
    apart_us = np.abs(samples.observed_us[places] - at_us)
    nearest = int(np.argmin(apart_us))  # of two as near the earlier: they are in the order of time
    if apart_us[nearest] > bid.tolerance_s * US:
        return None
    return "exact" if apart_us[nearest] == 0 else "near", samples.at(int(places[nearest])), ()


def _between(bid: Bid, at_us: int, samples: Samples, places: Int64Array) -> _Found | None:
    after = int(np.searchsorted(samples.observed_us[places], at_us))
    if not 0 < after < len(places):
        return None
    one, two = samples.at(int(places[after - 1])), samples.at(int(places[after]))
    if at_us - one.observed_us > bid.wait_s * US or two.observed_us - at_us > bid.wait_s * US:
        return None
    value = interpolated(one, two, at_us)
    if value is None:
        return None
    quality = one.quality | two.quality | int(Quality.ESTIMATED)
    return "interpolated", Sample(at_us, value, quality), (one, two)


def interpolated(one: Sample, two: Sample, at_us: int) -> str | None:
    """Return the value on the straight line between two readings, rounded down to a thousandth of the unit.

    None where the register fell: it rolled over or another meter took its place, and no line leads across.
    """
    low, high = Decimal(one.value), Decimal(two.value)
    if high < low or not one.observed_us < at_us < two.observed_us:
        return None
    part = (high - low) * (at_us - one.observed_us) / (two.observed_us - one.observed_us)
    return f"{(low + part).quantize(Decimal('0.001'), rounding='ROUND_DOWN'):f}"
