"""The `EventLog` port. Its engine is SQLite here; every promise below can be kept by Kafka unchanged.

* a record has one key, which chooses its partition; order holds within a partition only;
* offsets rise per partition, and may have gaps;
* a record is at most `MAX_RECORD_BYTES`;
* ``append`` is durable on return: it survives ``kill -9`` and power loss.

All calls block and may come from any thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_RECORD_BYTES = 1_000_000
"""Bytes of a record's body at most (Kafka's default ``message.max.bytes`` is 1 MiB with overhead)."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its treatment.

    ``control`` topics (commands, grants, audit) may use the room kept back when the disk is full.
    """

    name: str
    partitions: int = 1
    control: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended: the partition follows from ``key``; ``time_us`` [µs since 1970] is the writer's clock."""

    topic: str
    key: bytes
    body: bytes
    time_us: int


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the log."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it is kept, with its place."""

    position: Position
    key: bytes
    body: bytes
    time_us: int


class Follower(Protocol):
    """A member of a consumer group; the group's partitions are divided among its members."""

    def poll(self, *, max_records: int = 500, timeout_s: float = 0.0) -> list[Stored]:
        """Return the next records of this member's partitions, waiting up to ``timeout_s`` [s] for the first."""
        ...

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Make durable where the group goes on: the *next* offset of each (topic, partition)."""
        ...

    def close(self) -> None:
        """Leave the group; its other members take over the partitions."""
        ...


class EventLog(Protocol):
    """Append, read, follow, trim."""

    @property
    def topics(self) -> Mapping[str, Topic]:
        """The topics this log was opened with."""
        ...

    def append(self, records: Sequence[Record]) -> list[Position]:
        """Keep ``records`` durably and return their places, in the order given.

        Of each topic all or none. Topics are written in the order of their names: when the call raises, those before
        the one that failed may have theirs, so what decides an answer belongs in the last. Raises `DiskFull` when
        there is no room, `ValueError` for an unknown topic or a record over `MAX_RECORD_BYTES`.
        """
        ...

    def read(
        self, topic: str, partition: int, offset: int, *, max_records: int = 500, max_bytes: int = 16 << 20
    ) -> list[Stored]:
        """Return records from ``offset`` on, in order; empty at the end.

        At least one record is returned where there is one, whatever ``max_bytes`` says. Raises `Gone` when
        ``offset`` lies below the trim mark.
        """
        ...

    def bounds(self, topic: str) -> list[tuple[int, int]]:
        """Return ``(first, next)`` offsets of each partition: the oldest kept, and the one the next append gets."""
        ...

    def follow(self, group: str, topics: Sequence[str]) -> Follower:
        """Join consumer group ``group``, starting at its committed offsets, or at the oldest record."""
        ...

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the next offset of each partition that ``group`` has committed."""
        ...

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Let go of records below ``before``; room is freed in whole segments, the mark holds at once."""
        ...

    def close(self) -> None:
        """Close files; what was appended stays."""
        ...
