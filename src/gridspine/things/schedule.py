"""Schedules: one lease whose value changes at stated times. One command, one key, one story.

::

    step    1000 W [─────)2000 W[──────────)500 W[────)
    lease          [──────────────────────────────────)   then the fallback, as with any lease

A schedule has no gaps: a step holds until the next one, the last until the lease ends.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from gridspine.kernel.errors import Invalid

MAX_STEPS = 300
"""Steps one lease has at most: a day in intervals of five minutes."""


class Step(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """From ``from_us`` [µs since 1970] the lease asks for ``value`` [the point's unit]."""

    from_us: int
    value: float


def check_steps(steps: Sequence[Step], until_us: int) -> None:
    """Raise `Invalid` when ``steps`` are not finite values in the order of their times, before ``until_us``."""
    if len(steps) > MAX_STEPS:
        raise Invalid(f"steps: at most {MAX_STEPS} in one schedule")
    for at, step in enumerate(steps):
        if not math.isfinite(step.value):
            raise Invalid(f"steps[{at}].value: a finite number is needed")
        following_us = steps[at + 1].from_us if at + 1 < len(steps) else until_us
        if step.from_us >= following_us:
            raise Invalid(f"steps[{at}]: a step must end after it starts")


def step_at(steps: Sequence[Step], now_us: int) -> Step:
    """Return the step that holds at ``now_us`` [µs since 1970]: the first one before its time, too."""
    return steps[max(0, bisect_right(steps, now_us, key=lambda step: step.from_us) - 1)]


def next_step_us(steps: Sequence[Step], now_us: int) -> int | None:
    """Return when the next step begins [µs since 1970], or None after the last."""
    at = bisect_right(steps, now_us, key=lambda step: step.from_us)
    return steps[at].from_us if at < len(steps) else None
