"""Commands: one order to a Thing, how far it got, and the events that keep it.

::

    requested ─┬──────────────────► accepted ─► sent ─► acknowledged ─► applied ─► ended
        │      └► awaiting-approval ─┘ └──────────┴───────────┴─────────────┴─► rejected · failed · expired ·
        └─► refused     └─► expired · cancelled                                 superseded · cancelled

An acknowledgement by the device only ever makes a command ``acknowledged``. ``applied`` needs a reading of the
confirm point, near enough to what was ordered, observed after the order was sent. A command whose time passes
unconfirmed is ``expired``, also one that an emulator carried out, as its reason says; one that was applied to its end,
or a limit that was kept without ever having to bind, is ``ended``. What is ``awaiting-approval`` by a second person
commands nothing.
"""

from typing import Literal

import msgspec

from gridspine.kernel.errors import Conflict, Corrupt
from gridspine.things.adapter import Order
from gridspine.things.blocking_tag import BlockingTag
from gridspine.things.lease import Lease
from gridspine.things.thing import Thing

COMMANDS = "commands"
"""The topic of the log that has the events of commands."""
State = Literal[
    "requested",
    "awaiting-approval",
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


EMULATED = "the Thing is emulated: the order was carried out by the emulator, nothing moved"
EMULATED_OUTSIDE = "the Thing is emulated from outside: no device was told, nothing moved"
"""Reasons of commands that no device was ever told of."""
_STOPS = _to("rejected", "failed", "expired", "superseded", "cancelled")
TRANSITIONS: dict[State, frozenset[State]] = {
    "requested": _to("accepted", "refused", "awaiting-approval"),
    "awaiting-approval": _to("accepted", "expired", "cancelled"),
    "accepted": _STOPS.union(_to("sent", "acknowledged", "ended")),
    "sent": _STOPS.union(_to("acknowledged", "applied")),
    "acknowledged": _STOPS.union(_to("applied")),
    "applied": _to("ended", "rejected", "failed", "superseded", "cancelled"),
}
"""From which state a command may go where; a state not listed is final."""


class Change(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """A command came into ``state`` at ``at_us`` [µs since 1970], because of ``reason``."""

    state: State
    at_us: int
    reason: str = ""


class Command(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """An order by ``lease.principal``; ``key`` is its idempotency key, ``changes`` its whole story, oldest first.

    ``question`` is a digest of what was asked, by which a repetition under the same key is known ("": the lease).
    ``batch`` names the order to many Things that it is part of. ``watts`` [W] is what it may move, ``approve_by_us``
    [µs since 1970] when waiting for a second person ends, ``approved_by`` that person.
    """

    id: str
    key: str
    lease: Lease
    changes: tuple[Change, ...]
    question: str = ""
    batch: str = ""
    watts: float = 0.0
    approve_by_us: int = 0
    approved_by: str = ""

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


def new_command(lease: Lease, key: str, now_us: int, reason: str = "") -> Command:
    """Return a command in the state ``requested``; ``reason`` is the asker's own."""
    return Command(lease.command, key, lease, (Change("requested", now_us, reason),))


def is_of(command: Command, thing: Thing) -> bool:
    """Whether a command was asked of ``thing`` by whose it is now, and not by who had it before."""
    return command.lease.thing == thing.id and command.changes[0].at_us >= thing.owned_since_us


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
    if command.state == "awaiting-approval":
        return become(command, "expired", now_us, "no second person approved it in time")
    if command.state == "accepted":
        return become(command, "expired", now_us, "its time passed before it was sent")
    if command.reason in {EMULATED, EMULATED_OUTSIDE}:
        return become(command, "expired", now_us, command.reason)
    return become(command, "expired", now_us, "its time passed without a reading that shows its effect")


class CommandChanged(msgspec.Struct, gc=False, frozen=True, tag="command", rename="camel"):
    """A command as it now is."""

    command: Command


class OrderIssued(msgspec.Struct, gc=False, frozen=True, tag="order", rename="camel"):
    """An order goes out at ``at_us`` [µs since 1970]; ``carries`` are the commands that shaped it.

    ``moved_w`` [W] is how far it moves the device. ``switched_us`` [µs since 1970] is since when the device is on, or
    off, by this order.
    """

    order: Order
    at_us: int
    carries: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    moved_w: float = 0.0
    switched_us: int = 0


class StopChanged(msgspec.Struct, frozen=True, tag="stop", rename="camel"):
    """All-stop was pulled (``stopped``) or released by ``principal`` at ``at_us`` [µs since 1970]."""

    stopped: bool
    at_us: int
    principal: str
    reason: str


class LocalChanged(msgspec.Struct, frozen=True, tag="local", rename="camel"):
    """A Thing was taken into local control, or given back to remote control (``local`` false)."""

    thing: str
    local: bool
    at_us: int
    principal: str
    reason: str


class TagChanged(msgspec.Struct, frozen=True, tag="tag", rename="camel"):
    """A blocking tag was hung up, or taken down (``hung`` false) by ``principal`` at ``at_us`` [µs since 1970]."""

    tag: BlockingTag
    hung: bool
    at_us: int
    principal: str
    reason: str


class Counted(msgspec.Struct, frozen=True, tag="counted", rename="camel"):
    """What a snapshot keeps of the last moments: ``moves`` (when, W) of all, ``asked`` (by whom, when, W)."""

    moves: tuple[tuple[int, float], ...]
    asked: tuple[tuple[str, int, float], ...]


CommandEvent = CommandChanged | OrderIssued | StopChanged | LocalChanged | TagChanged | Counted
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(CommandEvent)
ORDER_BODY = b'{"type":"order",'
"""How the body of an order's record begins: the tag comes first."""


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
    if isinstance(event, TagChanged):
        return event.tag.thing
    if isinstance(event, LocalChanged):
        return event.thing
    return event.order.thing if isinstance(event, OrderIssued) else ""
