"""Timelines: which of many claims holds when, mode by mode.

::

    default of a programme        ················································
    event a, primacy 5            [───────────────────────)
    event b, primacy 1                    [──────)
    holds                         a       b      a        default

A claim is superseded for as long as a better one lies over it, and in the modes that one has; then it holds again.
All of it is pure: the same claims give the same answer, in whatever order they came.
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count, pairwise
from typing import Any, NamedTuple

from gridspine.energy.control import LIMITS, Control, Mode, tightest


class Claim(NamedTuple):
    """What ``source`` (a programme) asks for by ``by`` (an event, "" its default) in ``[from_us, until_us)`` [µs].

    ``primacy`` and ``priority``: the lower wins. ``since_us`` [µs since 1970] is when it was made: the newer wins.
    """

    source: str
    by: str
    primacy: int
    priority: int
    since_us: int
    from_us: int
    until_us: int
    control: Control

    @property
    def rank(self) -> tuple[bool, int, int, int, str, str]:
        """What claims are compared by, the lowest first; ids only where all else is equal."""
        return not self.by, self.primacy, self.priority, -self.since_us, self.by, self.source


class Stretch(NamedTuple):
    """A time in which nothing changes, ``[from_us, until_us)`` [µs since 1970], and the claim that holds each mode."""

    from_us: int
    until_us: int
    held: Mapping[Mode, Claim]

    def of(self, source: str) -> Control:
        """Return what of it ``source`` asks for."""
        return Control(**{
            mode: getattr(claim.control, mode) for mode, claim in self.held.items() if claim.source == source
        })  # fmt: skip


class Limited(NamedTuple):
    """A time in which limits do not change, ``[from_us, until_us)`` [µs since 1970]."""

    from_us: int
    until_us: int
    control: Control


def edges(times: Iterable[int], from_us: int, until_us: int) -> list[int]:
    """Return ``from_us``, those of ``times`` inside, and ``until_us``, ascending."""
    return sorted({from_us, until_us, *(t for t in times if from_us < t < until_us)})


def resolve(claims: Sequence[Claim], from_us: int, until_us: int) -> list[Stretch]:
    """Return what holds in ``[from_us, until_us)`` [µs since 1970], in order and without gaps; alike ones are one."""
    if until_us <= from_us:
        return []
    coming = sorted((one for one in claims if one.until_us > one.from_us), key=lambda one: one.from_us, reverse=True)
    moments = edges((t for one in claims for t in (one.from_us, one.until_us)), from_us, until_us)
    number = count()
    active: dict[Mode, list[tuple[Any, int, Claim]]] = {}  # heaps: the best claim of each mode first
    found: list[Stretch] = []
    for begin_us, end_us in pairwise(moments):
        while coming and coming[-1].from_us <= begin_us:
            claim = coming.pop()
            entry = claim.rank, next(number), claim
            for mode in claim.control.modes:
                heappush(active.setdefault(mode, []), entry)
        held: dict[Mode, Claim] = {}
        for mode, heap in active.items():
            while heap and heap[0][2].until_us <= begin_us:
                heappop(heap)
            if heap:
                held[mode] = heap[0][2]
        if found and found[-1].held == held:
            found[-1] = found[-1]._replace(until_us=end_us)
        else:
            found.append(Stretch(begin_us, end_us, held))
    return found


def limits_of(stretch: Stretch) -> Control:
    """Return all limits of a stretch, whoever asks for them."""
    return Control(**{mode: getattr(one.control, mode) for mode, one in stretch.held.items() if mode in LIMITS})


def intersect(layers: Sequence[Sequence[Limited]], from_us: int, until_us: int) -> list[Limited]:
    """Return the tightest limits of all ``layers`` in ``[from_us, until_us)``, in order and without gaps.

    Each layer is in the order of time and does not overlap itself; where it says nothing it limits nothing.
    """
    if until_us <= from_us:
        return []
    moments = edges((t for layer in layers for one in layer for t in (one.from_us, one.until_us)), from_us, until_us)
    at = [0] * len(layers)
    found: list[Limited] = []
    for begin_us, end_us in pairwise(moments):
        present: list[Control] = []
        for number, layer in enumerate(layers):
            while at[number] < len(layer) and layer[at[number]].until_us <= begin_us:
                at[number] += 1
            if at[number] < len(layer) and layer[at[number]].from_us <= begin_us:
                present.append(layer[at[number]].control)
        control = tightest(present)
        if found and found[-1].control == control:
            found[-1] = found[-1]._replace(until_us=end_us)
        else:
            found.append(Limited(begin_us, end_us, control))
    return found
