"""Consumer groups of the SQLite log: members of one process share a group's partitions."""

import threading
import time
from collections.abc import Mapping
from typing import Protocol

from gridspine.infra.log.offsets import Offsets
from gridspine.infra.log.port import Stored


class _Readable(Protocol):
    def read(
        self, topic: str, partition: int, offset: int, *, max_records: int = 500, max_bytes: int = 16 << 20
    ) -> list[Stored]: ...

    def bounds(self, topic: str) -> list[tuple[int, int]]: ...

    appended: int

    def wait(self, timeout_s: float, appended: int) -> None: ...


class Memberships:
    """Who is in which group, in order of joining."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: dict[str, list[object]] = {}
        self.generation = 0

    def join(self, group: str, member: object) -> None:
        """Add ``member``; the group's partitions are divided anew."""
        with self._lock:
            self._members.setdefault(group, []).append(member)
            self.generation += 1

    def leave(self, group: str, member: object) -> None:
        """Remove ``member``; the others take over."""
        with self._lock:
            if member in self._members.get(group, []):
                self._members[group].remove(member)
                self.generation += 1

    def share(self, group: str, member: object, partitions: int) -> list[int]:
        """Return the partitions that are ``member``'s."""
        with self._lock:
            members = self._members.get(group, [])
            if member not in members:
                return []
            return list(range(partitions))[members.index(member) :: len(members)]


class LocalFollower:
    """A member of consumer group ``group``; see `gridspine.infra.log.port.Follower`."""

    def __init__(
        self, log: _Readable, memberships: Memberships, offsets: Offsets, group: str, topics: tuple[str, ...]
    ) -> None:
        self._log = log
        self._memberships = memberships
        self._offsets = offsets
        self._group = group
        self._topics = topics
        self._at: dict[tuple[str, int], int] = {}
        self._generation = -1
        self._turn = 0
        memberships.join(group, self)

    def poll(self, *, max_records: int = 500, timeout_s: float = 0.0) -> list[Stored]:
        """Return the next records, waiting up to ``timeout_s`` [s] for the first."""
        deadline = time.monotonic() + timeout_s
        while True:
            appended = self._log.appended
            found = self._take(max_records)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            self._log.wait(left, appended)

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Make durable where the group goes on."""
        self._offsets.commit(self._group, offsets)

    def close(self) -> None:
        """Leave the group."""
        self._memberships.leave(self._group, self)

    def _take(self, max_records: int) -> list[Stored]:
        self._take_share()
        places = list(self._at)
        self._turn += 1
        for step in range(len(places)):
            # Partitions take turns, so that a busy one does not starve the others.
            topic, partition = places[(self._turn + step) % len(places)]
            found = self._log.read(topic, partition, self._at[topic, partition], max_records=max_records)
            if found:
                self._at[topic, partition] = found[-1].position.offset + 1
                return found
        return []

    def _take_share(self) -> None:
        if self._generation == self._memberships.generation:
            return
        self._generation = self._memberships.generation
        at: dict[tuple[str, int], int] = {}
        for topic in self._topics:
            bounds = self._log.bounds(topic)
            committed = self._offsets.committed(self._group, topic)
            for partition in self._memberships.share(self._group, self, len(bounds)):
                start = max(committed.get(partition, 0), bounds[partition][0])
                at[topic, partition] = self._at.get((topic, partition), start)
        self._at = at
