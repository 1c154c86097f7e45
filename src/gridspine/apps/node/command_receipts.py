"""What became of each command goes into the ledger; a repetition after a crash is known by its id."""

import asyncio

import msgspec

from gridspine.infra.log.port import EventLog, Follower, Record, Stored
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.log.writer import LogWriter, append
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import Clock
from gridspine.things.command import (
    COMMANDS,
    ORDER_BODY,
    CommandChanged,
    CommandEvent,
    LocalChanged,
    TagChanged,
    decode_event,
)

_AT_ONCE, _GATHER_S = 500, 0.1
"""Events taken at once at most; how long [s] to wait for more of them: no command waits for its receipt."""
_RECEIPTED = {
    "accepted", "refused", "awaiting-approval", "applied", "ended", "expired", "cancelled", "rejected", "failed",
}  # fmt: skip


async def follow_receipts(log: EventLog, writer: LogWriter, clock: Clock) -> None:
    """Put what happens to commands, and what blocks them, into the ledger, for ever."""
    follower = log.follow("receipts", [COMMANDS])
    try:
        while True:
            records, entries = await asyncio.to_thread(_next, follower)
            if entries:
                await append(writer, entries, source="commands")
            if records:
                place = records[-1].position
                await asyncio.to_thread(follower.commit, {(place.topic, place.partition): place.offset + 1})
            if 0 < len(records) < _AT_ONCE:
                await clock.sleep(_GATHER_S)
    finally:
        follower.close()


def _next(follower: Follower) -> tuple[list[Stored], list[Record]]:
    """Return the next events' records, and the entries that they make; blocks while there are none."""
    records = follower.poll(max_records=_AT_ONCE, timeout_s=1.0)
    events = (decode_event(record.body) for record in records if not record.body.startswith(ORDER_BODY))
    return records, [entry for event in events for entry in receipted(event)]


def receipted(event: CommandEvent) -> list[Record]:
    """Return the ledger's entry for what is worth a receipt; its id follows from what happened."""
    if isinstance(event, LocalChanged | TagChanged):
        return [_of_block(event)]
    if not isinstance(event, CommandChanged) or event.command.state not in _RECEIPTED:
        return []
    command = event.command
    at_us = command.changes[-1].at_us
    data = {"state": command.state, "reason": command.reason, "lease": msgspec.to_builtins(command.lease)}
    if command.approved_by:
        data["approvedBy"] = command.approved_by
    id_ = f"{command.id.removeprefix('urn:uuid:')}:{command.state}"
    entry = Event(id_, f"command.{command.state}", at_us, command.id, command.lease.principal, data)
    return [Record(LEDGER, command.lease.thing.encode(), msgspec.json.encode(entry), at_us)]


def _of_block(event: LocalChanged | TagChanged) -> Record:
    """Return the entry for local control taken or given back, or a tag hung or taken down."""
    if isinstance(event, LocalChanged):
        thing, kind = event.thing, "control.local" if event.local else "control.remote"
        id_ = f"{thing.removeprefix('urn:uuid:')}:{kind}:{event.at_us}"
    else:
        thing, kind = event.tag.thing, "tag.hung" if event.hung else "tag.taken-down"
        id_ = f"{event.tag.id.removeprefix('urn:uuid:')}:{kind}"
    entry = Event(id_, kind, event.at_us, thing, event.principal, msgspec.to_builtins(event))
    return Record(LEDGER, thing.encode(), msgspec.json.encode(entry), event.at_us)
