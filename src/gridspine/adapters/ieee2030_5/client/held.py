"""Which of many controls holds at a moment, by the rules that the node has for its own programmes. Pure; no I/O.

::

    default of a program           ········································
    control, primacy 5             [──────────────────)
    control, primacy 1                   [────)                      mode by mode; of one program the newer wins
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from gridspine.adapters.ieee2030_5.client.der_control import SeenControl, SeenProgram
from gridspine.energy.control import Control, made_of
from gridspine.energy.timeline import Claim, resolve
from gridspine.kernel.time import MAX_US, MIN_US, US

_NEWEST = 2**31 - 1
Span = Callable[[SeenControl], tuple[int, int]]
"""When a control begins and ends after chance took its part [µs since 1970]."""


class Holding(NamedTuple):
    """What holds: its values, and the mRIDs of the controls of which any of it is."""

    control: Control
    by: frozenset[str]


def rank(control: SeenControl) -> int:
    """Return the priority of a control beside others of its program, lower for the newer."""
    return max(0, _NEWEST - control.created_s)


def standing(program: SeenProgram) -> Iterator[SeenControl]:
    """Yield the controls of a program that can be followed."""
    for one in program.controls:
        if not one.problem and not one.cancelled:
            yield one


def holding(programs: Iterable[SeenProgram], span: Span, now_us: int) -> Holding:
    """Return what holds at ``now_us`` [µs since 1970]."""
    claims = []
    for program in programs:
        claims.append(Claim(program.mrid, "", program.primacy, 0, 0, MIN_US, MAX_US, program.default))
        for one in standing(program):
            begin_us, end_us = span(one)
            claims.append(
                Claim(program.mrid, one.mrid, program.primacy, rank(one), one.created_s * US, begin_us, end_us,
                      one.control)
            )  # fmt: skip
    (stretch, *_) = resolve(claims, now_us, now_us + 1)
    values = {mode: getattr(claim.control, mode) for mode, claim in stretch.held.items()}
    return Holding(made_of(values), frozenset(claim.by for claim in stretch.held.values() if claim.by))
