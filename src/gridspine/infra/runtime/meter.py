"""What is timed, once a batch or a commit, never once a reading: histograms for `/metrics`, and the last error.

::

    seconds   0.001  0.0025  0.005  0.01  0.025  0.05  0.1  0.25  0.5  1  2.5  5  10   more
    count        0       3     12     4     …
"""

from bisect import bisect_left
from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets [s]; what takes longer is counted beyond the last."""


class Histogram:
    """How often something took how long. One thread observes; a reader may be one observation behind."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = BOUNDS_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one ``value`` [the bounds' unit]."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, float]]:
        """Return Prometheus' buckets: upper bound as text, and how many were at most that."""
        buckets, total = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


class Meter:
    """The histograms of a node."""

    def __init__(self) -> None:
        self.commit = Histogram()
        """Seconds [s] a group commit of the log took, on the writer's thread."""
        self.submit: dict[str, Histogram] = {}
        """Seconds [s] from a batch's submission until it was durable, by the door it came through."""
        self.commit_error = ""
        """Why the last group commit failed, "" when it did not."""

    async def timed(self, door: str, work: Awaitable[T]) -> T:
        """Return what ``work``, a batch's submission, returns; count its seconds when it is durable."""
        begin = perf_counter()
        outcome = await work
        self.submitted(door, perf_counter() - begin)
        return outcome

    def submitted(self, door: str, seconds: float) -> None:
        """Count a batch that came through ``door`` and was answered after ``seconds`` [s]."""
        histogram = self.submit.get(door)
        if histogram is None:
            histogram = self.submit[door] = Histogram()
        histogram.observe(seconds)
