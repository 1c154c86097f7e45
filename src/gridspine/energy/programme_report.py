"""Reports: what one that is enrolled tells a programme of its Things, interval by interval.

::

    programme asks     USAGE of activeEnergyImport, every 15 min
    report             [from ── until): per Thing one value an interval, null where nothing valid was read or still held

Only the enrolled organisation delivers, by its own act; what it told is kept as it was told.
Source: *report* of OpenADR 3.1.0 (its OpenAPI document).
"""

import hashlib

import msgspec

from gridspine.energy.programme import ReportDescriptor
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.time import US

MAX_VALUES = 20_000
"""Values in one report, of all Things together, at most."""


class ReportResource(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Values of one Thing in the unit of its point, one an interval, in order; None where there is none.

    ``earlier`` counts (from 0) the intervals in which nothing was read, as nothing changed: their values were read
    before, and still held.
    """

    thing: str
    unit: str
    values: tuple[float | None, ...]
    earlier: tuple[int, ...] = ()


class ReportValues(msgspec.Struct, frozen=True, rename="camel"):
    """The values of a report, kept beside it under the same id: there may be many."""

    resources: tuple[ReportResource, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of what was told, in hexadecimal: what the ledger proves of it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class ProgrammeReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What ``organisation`` told ``programme`` (about ``event``, where one is named) of its subject.

    ``digest`` is that of its values.
    """

    id: str
    programme: str
    enrolment: str
    owner: str
    organisation: str
    descriptor: ReportDescriptor
    from_us: int
    until_us: int
    digest: str
    event: str = ""
    by: str = ""
    at_us: int = 0
    version: int = 1


def slots(descriptor: ReportDescriptor, from_us: int, until_us: int, things: int) -> int:
    """Return how many intervals a report has; raise `Invalid` when they do not fit, or are too many."""
    interval_us = descriptor.interval_s * US
    if until_us <= from_us:
        raise Invalid("until: must be later than from")
    count, rest = divmod(until_us - from_us, interval_us)
    if rest:
        raise Invalid(f"until: from and until must be whole intervals of {descriptor.interval_s} s apart")
    if count * max(1, things) > MAX_VALUES:
        raise Invalid(f"until: {count * things} values; at most {MAX_VALUES} in one report")
    return int(count)


def check_time(enrolment: ProgrammeEnrolment, from_us: int, until_us: int, now_us: int) -> None:
    """Raise `Conflict` for a time in which one was not enrolled, or that is not over."""
    if enrolment.state not in {"active", "withdrawn", "ended"}:
        raise Conflict(f"the enrolment is {enrolment.state}: there is nothing to report")
    end_us = enrolment.until_us if enrolment.state == "active" else min(enrolment.until_us, enrolment.decided_us)
    if from_us < enrolment.from_us or until_us > end_us:
        raise Conflict("the report would tell of a time in which it was not enrolled")
    if until_us > now_us:
        raise Conflict("the time is not over yet")
