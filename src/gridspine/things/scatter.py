"""Randomised starts and ends: a fleet that is told the same does not move, nor expire, at one moment.

::

    asked     [────────────────────────────────────)
    starts    ├─ within start_s ─┤
    ends                                ├─ end_s ──┤
    lease            [──────────────────────)           inside of what was asked, always

What was drawn is part of the lease, so it is in the log, and a replay draws nothing.
"""

import math
from collections.abc import Callable

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.things.lease import Lease

_RESOLUTION = 1 << 32


def scatter(lease: Lease, start_s: float, end_s: float, randbytes: Callable[[int], bytes]) -> Lease:
    """Return ``lease`` begun up to ``start_s`` [s] later and ended up to ``end_s`` [s] sooner, evenly distributed.

    Raises `Invalid` when the two would leave nothing of it for sure.
    """
    if not (0 <= start_s < math.inf and 0 <= end_s < math.inf):
        raise Invalid("randomiseStartS, randomiseEndS: seconds, 0 or more, are needed")
    if (start_s or end_s) and (start_s + end_s) * US >= lease.until_us - lease.from_us:
        raise Invalid("randomiseStartS and randomiseEndS together must be shorter than the lease")
    delay_us, advance_us = _draw(start_s, randbytes), _draw(end_s, randbytes)
    return msgspec.structs.replace(
        lease,
        from_us=lease.from_us + delay_us,
        until_us=lease.until_us - advance_us,
        start_delay_us=delay_us,
        end_advance_us=advance_us,
    )


def _draw(most_s: float, randbytes: Callable[[int], bytes]) -> int:
    if not most_s:
        return 0
    return int(most_s * US * int.from_bytes(randbytes(4), "big") / _RESOLUTION)
