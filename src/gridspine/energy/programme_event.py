"""Events of programmes: intervals in which something is to be known (signals), or to be done (a control).

::

    published ─► scheduled ─► active ─► completed          by the clock, without anyone's help
                     └───────────┴────► cancelled          at once, or as another event supersedes it

    asked                [ interval 0 ──────────────)     [ interval 1 ──────────────)
    of one who enrolled      [ 0 ─────────────────)           [ 1 ─────────────────)
                         ├──►┤ up to randomiseStartS      ├──►┤               randomiseDurationS at most ├─►┤
    randomiseKeepsLength     [ 0 ────────────)                the end moves with the start, until its time at the latest

Source: *event* of OpenADR 3.1.0 (its OpenAPI document), which does not say what becomes of the end. EventStatus of IEEE
2030.5-2018 by name: its clause was not read. An end that moves with the start: IEEE 2030.5-2018 C.22.5, Table C.27.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from gridspine.energy.control import NOTHING, WIRE_NAMES, Control
from gridspine.energy.programme import Programme, check_words
from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.time import MAX_US, MIN_US, US

Status = Literal["scheduled", "active", "completed", "cancelled"]
MAX_INTERVALS = 300
MAX_VALUES, MAX_SIGNALS, MAX_TEXT = 24, 20, 500
MAX_RANDOM_S = 3_600.0


class Signal(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Something to know: values of a type that the programme describes. A price may be negative."""

    type: str
    values: tuple[float | str | bool, ...]


class EventInterval(msgspec.Struct, frozen=True, rename="camel"):
    """What holds in ``[from_us, until_us)`` [µs since 1970]: what is to be known, what is to be done."""

    from_us: int
    until_us: int
    signals: tuple[Signal, ...] = ()
    control: Control = NOTHING


class ProgrammeEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of ``programme``.

    ``priority``: the lower wins, where primacy is equal. ``targets`` are words of which one enrolled must have one;
    none is for everybody. ``randomise_keeps_length``: who begins later by chance ends as much later, by the interval's
    end at the latest; else the end stays. ``supersedes`` is the event that it takes the place of. ``seed`` is what
    chance is drawn by. ``cancelled_us`` [µs since 1970] is 0 while it stands.
    """

    id: str
    programme: str
    organisation: str
    title: str
    intervals: tuple[EventInterval, ...]
    priority: int = 0
    targets: tuple[str, ...] = ()
    randomise_start_s: float = 0.0
    randomise_duration_s: float = 0.0
    randomise_keeps_length: bool = False
    supersedes: str = ""
    seed: str = ""
    created_us: int = 0
    by: str = ""
    cancelled_us: int = 0
    cancelled_by: str = ""
    reason: str = ""
    version: int = 1

    def check(self, programme: Programme, now_us: int) -> None:
        """Raise `Invalid` naming the field that is wrong, also by what ``programme`` allows."""
        if not 0 < len(self.title.strip()) <= 128:
            raise Invalid("title: 1 to 128 characters are needed")
        if not 0 <= self.priority <= 2**31 - 1:
            raise Invalid("priority: 0 or more, the lower wins")
        check_words(self.targets, "targets")
        if unknown := set(self.targets) - set(programme.targets) if programme.targets else set():
            raise Invalid(f"targets: {sorted(unknown)[0]!r} is none of the programme's targets")
        if not 0 < len(self.intervals) <= MAX_INTERVALS:
            raise Invalid(f"intervals: 1 to {MAX_INTERVALS} are needed")
        before_us = MIN_US
        for at, one in enumerate(self.intervals):
            if not before_us <= one.from_us < one.until_us <= MAX_US:
                raise Invalid(f"intervals[{at}]: it must end after it starts, and start when the one before has ended")
            _check_interval(one, f"intervals[{at}]", programme)
            before_us = one.until_us
        if before_us <= now_us:
            raise Invalid("intervals: all of them are over")
        self._check_lengths()

    def _check_lengths(self) -> None:
        given = (self.randomise_start_s, self.randomise_duration_s)
        if not all(0 <= one <= MAX_RANDOM_S for one in given):
            raise Invalid(f"randomiseStartS, randomiseDurationS: 0 to {MAX_RANDOM_S:.0f} s")
        shortest_us = min(one.until_us - one.from_us for one in self.intervals)
        if any(given) and sum(given) * US >= shortest_us:
            raise Invalid("randomiseStartS and randomiseDurationS together must be shorter than each interval")
        if shortest_us < US:
            raise Invalid("intervals: each lasts a second at least")

    @property
    def from_us(self) -> int:
        """When its first interval begins [µs since 1970]."""
        return self.intervals[0].from_us

    @property
    def until_us(self) -> int:
        """When its last interval is over [µs since 1970]."""
        return self.intervals[-1].until_us

    @property
    def ended_us(self) -> int:
        """When it is over, or was cancelled [µs since 1970]."""
        return min(self.cancelled_us or self.until_us, self.until_us)

    def begins(self, from_us: int, until_us: int) -> list[int]:
        """Return when those of its intervals begin that do in ``[from_us, until_us)`` [µs since 1970]."""
        first = bisect_left(self.intervals, from_us, key=lambda one: one.from_us)
        last = bisect_left(self.intervals, until_us, key=lambda one: one.from_us)
        return [one.from_us for one in self.intervals[first:last]]

    @property
    def commands(self) -> bool:
        """Whether anything in it is to be done, and not only known."""
        return any(one.control.modes for one in self.intervals)

    def status(self, now_us: int) -> Status:
        """Return how it stands at ``now_us`` [µs since 1970]."""
        if self.cancelled_us:
            return "cancelled"
        if now_us < self.from_us:
            return "scheduled"
        return "active" if now_us < self.until_us else "completed"

    def cancel(self, now_us: int, by: str, reason: str) -> "ProgrammeEvent":
        """Return it cancelled; raise `Conflict` when it is over, or was cancelled."""
        if self.status(now_us) in {"completed", "cancelled"}:
            raise Conflict(f"the event is {self.status(now_us)} already")
        return msgspec.structs.replace(self, cancelled_us=now_us, cancelled_by=by, reason=reason[:500])

    def aimed_at(self, words: frozenset[str]) -> bool:
        """Whether it is for one whose targets are ``words``."""
        return not self.targets or not words.isdisjoint(self.targets)


class Drawn(NamedTuple):
    """What chance took of an event for one enrolment [µs]: later by ``delay_us``, over sooner by ``advance_us``."""

    delay_us: int
    advance_us: int


def drawn(event: ProgrammeEvent, enrolment: str) -> Drawn:
    """Return what chance took of ``event`` for ``enrolment``, evenly spread; the same at each asking."""
    if not event.randomise_start_s and not event.randomise_duration_s:
        return Drawn(0, 0)
    digest = blake2b(f"{event.seed}\n{event.id}\n{enrolment}".encode(), digest_size=16).digest()
    parts = (int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:], "big") / 2**64)
    return Drawn(int(parts[0] * event.randomise_start_s * US), int(parts[1] * event.randomise_duration_s * US))


def spans(
    event: ProgrammeEvent, chance: Drawn, from_us: int = MIN_US, until_us: int = MAX_US
) -> Iterator[tuple[int, int, Control]]:
    """Yield what is to be done, from when until when [µs since 1970], after chance took its part.

    At least all of it that touches ``[from_us, until_us)``.
    """
    first = bisect_right(event.intervals, from_us - chance.delay_us, key=lambda one: one.until_us)
    last = bisect_left(event.intervals, until_us - chance.delay_us, key=lambda one: one.from_us)
    for at in range(first, last):
        control = event.intervals[at].control
        if control is not NOTHING and control.modes:
            yield *span(event, at, chance), control


def span(event: ProgrammeEvent, at: int, chance: Drawn) -> tuple[int, int]:
    """Return from when until when an interval of ``event`` holds, after chance took its part [µs since 1970].

    Intervals begin later by the same; one that another follows at once ends when that begins, the others when they
    would have, or as much sooner as chance took. Of an event that keeps its length they last as long for each.
    """
    one = event.intervals[at]
    if at + 1 < len(event.intervals) and event.intervals[at + 1].from_us == one.until_us:
        return one.from_us + chance.delay_us, one.until_us + chance.delay_us
    left_us = round(event.randomise_start_s * US) - chance.delay_us if event.randomise_keeps_length else 0
    return one.from_us + chance.delay_us, one.until_us - left_us - chance.advance_us


def _check_interval(interval: EventInterval, where: str, programme: Programme) -> None:
    known = {one.payload_type for one in programme.signals}
    if len(interval.signals) > MAX_SIGNALS:
        raise Invalid(f"{where}.signals: at most {MAX_SIGNALS}")
    for signal in interval.signals:
        if signal.type not in known:
            raise Invalid(f"{where}.signals: {signal.type[:64]!r} is none that the programme describes")
        _check_values(signal, f"{where}.signals")
    interval.control.check(f"{where}.control")
    for mode in interval.control.modes:
        if WIRE_NAMES[mode] not in programme.modes:
            raise Invalid(f"{where}.control.{WIRE_NAMES[mode]}: it is not among the modes of the programme")
    if not interval.signals and not interval.control.modes:
        raise Invalid(f"{where}: it says nothing; give it signals or a control")


def _check_values(signal: Signal, where: str) -> None:
    if not 0 < len(signal.values) <= MAX_VALUES:
        raise Invalid(f"{where}: 1 to {MAX_VALUES} values are needed")
    for value in signal.values:
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise Invalid(f"{where}: a text has at most {MAX_TEXT} characters")
        if isinstance(value, float) and not math.isfinite(value):
            raise Invalid(f"{where}: a finite number is needed")
