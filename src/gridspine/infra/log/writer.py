"""The one thread that prepares, appends and publishes: screening, compression and commits happen here.

::

    submit ─► queue by class ─► join ─► prepare … prepare ─► one append (group commit) ─► committed ─► finished
              control                           │                │                      (here)       (event loop)
              live                              └─ fails alone   └─ fails: every job of the group is undone
              backfill

Classes never mix in a group and control goes first, so a full disk or a flood of backfill never delays a command.
Readings of several sources take turns, so that the flood of one does not delay the others'.
Parts of the same kin that wait become one job: many small ones then cost hardly more than one.
"""

import asyncio
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, cast

import structlog

from gridspine.infra.log.fair import FairQueue
from gridspine.infra.log.port import MAX_RECORD_BYTES, EventLog, Position, Record
from gridspine.kernel.errors import Overloaded, Unavailable

log = structlog.get_logger(__name__)

JOINED_WEIGHT = 32_768
"""Weight of the parts that become one job at most: as many readings as one record holds."""
JOINED_PARTS = 512
"""Parts that become one job at most: their sources are named in the record, which has a bound in bytes."""
GROUP_WEIGHT = 200_000
"""Readings (or records) that one commit gathers at most."""


class Priority(IntEnum):
    """Classes of work, most urgent first."""

    CONTROL = 0
    LIVE = 1
    BACKFILL = 2


LIMITS = {Priority.CONTROL: 100_000, Priority.LIVE: 1_000_000, Priority.BACKFILL: 500_000}
"""Weight that may wait in each class; beyond it `Overloaded` is the answer."""
SOURCE_SHARE = 0.5
"""Part of a class's limit that a single source may fill, so that a flood leaves room for the others."""


class Work(Protocol):
    """What the writer does. ``prepare``, ``committed`` and ``undone`` run on the writer's thread."""

    def prepare(self) -> Sequence[Record]:
        """Return the records to append; may be none. An exception fails this work alone."""
        ...

    def committed(self, positions: Sequence[Position]) -> None:
        """The records are durable: publish state."""
        ...

    def undone(self) -> None:
        """Nothing was kept, or ``prepare`` failed: forget what it remembered. Work is undone newest first."""
        ...

    def finished(self, error: BaseException | None) -> None:
        """Tell whoever waits; runs on the event loop."""
        ...


class Queued(Protocol):
    """What waits in a queue: its class, its weight [readings, or records], and the source whose share it takes."""

    priority: Priority
    weight: int
    source: str


class Job(Queued, Work, Protocol):
    """Work that waits as it is."""


class Part(Queued, Protocol):
    """What becomes work together with others of the same ``kin``, in the order they came."""

    @property
    def kin(self) -> Hashable:
        """Parts of equal kin can be joined."""
        ...

    def together(self, parts: Sequence[Any]) -> Work:
        """Return the work of ``parts``, all of this one's kin, this one among them."""
        ...


@dataclass(frozen=True, slots=True)
class _Unit:
    """Work, and the parts it was made of (none: it came as a job)."""

    work: Work
    parts: Sequence[Part] = ()


class LogWriter:
    """Runs jobs against ``log``; ``loop`` is told of the end of each."""

    def __init__(self, log: EventLog, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._queues: dict[Priority, FairQueue[Job | Part]] = {
            priority: FairQueue(fair=priority is not Priority.CONTROL) for priority in Priority
        }
        self._waiting: dict[Priority, int] = dict.fromkeys(Priority, 0)
        self._by_source: dict[tuple[Priority, str], int] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._start()

    def submit(self, *jobs: Job | Part) -> None:
        """Queue jobs (or parts of jobs) of one class and source, all or none.

        Raises `Overloaded` when the class, or the source's share of it, is full.
        """
        with self._changed:
            if self._closing:
                raise Unavailable("the node is shutting down")
            priority, weight = jobs[0].priority, sum(job.weight for job in jobs)
            limit = LIMITS[priority]
            key = (priority, jobs[0].source)
            if self._waiting[priority] and self._waiting[priority] + weight > limit:
                raise Overloaded(f"more {priority.name.lower()} readings wait than fit; send them again later")
            waiting = self._by_source.get(key, 0)
            if waiting and waiting + weight > limit * SOURCE_SHARE:
                raise Overloaded("too many readings of this source wait; send them again later")
            self._waiting[priority] += weight
            self._by_source[key] = waiting + weight
            self._queues[priority].extend(jobs)
            self._changed.notify()

    def waiting(self, priority: Priority) -> int:
        """Return the weight that waits in a class."""
        return self._waiting[priority]

    def is_alive(self) -> bool:
        """Whether the thread that writes still runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Finish all that is queued, then stop. Must not be called on the writer's thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._drain()

    def _start(self) -> None:
        """Begin to work; a simulation works on its event loop instead."""
        self._thread.start()

    def _drain(self) -> None:
        """Return when all that is queued is done."""
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            self._tell(self._work(group))

    def _tell(self, ended: list[tuple[Work, BaseException | None]]) -> None:
        try:
            self._loop.call_soon_threadsafe(_finish, ended)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("writer: the event loop ended before its jobs were told", jobs=len(ended))

    def _next_group(self) -> list[Job | Part]:
        with self._changed:
            while not any(self._queues.values()):
                if self._closing:
                    return []
                self._changed.wait()
            queue = next(self._queues[priority] for priority in Priority if self._queues[priority])
            group = queue.take(GROUP_WEIGHT)
            for job in group:
                self._release(job)
            return group

    def _release(self, job: Job | Part) -> None:
        self._waiting[job.priority] -= job.weight
        key = (job.priority, job.source)
        self._by_source[key] -= job.weight
        if not self._by_source[key]:
            del self._by_source[key]

    def _work(self, group: list[Job | Part]) -> list[tuple[Work, BaseException | None]]:
        ended: list[tuple[Work, BaseException | None]] = []
        prepared: list[tuple[Work, Sequence[Record]]] = []
        for unit in _units(group):
            self._prepare(unit, prepared, ended)
        try:
            records = [record for _, its in prepared for record in its]
            positions = self._log.append(records) if records else []
        except Exception as error:
            log.warning("writer: nothing was kept of a group", jobs=len(prepared), error=str(error))
            for job, _ in reversed(prepared):
                _undo(job)
            return ended + [(job, error) for job, _ in prepared]
        at = 0
        for job, its in prepared:
            ended.append((job, _publish(job, positions[at : at + len(its)])))
            at += len(its)
        return ended

    def _prepare(
        self,
        unit: _Unit,
        prepared: list[tuple[Work, Sequence[Record]]],
        ended: list[tuple[Work, BaseException | None]],
    ) -> None:
        """Prepare a job; when one made of several parts fails, each of them by itself."""
        try:
            prepared.append((unit.work, self._checked(unit.work.prepare())))
        except Exception as error:  # one bad job must not stop the writer
            log.exception("writer: a job could not be prepared", parts=len(unit.parts))
            _undo(unit.work)
            if len(unit.parts) > 1:
                for part in unit.parts:
                    self._prepare(_Unit(part.together([part]), [part]), prepared, ended)
            else:
                ended.append((unit.work, error))

    def _checked(self, records: Sequence[Record]) -> Sequence[Record]:
        """The log refuses a whole group for one record it cannot take: find that record while its job is alone."""
        for record in records:
            if len(record.body) > MAX_RECORD_BYTES or record.topic not in self._log.topics:
                raise ValueError(f"a record of {len(record.body)} bytes for topic {record.topic} cannot be appended")
        return records


def _units(group: Sequence[Job | Part]) -> list[_Unit]:
    """Join parts of the same kin; never past a job that stands between them, nor beyond what one record holds."""
    units: list[_Unit] = []
    open_: dict[Hashable, tuple[list[Part], int]] = {}

    def close(kin: Hashable) -> None:
        parts, _ = open_.pop(kin)
        units.append(_Unit(parts[0].together(parts), parts))

    for one in group:
        kin = getattr(one, "kin", None)
        if kin is None:
            for each in list(open_):
                close(each)
            units.append(_Unit(cast("Job", one)))
            continue
        parts, weight = open_.get(kin, ([], 0))
        if parts and (weight + one.weight > JOINED_WEIGHT or len(parts) == JOINED_PARTS):
            close(kin)
            parts, weight = [], 0
        parts.append(cast("Part", one))
        open_[kin] = (parts, weight + one.weight)
    for kin in list(open_):
        close(kin)
    return units


def _undo(work: Work) -> None:
    try:
        work.undone()
    except Exception:  # the writer, and the undoing of the other jobs, go on
        log.exception("writer: a job could not be undone")


def _publish(work: Work, positions: Sequence[Position]) -> BaseException | None:
    try:
        work.committed(positions)
    except Exception as error:  # durable already: said, and the writer goes on
        log.exception("writer: state could not be published")
        return error
    return None


def _finish(ended: list[tuple[Work, BaseException | None]]) -> None:
    for job, error in ended:
        try:
            job.finished(error)
        except Exception:  # the others wait to be told too
            log.exception("writer: the end of a job could not be told")


class AppendJob:
    """Append plain records and wait for them: commands, alarms, audit."""

    def __init__(self, records: Sequence[Record], priority: Priority = Priority.CONTROL, source: str = "") -> None:
        self.priority = priority
        self.weight = max(len(records), 1)
        self.source = source
        self._records = records
        self._positions: Sequence[Position] = []
        self.done: asyncio.Future[Sequence[Position]] = asyncio.get_running_loop().create_future()

    def prepare(self) -> Sequence[Record]:
        """Return the records."""
        return self._records

    def committed(self, positions: Sequence[Position]) -> None:
        """Remember where they are."""
        self._positions = positions

    def undone(self) -> None:
        """Nothing to forget."""

    def finished(self, error: BaseException | None) -> None:
        """Answer the waiting caller."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(self._positions)
        else:
            self.done.set_exception(error)


async def append(writer: LogWriter, records: Sequence[Record], source: str = "") -> Sequence[Position]:
    """Append ``records`` as control work and return their places once durable."""
    job = AppendJob(records, source=source)
    writer.submit(job)
    return await job.done
