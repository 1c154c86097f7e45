"""Starting from the log: twins, the screen's memory and the duplicates' horizon, rebuilt from snapshot and tail."""

from collections import deque
from pathlib import Path

import msgspec
import structlog

from gridspine.infra.log.port import EventLog
from gridspine.infra.log.scan import scan
from gridspine.infra.registry.port import Event
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.codecs.binding import decode_binding
from gridspine.kernel.readings import Readings
from gridspine.things.directory import POINTS
from gridspine.things.horizon import DEFAULT_CAPACITY
from gridspine.things.intake import READINGS
from gridspine.things.offence import EVENTS, Offences
from gridspine.things.screen import Screen
from gridspine.things.twin import TwinState

log = structlog.get_logger(__name__)


def restore_twins(eventlog: EventLog, twins: TwinState, screen: Screen, snapshot: Path, *, points: int) -> int:
    """Bring the twins, and with them the screen, to the end of the log; return how many batches were replayed.

    Without a snapshot everything the log still holds is replayed. Blocks.
    """
    offsets = twins.load(snapshot)
    twins.grow(points)
    replayed = 0
    for partition, (first, following) in enumerate(eventlog.bounds(READINGS)):
        for record in scan(eventlog, READINGS, partition, max(offsets.get(partition, 0), first), following):
            twins.apply(decode_batch(record.body))
            replayed += 1
    screen.restore(twins)
    _restore_horizon(eventlog, screen)
    if replayed:
        log.info("twins follow the log again", batches=replayed)
    return replayed


def _restore_horizon(eventlog: EventLog, screen: Screen) -> None:
    """Remember the newest accepted readings, as far as duplicates are recognised."""
    recent: deque[Readings] = deque()
    for partition, (first, following) in enumerate(eventlog.bounds(READINGS)):
        count, at = 0, following
        while at > first and count < DEFAULT_CAPACITY:
            start = max(first, at - 200)
            batches = [decode_batch(record.body) for record in scan(eventlog, READINGS, partition, start, at)]
            recent.extendleft(reversed(batches))
            count += sum(len(batch) for batch in batches)
            at = start
    for batch in recent:
        screen.remember(batch)


def restore_offences(eventlog: EventLog, offences: Offences) -> None:
    """Take up who is quarantined. Blocks."""
    for record in scan(eventlog, EVENTS, 0, *eventlog.bounds(EVENTS)[0], max_records=5000):
        if b'"source.' in record.body:
            offences.replay(msgspec.json.decode(record.body, type=Event))


def highest_binding(eventlog: EventLog) -> int:
    """Return one above the highest point number that the log bound. Blocks."""
    highest = 0
    for record in scan(eventlog, POINTS, 0, *eventlog.bounds(POINTS)[0], max_records=5000):
        binding = decode_binding(record.body)
        highest = max(highest, binding.first + len(binding.names))
    return highest
