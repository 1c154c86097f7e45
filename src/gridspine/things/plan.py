"""Plans: what a point is to hold from now on, as far as the leases known today say; for devices that can hold it."""

from collections.abc import Sequence

from gridspine.things.adapter import Planned
from gridspine.things.lease import Lease, moments_after, value_at
from gridspine.things.model import LeaseRule
from gridspine.things.schedule import MAX_STEPS


def plan(leases: Sequence[Lease], rule: LeaseRule, now_us: int) -> tuple[Planned, ...]:
    """Return the values after the present one, at most `MAX_STEPS`; none where nothing but the fallback is to come.

    Only set-points are planned, and none that ramps or least times shape: what is ordered then hangs on what was.
    """
    if rule.role != "setpoint" or rule.governed or (len(leases) < 2 and not any(one.steps for one in leases)):
        return ()
    planned: list[Planned] = []
    before = value_at(leases, rule, now_us)
    for moment in moments_after(leases, now_us):
        value = value_at(leases, rule, moment)
        if value != before:
            planned.append(Planned(moment, value))
            before = value
        if len(planned) == MAX_STEPS:
            break
    return tuple(planned) if any(one.value is not None for one in planned) else ()
