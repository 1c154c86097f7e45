"""Commands: one order to a Thing, how far it got, and the events that keep it.

::

    requested ─► accepted ─► sent ─► acknowledged ─► applied ─► ended
        └─► refused   └───────┴───────────┴─────────────┴─► rejected · failed · expired · superseded · cancelled

An acknowledgement by the device only ever makes a command ``acknowledged``. ``applied`` needs a reading of the
confirm point, near enough to what was ordered, observed after the order was sent. A command whose time passes
unconfirmed is ``expired``; one that was applied to its end, or a limit that was kept without ever having to bind, is
``ended``.
"""

from typing import Literal

import msgspec

from gridspine.kernel.errors import Conflict, Corrupt
from gridspine.things.adapter import Order
from gridspine.things.lease import Lease

State = Literal[
    "requested",
    "accepted",
    "refused",
    "sent",
    "acknowledged",
    "applied",
    "rejected",
    "failed",
    "expired",
    "superseded",
    "ended",
    "cancelled",
]


def _to(*states: State) -> frozenset[State]:
    return frozenset(states)


_STOPS = _to("rejected", "failed", "expired", "superseded", "cancelled")
TRANSITIONS: dict[State, frozenset[State]] = {
    "requested": _to("accepted", "refused"),
    "accepted": _STOPS.union(_to("sent", "acknowledged", "ended")),
    "sent": _STOPS.union(_to("acknowledged", "applied")),
    "acknowledged": _STOPS.union(_to("applied")),
    "applied": _to("ended", "failed", "superseded", "cancelled"),
}
"""From which state a command may go where; a state not listed is final."""


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """A command came into ``state`` at ``at_us`` [µs since 1970], because of ``reason``."""

    state: State
    at_us: int
    reason: str = ""


class Command(msgspec.Struct, frozen=True, rename="camel"):
    """An order by ``lease.principal``; ``key`` is its idempotency key, ``changes`` its whole story, oldest first."""

    id: str
    key: str
    lease: Lease
    changes: tuple[Change, ...]

    @property
    def state(self) -> State:
        """Where it is now."""
        return self.changes[-1].state

    @property
    def reason(self) -> str:
        """Why it is there."""
        return self.changes[-1].reason

    @property
    def final(self) -> bool:
        """Whether its state can change no more."""
        return self.state not in TRANSITIONS

    def at_us(self, *states: State) -> int | None:
        """When it first came into one of ``states`` [µs since 1970], or None."""
        return next((change.at_us for change in self.changes if change.state in states), None)

    @property
    def sent_us(self) -> int | None:
        """When the order was on its way [µs since 1970]; an adapter may report only the acknowledgement."""
        return self.at_us("sent", "acknowledged")


def new_command(lease: Lease, key: str, now_us: int) -> Command:
    """Return a command in the state ``requested``."""
    return Command(lease.command, key, lease, (Change("requested", now_us),))


def may_become(command: Command, state: State) -> bool:
    """Whether ``command`` may go to ``state`` from where it is."""
    return state in TRANSITIONS.get(command.state, ())


def become(command: Command, state: State, now_us: int, reason: str = "") -> Command:
    """Return ``command`` in ``state``; raise `Conflict` when the way there is not allowed."""
    if not may_become(command, state):
        raise Conflict(f"command {command.id} is {command.state}: it cannot become {state}")
    return msgspec.structs.replace(command, changes=(*command.changes, Change(state, now_us, reason)))


def finish(command: Command, now_us: int) -> Command:
    """Return ``command`` after its time has passed: ``ended`` when it had its effect, else ``expired``."""
    if command.state == "applied":
        return become(command, "ended", now_us, "its time is over")
    if command.state == "accepted" and command.lease.role != "setpoint":
        return become(command, "ended", now_us, "its time is over; nothing had to be limited")
    if command.state == "accepted":
        return become(command, "expired", now_us, "its time passed before it was sent")
    return become(command, "expired", now_us, "its time passed without a reading that shows its effect")


class CommandChanged(msgspec.Struct, frozen=True, tag="command", rename="camel"):
    """A command as it now is."""

    command: Command


class OrderIssued(msgspec.Struct, frozen=True, tag="order", rename="camel"):
    """An order goes out at ``at_us`` [µs since 1970]; ``carries`` are the commands that shaped it."""

    order: Order
    at_us: int
    carries: tuple[str, ...]
    reasons: tuple[str, ...] = ()


class StopChanged(msgspec.Struct, frozen=True, tag="stop", rename="camel"):
    """All-stop was pulled (``stopped``) or released by ``principal`` at ``at_us`` [µs since 1970]."""

    stopped: bool
    at_us: int
    principal: str
    reason: str


CommandEvent = CommandChanged | OrderIssued | StopChanged
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(CommandEvent)


def encode_event(event: CommandEvent) -> bytes:
    """Return ``event`` as the body of a log record."""
    return _encoder.encode(event)


def decode_event(body: bytes) -> CommandEvent:
    """Return the event in a log record's body; raise `Corrupt` when it is none."""
    try:
        event: CommandEvent = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"a command event cannot be read: {error}") from error
    return event


def event_key(event: CommandEvent) -> str:
    """Return the log key of ``event``: its Thing, or "" for what concerns all."""
    if isinstance(event, CommandChanged):
        return event.command.lease.thing
    return event.order.thing if isinstance(event, OrderIssued) else ""
