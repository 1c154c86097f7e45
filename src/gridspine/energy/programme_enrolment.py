"""Enrolments: a site, or a Thing, takes part in a programme, as its owner consented to, and until when.

::

    requested ─┬─► active ─┬─► withdrawn    by the one who enrolled
               │           └─► ended        by the programme
               └─► refused          [from ───── until)   and then over, without anyone's help

    opt-outs   of one event · of a time, whichever events are in it         taken back by opting in

Source: *ven* and *resource* of OpenADR 3.1.0, EiOpt of OpenADR 2.0b, by name.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from gridspine.energy.control import MODE_OF
from gridspine.energy.programme import Programme, check_words
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import MAX_US, MIN_US

State = Literal["requested", "active", "refused", "withdrawn", "ended"]
Verb = Literal["admit", "refuse", "withdraw", "end"]
_MOVES: dict[Verb, tuple[tuple[State, ...], State]] = {
    "admit": (("requested",), "active"),
    "refuse": (("requested",), "refused"),
    "withdraw": (("requested", "active"), "withdrawn"),
    "end": (("active",), "ended"),
}
MAX_OPTS = 100


class OptOut(msgspec.Struct, frozen=True, rename="camel"):
    """Not to take part: in ``event``, or ("") in whatever events lie in ``[from_us, until_us)`` [µs since 1970]."""

    id: str
    event: str = ""
    from_us: int = MIN_US
    until_us: int = MAX_US
    reason: str = ""
    by: str = ""
    at_us: int = 0

    def covers(self, event: str) -> bool:
        """Whether it can be about ``event``."""
        return self.event in {"", event}


class ProgrammeEnrolment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``subject``, a site or Thing of ``organisation``, in ``programme`` of ``owner``, in ``[from_us, until_us)`` [µs].

    ``modes`` are what its owner consented to: those of the programme when it was asked for. ``authority`` is how the
    programme's commands stand beside the owner's own: an *aggregator* gives way to them, a *network* does not.
    ``targets`` are the words that the programme knows it by.
    """

    id: str
    programme: str
    owner: str
    organisation: str
    subject: str
    kind: Literal["site", "thing"]
    from_us: int
    until_us: int
    modes: tuple[str, ...] = ()
    authority: Literal["aggregator", "network"] = "aggregator"
    targets: tuple[str, ...] = ()
    opt_outs: tuple[OptOut, ...] = ()
    state: State = "requested"
    asked_by: str = ""
    asked_us: int = 0
    decided_by: str = ""
    decided_us: int = 0
    reason: str = ""
    version: int = 1

    def check(self, programme: Programme, now_us: int) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not MIN_US <= self.from_us < self.until_us <= MAX_US:
            raise Invalid("until: must be later than from")
        if self.until_us <= now_us:
            raise Invalid("until: lies in the past")
        if unknown := [mode for mode in self.modes if mode not in MODE_OF or mode not in programme.modes]:
            raise Invalid(f"modes: {unknown[0][:40]!r} is none of the programme's: {', '.join(programme.modes)}")
        check_words(self.modes, "modes")

    @property
    def words(self) -> frozenset[str]:
        """What targets of events it answers to: its own words, its id and its subject's."""
        return frozenset({*self.targets, self.id, self.subject})

    def stands(self, now_us: int) -> bool:
        """Whether it holds now, or will."""
        return self.state == "active" and now_us < self.until_us

    def waits(self, now_us: int) -> bool:
        """Whether it may yet come to hold."""
        return self.state == "requested" and now_us < self.until_us

    def decided(self, verb: Verb, by: str, now_us: int, reason: str = "") -> "ProgrammeEnrolment":
        """Return it after ``verb``; raise `Conflict` when its state does not allow it."""
        allowed, state = _MOVES[verb]
        if self.state not in allowed:
            raise Conflict(f"an enrolment that is {self.state} cannot be changed by {verb!r}")
        if now_us >= self.until_us:
            raise Conflict("the enrolment's end has passed")
        return msgspec.structs.replace(self, state=state, decided_by=by, decided_us=now_us, reason=reason[:500])

    def aimed(self, targets: tuple[str, ...]) -> "ProgrammeEnrolment":
        """Return it under other words."""
        check_words(targets, "targets")
        return msgspec.structs.replace(self, targets=targets)

    def out(self, opt: OptOut, now_us: int) -> "ProgrammeEnrolment":
        """Return it with one more opt-out; those that are over make room. Raises `Invalid`, `Conflict`."""
        if opt.until_us <= opt.from_us:
            raise Invalid("until: must be later than from")
        again = {opt.event} - {""}
        kept = tuple(one for one in self.opt_outs if one.until_us > now_us and one.event not in again)
        if len(kept) >= MAX_OPTS:
            raise Conflict(f"{MAX_OPTS} opt-outs stand: opt in again where they are not needed any more")
        return msgspec.structs.replace(self, opt_outs=(*kept, opt))

    def in_again(self, *, opt: str = "", event: str = "") -> "ProgrammeEnrolment":
        """Return it without opt-out ``opt``, or those of ``event``; raise `NotFound` when there is none."""
        kept = tuple(one for one in self.opt_outs if not (one.id == opt or (event and one.event == event)))
        if len(kept) == len(self.opt_outs):
            raise NotFound("there is no such opt-out")
        return msgspec.structs.replace(self, opt_outs=kept)

    def takes_part(self, event: str, from_us: int, until_us: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of ``[from_us, until_us)`` [µs since 1970] in which it takes part in ``event``."""
        begin_us, end_us = max(from_us, self.from_us), min(until_us, self.until_us)
        outs = [one for one in self.opt_outs if one.covers(event)] if self.opt_outs else []
        for one in sorted(outs, key=lambda one: one.from_us):
            if one.from_us > begin_us and begin_us < end_us:
                yield begin_us, min(one.from_us, end_us)
            begin_us = max(begin_us, one.until_us)
        if begin_us < end_us:
            yield begin_us, end_us
