"""Starting from the log: twins, the screen's memory and the duplicates' horizon, rebuilt from snapshot and tail."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from gridspine.infra.log.checkpoint import Checkpoints
from gridspine.infra.log.port import EventLog, Position, Record
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import EVENTS, READINGS
from gridspine.infra.log.writer import Priority
from gridspine.infra.registry.port import Event
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.readings import Readings
from gridspine.things.books import Books
from gridspine.things.horizon import DEFAULT_CAPACITY
from gridspine.things.offence import Offences
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


def restore_offences(eventlog: EventLog, offences: Offences, checkpoints: Checkpoints) -> None:
    """Take up who is quarantined, from the newest checkpoint and the topic's tail. Blocks."""
    first, following = eventlog.bounds(EVENTS)[0]
    start, bodies = checkpoints.load(first)
    offences.restore(dict(msgspec.msgpack.decode(body, type=tuple[str, str]) for body in bodies))
    for record in scan(eventlog, EVENTS, 0, start, following, max_records=5000):
        if b'"source.' in record.body:
            offences.replay(msgspec.json.decode(record.body, type=Event))


class CatchUpJob:
    """Brings the twins to the log's end after a batch was kept that they may lack; on the writer's thread.

    ``tell`` is called on the event loop with the offsets that every batch before now is known to the log only.
    """

    def __init__(self, eventlog: EventLog, books: Books, tell: Callable[[dict[int, int]], None]) -> None:
        self.priority, self.weight, self.source = Priority.LIVE, 1, "catch-up"
        self._log, self._books, self._tell = eventlog, books, tell
        self._reached: dict[int, int] = {}

    def prepare(self) -> Sequence[Record]:
        """Return nothing: no record is to be kept."""
        return ()

    def committed(self, _: Sequence[Position]) -> None:
        """Move the twins by what they lack; what they have already moves nothing."""
        books = self._books
        for partition, (first, following) in enumerate(self._log.bounds(READINGS)):
            start = max(books.applied.get(partition, following), first)
            for record in scan(self._log, READINGS, partition, start, following):
                books.twins.apply(decode_batch(record.body))
            books.applied[partition] = self._reached[partition] = following
        books.behind = False
        log.warning("the twins have what they lacked", offsets=self._reached)

    def undone(self) -> None:
        """Nothing to forget."""

    def finished(self, error: BaseException | None) -> None:
        """Tell who follows what is published; after an error the next sweep tries again."""
        if error is None:
            self._tell(self._reached)


class OffencesJob:
    """Writes down who is quarantined; on the writer's thread, where that and the log are of one mind."""

    def __init__(self, eventlog: EventLog, offences: Offences, checkpoints: Checkpoints) -> None:
        self.priority, self.weight, self.source = Priority.CONTROL, 1, "checkpoint"
        self._log, self._offences, self._checkpoints = eventlog, offences, checkpoints

    def prepare(self) -> Sequence[Record]:
        """Return nothing: no record is to be kept."""
        return ()

    def committed(self, _: Sequence[Position]) -> None:
        """Write the checkpoint, unless nothing happened since the last one."""
        offset = self._log.bounds(EVENTS)[0][1]
        if offset > self._checkpoints.offset:
            quarantined = self._offences.quarantined_principals()
            self._checkpoints.save(offset, [msgspec.msgpack.encode(pair) for pair in quarantined.items()])

    def undone(self) -> None:
        """Nothing to forget."""

    def finished(self, error: BaseException | None) -> None:
        """Nobody waits; the writer has said what went wrong, and the next time tries again."""
