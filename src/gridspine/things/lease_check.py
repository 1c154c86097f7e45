"""What a lease must be to be taken: it means something, ends in time, and asks for what the device can do."""

import math

from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.things.lease import Authority, Lease, pauses
from gridspine.things.model import LeaseRule
from gridspine.things.schedule import check_steps


def check_lease(lease: Lease, rule: LeaseRule | None, now_us: int) -> str:
    """Return why ``lease`` is refused, or "" when it may be accepted.

    Raises `Invalid` for what has no meaning at all: a value that is not a finite number, an interval that ends
    before it starts. A set-point beyond the model's range is refused; a limit looser than the range is accepted and
    has no effect, one tighter is refused too, unless the device keeps it by being off (`lease.pauses`).
    """
    if not math.isfinite(lease.value):
        raise Invalid("value: a finite number is needed")
    if lease.until_us <= lease.from_us:
        raise Invalid("until: a lease must end after it starts")
    check_steps(lease.steps, lease.until_us + lease.end_advance_us)
    if rule is None:
        return f"{lease.point} cannot be commanded: its Thing Model has no lease rule for it"
    if rule.reversion == "none":
        return (
            f"{lease.point} has no guaranteed reversion, and its Thing Model does not call its states safe to persist"
        )
    refused = _check_time(lease, rule, now_us) or _check_role(lease, rule)
    return refused or _check_range(lease, rule) or _check_least(lease, rule, now_us)


def _check_time(lease: Lease, rule: LeaseRule, now_us: int) -> str:
    if lease.until_us <= now_us:
        return "it would end before now"
    if lease.until_us - max(lease.from_us, now_us) > rule.max_duration_s * US:
        return f"longer than the {rule.max_duration_s:g} s one lease may last here"
    return ""


def _check_role(lease: Lease, rule: LeaseRule) -> str:
    if rule.role != "setpoint" and lease.role != rule.role:
        return f"{lease.point} takes {rule.role} leases only, not {lease.role}"
    return ""


def _check_range(lease: Lease, rule: LeaseRule) -> str:
    for value in lease.values:
        if pauses(rule, lease.role, value):
            continue
        too_low = value < rule.minimum and lease.role != "limit_min"
        too_high = value > rule.maximum and lease.role != "limit_max"
        if too_low or too_high:
            return f"{value:g} is beyond what the device can do ({rule.minimum:g} … {rule.maximum:g})"
    return ""


def _check_least(lease: Lease, rule: LeaseRule, now_us: int) -> str:
    """Refuse a set-point too short for the least time that the device is on, or off, before it falls back."""
    on = lease.values[-1] != rule.off
    least_s = rule.min_on_s if on else rule.min_off_s
    if lease.role != "setpoint" or on == (rule.fallback != rule.off) or lease.authority is Authority.SAFETY:
        return ""
    last_us = lease.steps[-1].from_us if lease.steps else lease.from_us
    if lease.until_us - max(last_us, lease.from_us, now_us) < least_s * US:
        return f"shorter than the {least_s:g} s the device must stay {'on' if on else 'off'}"
    return ""
