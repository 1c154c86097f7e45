"""The embedded engine of the event log: a folder a topic, segment files in it, one SQLite file of offsets.

::

    log/offsets.db
    log/readings/000000000001.db      sealed
    log/readings/000000000002.db      written
    log/commands/000000000001.db      …

Records of one topic are kept all or none; when one call names several topics and fails, the topics before the failing
one (in order of name) may have theirs.
"""

import contextlib
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gridspine.infra.log.follower import LocalFollower, Memberships
from gridspine.infra.log.offsets import Offsets
from gridspine.infra.log.port import MAX_RECORD_BYTES, Follower, Position, Record, Stored, Topic
from gridspine.infra.log.room import Room
from gridspine.infra.log.segment import Row
from gridspine.infra.log.topic import SegmentedTopic
from gridspine.infra.runtime.durable import make_folder
from gridspine.kernel.errors import DiskFull, Gone

DEFAULT_SEGMENT_BYTES = 64 << 20
_READ_ONLY_POLL_S = 0.05


class SqliteEventLog:
    """An `EventLog` in files under ``directory``.

    One process writes; any other may open it with ``read_only`` and follow along (it cannot commit offsets or trim).
    ``room`` decides when data no longer fits; without one there is no limit but the disk's.
    """

    def __init__(
        self,
        directory: Path,
        topics: Iterable[Topic],
        *,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        room: Room | None = None,
        read_only: bool = False,
    ) -> None:
        self._topics = {topic.name: topic for topic in topics}
        self._read_only = read_only
        self._room = room
        if not read_only:
            make_folder(directory, mode=0o700)
        self._kept: dict[str, SegmentedTopic] = {}
        with contextlib.ExitStack() as opened:  # a log that cannot be opened leaves nothing open
            self._offsets = Offsets(directory / "offsets.db", writable=not read_only)
            opened.callback(self._offsets.close)
            for name, topic in self._topics.items():
                self._kept[name] = SegmentedTopic(
                    topic,
                    directory / name,
                    segment_bytes=segment_bytes,
                    writable=not read_only,
                    trimmed=self._offsets.trimmed(name, topic.partitions),
                )
                opened.callback(self._kept[name].close)
            opened.pop_all()
        self._lock = threading.RLock()
        self._arrived = threading.Condition(self._lock)
        self._memberships = Memberships()
        self.appended = 0
        """How often `append` was called: what `wait` waits for."""

    @property
    def topics(self) -> Mapping[str, Topic]:
        """The topics this log was opened with."""
        return self._topics

    def append(self, records: Sequence[Record]) -> list[Position]:
        """Keep ``records`` durably; see `gridspine.infra.log.port.EventLog.append`."""
        by_topic: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            if len(record.body) > MAX_RECORD_BYTES:
                raise ValueError(f"a record of {len(record.body)} bytes is over {MAX_RECORD_BYTES}")
            by_topic.setdefault(self._topic(record.topic).name, []).append(index)
        positions: dict[int, Position] = {}
        with self._lock:
            for name in sorted(by_topic):
                chosen = [records[index] for index in by_topic[name]]
                positions.update(zip(by_topic[name], self._append_to(name, chosen), strict=True))
            self.appended += 1
            self._arrived.notify_all()
        return [positions[index] for index in range(len(records))]

    def read(
        self, topic: str, partition: int, offset: int, *, max_records: int = 500, max_bytes: int = 16 << 20
    ) -> list[Stored]:
        """Return records from ``offset`` on; see `gridspine.infra.log.port.EventLog.read`."""
        with self._lock:
            first, _ = self.bounds(topic)[partition]
            if offset < first:
                raise Gone(f"records of {topic} below offset {first} are no longer in the log")
            return self._kept[topic].read(partition, offset, max_records, max_bytes)

    def bounds(self, topic: str) -> list[tuple[int, int]]:
        """Return (first, next) offsets of each partition."""
        partitions = self._topic(topic).partitions
        with self._lock:
            if self._read_only:
                self._kept[topic].refresh()
            return self._kept[topic].bounds(self._offsets.trimmed(topic, partitions))

    def follow(self, group: str, topics: Sequence[str]) -> Follower:
        """Join ``group``; its partitions are divided among the members of this process."""
        for topic in topics:
            self._topic(topic)
        return LocalFollower(self, self._memberships, self._offsets, group, tuple(topics))

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the next offsets of ``group`` in ``topic``."""
        return self._offsets.committed(group, topic)

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Let go of records below ``before``; whole segments are deleted."""
        with self._lock:
            _, following = self.bounds(topic)[partition]
            self._offsets.trim(topic, partition, min(before, following))
            self._kept[topic].drop_below(self._offsets.trimmed(topic, self._topics[topic].partitions))

    def wait(self, timeout_s: float, appended: int) -> None:
        """Block until this process has appended more often than ``appended``, or ``timeout_s`` [s] have passed.

        What another process appends is not heard of: read-only, it returns early to have it looked for.
        """
        patience_s = min(timeout_s, _READ_ONLY_POLL_S) if self._read_only else timeout_s
        with self._arrived:
            self._arrived.wait_for(lambda: self.appended != appended, patience_s)

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            for kept in self._kept.values():
                kept.close()
            self._offsets.close()

    def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            raise ValueError(f"topic {name!r} is not one of {', '.join(self._topics)}")
        return self._topics[name]

    def _append_to(self, name: str, records: list[Record]) -> list[Position]:
        topic = self._topics[name]
        if self._room is not None and not topic.control:
            self._room.admit(sum(len(record.body) for record in records))
        partitions = [zlib.crc32(record.key) % topic.partitions for record in records]
        positions, rows = self._kept[name].place(records, partitions)
        try:
            self._kept[name].write(rows)
        except sqlite3.OperationalError as error:
            if not no_room(error):
                raise
            if self._room is not None:
                self._room.overrun()
            if not topic.control:
                raise DiskFull(
                    "the disk is full: free some room; new readings are taken again by themselves"
                ) from error
            self._write_in_reserve(name, rows)
        return positions

    def _write_in_reserve(self, name: str, rows: list[Row]) -> None:
        """Write a control topic in the room kept back for it; even that may be gone."""
        try:
            self._kept[name].write(rows)
        except sqlite3.OperationalError as error:
            if not no_room(error):
                raise
            raise DiskFull("the disk is full, even for commands, grants and audit: free some room") from error


def no_room(error: sqlite3.OperationalError) -> bool:
    """Whether a write failed because the disk is full."""
    return error.sqlite_errorcode in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
