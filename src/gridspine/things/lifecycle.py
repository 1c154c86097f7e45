"""The life of a Thing: which state follows which, and who said so, why, when, and upon what evidence.

::

    announced ─► described ─► provisioned ─► commissioned ◄─resume─┐
                     │  ▲                        │                 │
                     │  └── another owner ───────┤    suspended ◄─►│ quarantined
                     └── no key to prove ───────►┘        ▲        │
                                                          └────────┘
    any of them ─► retired, for good

A Thing that was registered by a person's word is commissioned by it, unless the node asks for more. What a state
allows is in `gridspine.things.standing`. Everything here is pure.
"""

from typing import Literal, get_args

import msgspec

from gridspine.kernel.errors import Conflict, Invalid

State = Literal["announced", "described", "provisioned", "commissioned", "suspended", "quarantined", "retired"]
STATES: tuple[State, ...] = get_args(State)
MAX_STEPS = 200
"""Steps one Thing keeps; the first half and the latest stay, ``omitted`` counts the rest (the ledger has them all)."""
MAX_WHY = 2_000
"""Characters of a reason at most."""
MAX_EVIDENCE, MAX_EVIDENCE_CHARS = 20, 500
"""References that show a step at most, and the characters of one."""
_FOLLOWS: dict[State, frozenset[State]] = {
    "announced": frozenset({"described", "retired"}),
    "described": frozenset({"provisioned", "commissioned", "suspended", "quarantined", "retired"}),
    "provisioned": frozenset({"described", "commissioned", "suspended", "quarantined", "retired"}),
    "commissioned": frozenset({"described", "suspended", "quarantined", "retired"}),
    "suspended": frozenset({"described", "provisioned", "commissioned", "quarantined", "retired"}),
    "quarantined": frozenset({"described", "provisioned", "commissioned", "suspended", "retired"}),
    "retired": frozenset(),
}
_PAUSED = frozenset({"suspended", "quarantined"})


class Step(msgspec.Struct, frozen=True, rename="camel"):
    """A step in a life: when [µs since 1970], to which state, by whom, why; ``evidence`` names what shows it.

    ``event`` is the id of the event that told of it, by which its receipt is had.
    """

    at_us: int
    to: State
    by: str
    why: str
    evidence: tuple[str, ...] = ()
    event: str = ""


class Lifecycle(msgspec.Struct, frozen=True, rename="camel"):
    """Where a Thing stands in its life and how it came there; ``before`` is the state a pause began in."""

    thing: str
    organisation: str
    state: State
    steps: tuple[Step, ...] = ()
    before: State | None = None
    omitted: int = 0

    @property
    def paused(self) -> bool:
        """Whether it is suspended or quarantined: `resumed` says where it goes on."""
        return self.state in _PAUSED

    @property
    def resumed(self) -> State:
        """The state it goes on in when its pause ends; raise `Conflict` when there is none."""
        if not self.paused or self.before is None:
            raise Conflict(f"the Thing is {self.state}: only what is suspended or quarantined is resumed")
        return self.before


def advance(life: Lifecycle, step: Step) -> Lifecycle:
    """Return ``life`` after ``step``; raise `Conflict` where that state does not follow, `Invalid` without a reason."""
    check_step(step)
    if step.to == life.state:
        raise Conflict(f"the Thing is {life.state} already")
    if step.to not in _FOLLOWS[life.state]:
        after = ", ".join(one for one in STATES if one in _FOLLOWS[life.state]) or "nothing"
        raise Conflict(f"the Thing is {life.state}: after that comes {after}, not {step.to}")
    if life.paused and step.to in {"provisioned", "commissioned"} and step.to != life.before:
        raise Conflict(f"the Thing was {life.before} when it was {life.state}: it goes on as that")
    before = life.before if life.paused and step.to in _PAUSED else life.state if step.to in _PAUSED else None
    steps, omitted = life.steps, life.omitted
    if len(steps) >= MAX_STEPS:
        steps, omitted = (*steps[: MAX_STEPS // 2], *steps[MAX_STEPS // 2 + 1 :]), omitted + 1
    return msgspec.structs.replace(life, state=step.to, steps=(*steps, step), before=before, omitted=omitted)


def check_step(step: Step) -> None:
    """Raise `Invalid` naming what is missing or too long."""
    if not step.why.strip():
        raise Invalid("why: say why, for whoever reads it in ten years")
    if len(step.why) > MAX_WHY:
        raise Invalid(f"why: at most {MAX_WHY} characters")
    if not step.by:
        raise Invalid("by: a step has somebody who takes it")
    if len(step.evidence) > MAX_EVIDENCE or any(not 0 < len(one) <= MAX_EVIDENCE_CHARS for one in step.evidence):
        raise Invalid(f"evidence: at most {MAX_EVIDENCE} references, of 1 to {MAX_EVIDENCE_CHARS} characters each")


def plain(thing: str, organisation: str, created_us: int) -> Lifecycle:
    """Return the life of a Thing that was registered, and so commissioned, by a person's word."""
    step = Step(created_us, "commissioned", "", "registered by the word of whoever registered it")
    return Lifecycle(thing, organisation, "commissioned", (step,))
