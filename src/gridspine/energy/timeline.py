"""Timelines: which of many claims holds when, mode by mode.

::

    default of a programme        ················································
    event a, primacy 5            [───────────────────────)
    event b, primacy 1                    [──────)
    holds                         a       b      a        default

A claim is superseded for as long as a better one lies over it, and in the modes that one has; then it holds again.
All of it is pure: the same claims give the same answer, in whatever order they came.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gridspine.energy.control import LIMITS, MODES, Control, Mode


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


class Together(NamedTuple):
    """What holds in ``[from_us, until_us)`` [µs]: at the connection point, by programmes, and the tightest of both."""

    from_us: int
    until_us: int
    point: Control
    stretch: Stretch
    tightest: Control


def edges(times: Iterable[int], from_us: int, until_us: int) -> list[int]:
    """Return ``from_us``, those of ``times`` inside, and ``until_us``, ascending."""
    return sorted({from_us, until_us, *(t for t in times if from_us < t < until_us)})


def resolve(claims: Sequence[Claim], from_us: int, until_us: int) -> list[Stretch]:
    """Return what holds in ``[from_us, until_us)`` [µs since 1970], in order and without gaps; alike ones are one.

    One number a mode and moment: the worst claims are painted first, the better ones over them.
    """
    if until_us <= from_us:
        return []
    inside = [one for one in claims if max(one.from_us, from_us) < min(one.until_us, until_us)]
    inside.sort(key=lambda one: one.rank, reverse=True)
    moments = edges((t for one in inside for t in (one.from_us, one.until_us)), from_us, until_us)
    begins = np.searchsorted(moments, [max(one.from_us, from_us) for one in inside]).tolist()
    ends = np.searchsorted(moments, [min(one.until_us, until_us) for one in inside]).tolist()
    painted = np.full((len(MODES), len(moments) - 1), -1, np.int32)
    for number, (one, begin, end) in enumerate(zip(inside, begins, ends, strict=True)):
        for row, mode in enumerate(MODES):
            if getattr(one.control, mode) is not None:
                painted[row, begin:end] = number
    return [
        Stretch(begin_us, end_us, {m: inside[n] for m, n in zip(MODES, held, strict=True) if n >= 0})
        for begin_us, end_us, held in _alike(moments, painted)
    ]


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
    begins = np.array(moments[:-1], np.int64)
    limits = np.full((len(LIMITS), len(begins)), np.inf)
    for layer in layers:
        if not layer:
            continue
        at = np.searchsorted(np.array([one.from_us for one in layer], np.int64), begins, side="right") - 1
        there = (at >= 0) & (np.array([one.until_us for one in layer], np.int64)[at] > begins)
        for row, mode in enumerate(LIMITS):
            given = [getattr(one.control, mode) for one in layer]
            values = np.array([np.inf if value is None else value for value in given])
            limits[row] = np.minimum(limits[row], np.where(there, values[at], np.inf))
    return [
        Limited(begin_us, end_us, Control(**{m: v for m, v in zip(LIMITS, held, strict=True) if v < np.inf}))
        for begin_us, end_us, held in _alike(moments, limits)
    ]


def _alike(moments: list[int], rows: Any) -> Iterator[tuple[int, int, list[Any]]]:
    """Yield from when until when all ``rows`` (array, shape (m, len(moments) - 1)) keep their values, and these."""
    changes = np.flatnonzero(np.any(rows[:, 1:] != rows[:, :-1], axis=0)) + 1
    starts = [0, *changes.tolist()]
    columns = rows[:, starts].T.tolist()
    for begin, end, held in zip(starts, [*starts[1:], len(moments) - 1], columns, strict=True):
        yield moments[begin], moments[end], held
