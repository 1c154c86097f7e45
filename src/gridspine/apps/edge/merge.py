"""What the node delivers, made into what the book of leases must change; and how events are kept. Pure."""

from collections.abc import Mapping

import msgspec

from gridspine.apps.edge.documents import Put
from gridspine.apps.edge.wire import Deliver
from gridspine.kernel.errors import Conflict
from gridspine.things.command import (
    CommandChanged,
    CommandEvent,
    OrderIssued,
    StopChanged,
    become,
    encode_event,
    may_become,
)
from gridspine.things.commander import Commander
from gridspine.things.lease import Lease, shifted

COMMAND, ORDER, STOP, DELIVERED = "command", "order", "stop", "delivered"
"""Kinds of documents."""
LOCAL = "rule:"
"""How the principal of a lease begins that a rule at the edge asked for."""


def merged(
    deliver: Deliver, given: Mapping[str, Lease], commander: Commander, ahead_us: int, now_us: int
) -> tuple[list[CommandEvent], list[Put]]:
    """Return the events that make ``commander`` say of a Thing what the node says, and what to remember of it.

    ``given`` are the leases as the node gave them before, by command: one that is the same changes nothing, for its
    story goes on here. ``ahead_us`` [µs] is how far this clock is ahead of the node's.
    """
    events: list[CommandEvent] = []
    puts: list[Put] = []
    present = {command.id: command for command in commander.commands(deliver.thing)}
    for command in deliver.commands:
        known = present.pop(command.id, None)
        if known is not None and given.get(command.id) == command.lease:
            continue
        puts.append((DELIVERED, command.id, msgspec.json.encode(command.lease)))
        story = command if known is None or known.final else known
        events.append(CommandChanged(msgspec.structs.replace(story, lease=shifted(command.lease, ahead_us), key="")))
    for command in present.values():
        if command.lease.principal.startswith(LOCAL):
            continue
        puts.append((DELIVERED, command.id, None))
        if may_become(command, "cancelled"):
            events.append(CommandChanged(become(command, "cancelled", now_us, "the node has ended it")))
    return events, puts


def put_of(event: CommandEvent) -> Put:
    """Return the document that keeps ``event``: the last one of each command and point is all that is needed."""
    if isinstance(event, CommandChanged):
        return COMMAND, event.command.id, encode_event(event)
    if isinstance(event, OrderIssued):
        return ORDER, f"{event.order.thing}/{event.order.point}", encode_event(event)
    if isinstance(event, StopChanged):
        return STOP, STOP, encode_event(event)
    raise Conflict(f"an event of another kind: {type(event).__name__}")
