"""One segment file: a stretch of one topic's records in an SQLite database. Trim is deleting a file.

Sealed segments are never written again; their extents are kept in the file so that opening a log of many segments
reads one small table each. What the newest one says of its extents is not believed: it may be written still.
"""

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

from gridspine.infra.log.file import open_file
from gridspine.infra.log.port import Position, Stored

Row = tuple[int, int, bytes, bytes, int]
"""``(partition, offset, key, body, time_us)``."""
Extents = dict[int, tuple[int, int]]
"""``partition → (first offset, next offset)``."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    partition INTEGER NOT NULL, offset INTEGER NOT NULL, time_us INTEGER NOT NULL, key BLOB NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS record_place ON record (partition, offset);
CREATE TABLE IF NOT EXISTS sealed (partition INTEGER PRIMARY KEY, first INTEGER NOT NULL, next INTEGER NOT NULL);
"""


class Segment:
    """A segment file open for writing (``writable``) or reading. Safe to share between threads."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._files = (path, path.with_name(path.name + "-wal"))
        self.writable = writable
        self._lock = threading.Lock()
        self._db = open_file(path, _SCHEMA, writable=writable)

    def write(self, rows: Sequence[Row]) -> None:
        """Append ``rows`` in one durable transaction; on an error none of them is kept."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    "INSERT INTO record (partition, offset, key, body, time_us) VALUES (?, ?, ?, ?, ?)", rows
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> list[Stored]:
        """Return records of ``partition`` from ``offset`` on, at least one where there is one."""
        found: list[Stored] = []
        size = 0
        with self._lock:
            rows = self._db.execute(
                "SELECT offset, key, body, time_us FROM record WHERE partition = ? AND offset >= ? "
                "ORDER BY offset LIMIT ?",
                (partition, offset, max_records),
            )
            for at, key, body, time_us in rows:
                size += len(body)
                if found and size > max_bytes:
                    break
                found.append(Stored(Position(topic, partition, at), key, body, time_us))
            rows.close()
        return found

    def extents(self, *, newest: bool) -> Extents:
        """Return the offsets held, per partition; of the ``newest`` segment of a topic from the records themselves."""
        with self._lock:
            rows = [] if newest else self._db.execute("SELECT partition, first, next FROM sealed").fetchall()
            if not rows:
                rows = self._db.execute(
                    "SELECT partition, min(offset), max(offset) + 1 FROM record GROUP BY partition"
                ).fetchall()
        return {partition: (first, following) for partition, first, following in rows}

    def seal(self, extents: Extents) -> None:
        """Note the final extents and fold the write-ahead log into the file."""
        with self._lock:
            self._db.executemany(
                "INSERT OR REPLACE INTO sealed VALUES (?, ?, ?)", [(p, *e) for p, e in extents.items()]
            )
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size_bytes(self) -> int:
        """Bytes of the file on disk, write-ahead log included."""
        size = 0
        for path in self._files:  # asked before every write: an exception is cheaper than asking twice
            with contextlib.suppress(FileNotFoundError):
                size += path.stat().st_size
        return size

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def unlink(self) -> None:
        """Close and delete the file."""
        self.close()
        unlink_segment(self.path)


def unlink_segment(path: Path) -> None:
    """Delete a segment's files; a write-ahead log that stayed would be taken for that of the next of its name."""
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
