"""Grants: a time-limited, purpose-limited right of an organisation to a product.

::

    requested ─► active ─► revoked          for good; a request is withdrawn so, too
        │          │ ▲
        │          ▼ │
        │       suspended (quarantine)      until an operator lifts it
        └─► refused
                 [from ───────── until)     and then expired, without anyone's help

Every change raises the grant's ``epoch``: whoever still acts on an older one stops.
Source: ODRL 2.2 in spirit (permission with a purpose and a dateTime constraint).
"""

from typing import Literal

import msgspec

from gridspine.kernel.errors import Conflict, Invalid

State = Literal["requested", "active", "refused", "revoked", "suspended"]
Verb = Literal["approve", "refuse", "revoke", "suspend", "resume"]

_MOVES: dict[Verb, tuple[tuple[State, ...], State]] = {
    "approve": (("requested",), "active"),
    "refuse": (("requested",), "refused"),
    "revoke": (("requested", "active", "suspended"), "revoked"),
    "suspend": (("active",), "suspended"),
    "resume": (("suspended",), "active"),
}


class Grant(msgspec.Struct, frozen=True, rename="camel"):
    """A right of ``consumer`` to ``product`` of ``owner`` for ``purpose`` in ``[from_us, until_us)`` [µs since 1970].

    ``asked_by`` and ``decided_by`` are principals; ``reason`` is the owner's word on the last change.
    """

    id: str
    product: str
    owner: str
    consumer: str
    purpose: str
    from_us: int
    until_us: int
    asked_by: str
    asked_us: int
    state: State = "requested"
    epoch: int = 1
    decided_by: str = ""
    decided_us: int = 0
    reason: str = ""

    def check(self, purposes: tuple[str, ...]) -> None:
        """Raise `Invalid` when it could never be granted."""
        if self.until_us <= self.from_us:
            raise Invalid("until: must be later than from")
        if self.purpose not in purposes:
            raise Invalid(f"purpose: {self.purpose!r} is not one the product is offered for: {', '.join(purposes)}")

    def active_at(self, now_us: int) -> bool:
        """Whether it holds at ``now_us``; its end is outside."""
        return self.state == "active" and self.from_us <= now_us < self.until_us

    def why_not(self, now_us: int) -> str:
        """Return the reason it does not hold at ``now_us``, "" when it does."""
        if self.state != "active":
            return self.state
        if now_us >= self.until_us:
            return "expired"
        return "not-yet" if now_us < self.from_us else ""


def decide(grant: Grant, verb: Verb, *, actor: str, now_us: int, reason: str = "") -> Grant:
    """Return the grant after ``verb``; raise `Conflict` when its state does not allow it."""
    allowed, state = _MOVES[verb]
    if grant.state not in allowed:
        raise Conflict(f"a grant that is {grant.state} cannot be changed by {verb!r}")
    if verb in {"approve", "resume"} and now_us >= grant.until_us:
        raise Conflict("the grant's end has passed")
    return msgspec.structs.replace(
        grant, state=state, epoch=grant.epoch + 1, decided_by=actor, decided_us=now_us, reason=reason
    )
