"""Committed offsets of consumer groups, and trim marks: one small SQLite file beside the segments."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from gridspine.infra.log.file import open_file

_SCHEMA = """
CREATE TABLE IF NOT EXISTS committed (
    consumer_group TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
);
CREATE TABLE IF NOT EXISTS trimmed (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, before INTEGER NOT NULL, PRIMARY KEY (topic, partition)
);
"""


class Offsets:
    """Where groups go on, and below what records are gone. Safe to share between threads."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self._lock = threading.Lock()
        self._db = open_file(path, _SCHEMA, writable=writable)

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Keep the next offset of each (topic, partition) for ``group``, durably."""
        rows = [(group, topic, partition, offset) for (topic, partition), offset in offsets.items()]
        self._write("INSERT OR REPLACE INTO committed VALUES (?, ?, ?, ?)", rows)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the next offsets of ``group``."""
        with self._lock:
            rows = self._db.execute(
                "SELECT partition, next FROM committed WHERE consumer_group = ? AND topic = ?", (group, topic)
            )
            return dict(rows.fetchall())

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Raise the trim mark; it never falls."""
        self._write(
            "INSERT INTO trimmed VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET before = max(before, excluded.before)",
            [(topic, partition, before)],
        )

    def trimmed(self, topic: str, partitions: int) -> list[int]:
        """Return the trim mark of each partition, 0 where there is none."""
        with self._lock:
            rows = self._db.execute("SELECT partition, before FROM trimmed WHERE topic = ?", (topic,))
            marks = dict(rows.fetchall())
        return [marks.get(partition, 0) for partition in range(partitions)]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(statement, rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
