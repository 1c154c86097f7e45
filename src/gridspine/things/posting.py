"""A posting: what one source sent in one go, its points resolved; and what became of each of its items."""

import asyncio
from collections import Counter

import numpy as np
import numpy.typing as npt

from gridspine.infra.runtime.trace import Context
from gridspine.kernel.readings import (
    BoolArray,
    Float64Array,
    Int32Array,
    Int64Array,
    ItemProblem,
    NamedReadings,
    UInt16Array,
)  # fmt: skip
from gridspine.things.adapter import Outcome, Source
from gridspine.things.point import NOT_YOURS, UNKNOWN, WRONG_UNIT, Resolved
from gridspine.things.resolve import OUT_OF_SERVICE
from gridspine.things.screen import REASONS, REFUSED

_NAMING = {
    UNKNOWN: ("unknown-point", "no such point, or it is not yours"),
    NOT_YOURS: ("unknown-point", "no such point, or it is not yours"),
    WRONG_UNIT: ("wrong-unit", "the unit is not one of this point's quantity"),
    OUT_OF_SERVICE: ("out-of-service", "the Thing is retired: its readings are not taken any more"),
}
_SCREENING = {
    "not-finite": "the value is not a finite number",
    "future-time": "the time is in the future, or before 1970",
    "impossible": "the value is beyond what the device or physics can do",
    "not-a-code": "a state's value is a whole number",
    "bad-quality": "the quality has bits that mean nothing",
}
_QUARANTINED = ("source-quarantined", "this source is quarantined: its operator must release it")


class Posting:
    """Readings of ``source``; ``done`` is answered on the event loop once they are durable.

    ``point`` int32 (n,) is negative where a name was not resolved; the readings that were are ``known`` int64 (m,) of
    them, or all where it is None.
    """

    __slots__ = ("done", "known", "named", "point", "source", "trace", "value")

    def __init__(self, named: NamedReadings, source: Source, resolved: Resolved, trace: Context = None) -> None:
        self.named = named
        self.source = source
        self.trace = trace
        self.point: Int32Array = resolved.point[named.name_index] if len(named) else np.zeros(0, np.int32)
        self.value: Float64Array = named.value
        if resolved.scale is not None and resolved.shift is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused
                self.value = self.value * resolved.scale[named.name_index] + resolved.shift[named.name_index]
        all_known = resolved.point.min(initial=0) >= 0
        self.known: Int64Array | None = None if all_known else np.flatnonzero(self.point >= 0)
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def columns(self) -> tuple[Int32Array, Int64Array, Float64Array, UInt16Array]:
        """Return the known readings: point, observed [µs since 1970], value [the point's unit], quality."""
        named, known = self.named, self.known
        if known is None:
            return self.point, named.observed_us, self.value, named.quality
        return self.point[known], named.observed_us[known], self.value[known], named.quality[known]

    def problems(self, verdict: npt.NDArray[np.uint8], reason: npt.NDArray[np.uint8]) -> list[ItemProblem]:
        """Return every refused item: unreadable, unresolved, or refused by the screen (codes of the known readings)."""
        named = self.named
        problems = list(named.problems)
        if self.known is not None:
            for at in np.flatnonzero(self.point < 0).tolist():
                problems.append(self._problem(at, *_NAMING[int(self.point[at])]))
        refused: BoolArray = verdict == REFUSED
        if refused.any():
            chosen = np.flatnonzero(refused)
            place = chosen if self.known is None else self.known[chosen]
            for at, code in zip(place.tolist(), reason[chosen].tolist(), strict=True):
                problems.append(self._problem(at, REASONS[code], _SCREENING[REASONS[code]]))
        return problems

    def quarantined(self, most: int) -> tuple[list[ItemProblem], Counter[str]]:
        """Return a problem for each of the first ``most`` items, and for each reason how many more there are.

        None of the source's readings are taken; a flood of them costs next to nothing.
        """
        problems, beyond = self.named.problems[:most], Counter(one.reason for one in self.named.problems[most:])
        listed = min(len(self.named), most - len(problems))
        problems += [self._problem(at, *_QUARANTINED) for at in range(listed)]
        beyond[_QUARANTINED[0]] += len(self.named) - listed
        return problems, +beyond

    def _problem(self, at: int, reason: str, detail: str) -> ItemProblem:
        named = self.named
        return ItemProblem(int(named.item[at]), reason, detail, named.names[named.name_index[at]])
