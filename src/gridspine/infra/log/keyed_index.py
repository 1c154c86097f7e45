"""`KeyedIndex`: entries of a log by key and time, in one SQLite file that can be built again.

::

    topic "ledger" ─┐
    topic "alarms" ─┼─► rows (key, time, id, kind, body) ─► pages of a key, newest first
    topic "events" ─┘   consumed: topic → next offset, committed with the rows

Bounded: of one key so many rows, of all together so many; when there are more, the oldest of the kinds that come and go
make room, never those of the others.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gridspine.infra.log.sqlite import no_room
from gridspine.kernel.errors import DiskFull

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (key TEXT, at_us INTEGER, id TEXT, kind TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (key, at_us, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_at ON entry (at_us, kind);
CREATE TABLE IF NOT EXISTS state (topic TEXT PRIMARY KEY, consumed INTEGER NOT NULL) WITHOUT ROWID;
"""
_FORMAT = 1
_ROWS = ""
"""Beside the topics, which have names: how many rows there are. Counting millions would hold up every start."""


class Row(NamedTuple):
    """An entry: of ``key``, at a time [µs since 1970], with an id by which a repetition is known."""

    key: str
    at_us: int
    id: str
    kind: str
    body: bytes


class KeyedIndex:
    """The index in the file ``path``; one that cannot be read, or is of another format, is begun anew.

    ``passing`` are the kinds that make room. Calls block; any thread may make them.
    """

    def __init__(
        self, path: Path, *, passing: Collection[str], max_of_key: int = 5_000, max_rows: int = 2_000_000
    ) -> None:
        self._passing, self._max_of_key, self._max_rows = tuple(passing), max_of_key, max_rows
        self._lock = threading.Lock()
        self._db = _open(path)
        kept = self._db.execute("SELECT consumed FROM state WHERE topic = ?", (_ROWS,)).fetchone()
        self._rows = 0 if kept is None else int(kept[0])

    def __len__(self) -> int:
        return self._rows

    def consumed(self, topic: str) -> int:
        """Return the next offset of a topic that is not in yet."""
        with self._lock:
            row = self._db.execute("SELECT consumed FROM state WHERE topic = ?", (topic,)).fetchone()
        return 0 if row is None else int(row[0])

    def add(self, rows: Sequence[Row], consumed: Mapping[str, int]) -> None:
        """Keep rows, those that are there already once, and how far the topics were read: all or nothing."""
        with self._lock, _room_for():
            known = self._rows
            try:
                with self._db:
                    self._add(rows, consumed)
            except BaseException:
                self._rows = known
                raise

    def page(self, key: str, before: tuple[int, str], since_us: int, limit: int, kinds: Collection[str]) -> list[Row]:
        """Return up to ``limit`` rows of a key, newest first: before a place (time, id) and not before ``since_us``.

        Of ``kinds`` only, where any is named.
        """
        only = f"AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        sql = (
            "SELECT key, at_us, id, kind, body FROM entry "  # noqa: S608 - only question marks are added
            f"WHERE key = ? AND (at_us, id) < (?, ?) AND at_us >= ? {only} ORDER BY at_us DESC, id DESC LIMIT ?"
        )
        with self._lock:
            return [Row(*row) for row in self._db.execute(sql, (key, *before, since_us, *kinds, limit))]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _add(self, rows: Sequence[Row], consumed: Mapping[str, int]) -> None:
        before = self._db.total_changes
        self._db.executemany("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?)", rows)
        self._rows += self._db.total_changes - before
        self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(consumed.items()))
        for key in {row.key for row in rows}:
            self._bound_key(key)
        if self._rows > self._max_rows:
            self._forget(self._max_rows // 20 + self._rows - self._max_rows)
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (_ROWS, self._rows))

    def _bound_key(self, key: str) -> None:
        (count,) = self._db.execute("SELECT count(*) FROM entry WHERE key = ?", (key,)).fetchone()
        if count > self._max_of_key + self._max_of_key // 10:
            self._delete("WHERE key = ? AND ", (key,), count - self._max_of_key)

    def _forget(self, count: int) -> None:
        self._delete("WHERE ", (), count)

    def _delete(self, where: str, given: tuple[str, ...], count: int) -> None:
        kinds = ", ".join("?" * len(self._passing))
        sql = f"SELECT key, at_us, id FROM entry {where} kind IN ({kinds}) ORDER BY at_us LIMIT ?"  # noqa: S608 - ours
        gone = self._db.execute(sql, (*given, *self._passing, count)).fetchall()
        self._db.executemany("DELETE FROM entry WHERE key = ? AND at_us = ? AND id = ?", gone)
        self._rows -= len(gone)


def _open(path: Path) -> sqlite3.Connection:
    for _ in range(2):
        db = sqlite3.connect(path, check_same_thread=False)
        try:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            new = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if new or found == _FORMAT:
                # What a power cut takes is read from the log again.
                db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
                db.execute(f"PRAGMA user_version = {_FORMAT}")
                db.execute("SELECT kind FROM entry LIMIT 1").fetchone()
                return db
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and no_room(error):
                db.close()
                raise
        db.close()
        for part in ("", "-wal", "-shm"):
            path.with_name(path.name + part).unlink(missing_ok=True)
    raise AssertionError("a file that was just made is not damaged")


@contextlib.contextmanager
def _room_for() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if not no_room(error):
            raise
        raise DiskFull("the disk is full, even for the index of histories: free some room") from error
