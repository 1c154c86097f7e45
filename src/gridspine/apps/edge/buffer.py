"""Readings that wait for the node: durable before a device is acknowledged, deleted when the node has them.

::

    keep ─► readings.db ─┬─ what came within `LIVE_US`  ─► sent first, as live readings
                         └─ what is older, oldest first ─► sent as backfill, when nothing live waits

When the file has reached its bytes, or the disk its reserve, **new readings are refused** (`DiskFull`) and the device
is not acknowledged: nothing that was acknowledged is given up. With ``keep_days`` set, what is older is dropped, oldest
first, counted and reported: that is the owner's word, and the only way to lose an acknowledged reading.

A row is a posting: what an adapter handed in at one moment.
"""

import sqlite3
from pathlib import Path

import msgspec

from gridspine.apps.edge.ballast import Ballast
from gridspine.apps.edge.database import Database
from gridspine.apps.edge.wire import BufferReport
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import DiskFull
from gridspine.kernel.time import US

LIVE_US = 10 * US
"""Readings that have waited no longer are sent as live ones [µs]."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS postings (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kept_us INTEGER NOT NULL, oldest_us INTEGER NOT NULL, count INTEGER NOT NULL,
  backfill INTEGER NOT NULL, body BLOB NOT NULL
);
"""
_ROW_BYTES = 64


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One reading: point id, unit, observed [µs since 1970], value [the unit], quality."""

    point: str
    unit: str
    observed_us: int
    value: float
    quality: int


class Posting(msgspec.Struct, frozen=True):
    """Readings that were kept together, at ``kept_us``; ``backfill`` as their source declared them."""

    seq: int
    kept_us: int
    backfill: bool
    records: list[Record]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


class Buffer:
    """``readings.db`` in the edge's folder. ``reserve_bytes`` of the disk are left free, for orders."""

    def __init__(
        self, folder: Path, clock: Clock, ballast: Ballast, *, max_bytes: int = 256 << 20, keep_days: float = 0.0,
        reserve_bytes: int = 16 << 20,
    ) -> None:  # fmt: skip
        self._clock, self._ballast = clock, ballast
        self._max_bytes, self._keep_us, self._reserve_bytes = max_bytes, round(keep_days * 86_400 * US), reserve_bytes
        self._database = Database(folder / "readings.db", _SCHEMA, ballast)
        self._bytes = self._waiting = 0
        self._live: set[int] = set()
        """Postings kept since the start that were not sent: only they can be live."""
        self.buffered = self.sent = self.refused = self.dropped = 0

    async def load(self) -> None:
        """Count what waits."""
        query = f"SELECT coalesce(sum(length(body) + {_ROW_BYTES}), 0), coalesce(sum(count), 0) FROM postings"  # noqa: S608
        self._bytes, self._waiting = await self._database.run(lambda db: db.execute(query).fetchone())

    async def keep(self, records: list[Record], *, backfill: bool = False) -> None:
        """Keep readings; they are durable when this returns. Raises `DiskFull`: then none of them is."""
        if not records:
            return
        body = _encode(records)
        size = len(body) + _ROW_BYTES
        now_us = self._clock.now_us()
        row = (now_us, min(one.observed_us for one in records), len(records), int(backfill), body)
        try:
            if self._bytes + size > self._max_bytes:
                raise DiskFull(f"{self._bytes >> 20} MiB of readings wait for the node: no more are taken")
            if self._ballast.free_bytes() < self._reserve_bytes:
                raise DiskFull("the edge's disk is nearly full: the rest of it is for orders")
            statement = "INSERT INTO postings (kept_us, oldest_us, count, backfill, body) VALUES (?, ?, ?, ?, ?)"
            seq = await self._database.run(lambda db: db.execute(statement, row).lastrowid)
        except DiskFull:
            self.refused += len(records)
            raise
        self._bytes += size
        self._waiting += len(records)
        self.buffered += len(records)
        if seq is not None and not backfill:
            self._live.add(seq)

    async def live(self, most: int) -> list[Posting]:
        """Return what was kept within `LIVE_US`, oldest first, until it is more than ``most`` readings."""
        if not self._live:
            return []
        since_us = self._clock.now_us() - LIVE_US
        found = await self._rows("WHERE kept_us >= ? AND NOT backfill ORDER BY seq DESC LIMIT 1000", (since_us,))
        found = [one for one in found if one.seq in self._live]
        self._live = {one.seq for one in found}
        return _until(list(reversed(found)), most)

    async def oldest(self, most: int) -> list[Posting]:
        """Return the oldest that waits, until it is more than ``most`` readings."""
        return _until(await self._rows("ORDER BY seq LIMIT 1000", ()), most)

    async def done(self, postings: list[Posting]) -> None:
        """Delete what the node has."""
        self.sent += await self._delete([one.seq for one in postings])

    async def sweep(self) -> None:
        """Drop what is older than ``keep_days``, if there is such a bound; take the ballast again if there is room."""
        self._ballast.take()
        if self._keep_us:
            before_us = self._clock.now_us() - self._keep_us
            query = "SELECT seq FROM postings WHERE kept_us < ? ORDER BY seq LIMIT 1000"
            rows = await self._database.run(lambda db: db.execute(query, (before_us,)).fetchall())
            self.dropped += await self._delete([seq for (seq,) in rows])

    async def report(self) -> BufferReport:
        """Return how it is."""
        query = "SELECT coalesce(min(oldest_us), 0) FROM postings"
        (oldest_us,) = await self._database.run(lambda db: db.execute(query).fetchone())
        return BufferReport(self._waiting, self._bytes, oldest_us, self.buffered, self.sent, self.refused, self.dropped)

    @property
    def waiting(self) -> int:
        """Readings that wait."""
        return self._waiting

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    async def _rows(self, clause: str, parameters: tuple[int, ...]) -> list[Posting]:
        query = f"SELECT seq, kept_us, backfill, body FROM postings {clause}"  # noqa: S608 - clauses of this module
        rows = await self._database.run(lambda db: db.execute(query, parameters).fetchall())
        return [Posting(seq, kept_us, bool(backfill), _decode(body)) for seq, kept_us, backfill, body in rows]

    async def _delete(self, numbers: list[int]) -> int:
        """Delete postings; return how many readings they were."""

        def work(db: sqlite3.Connection) -> tuple[int, int]:
            size = count = 0
            for seq in numbers:
                row = db.execute("SELECT length(body), count FROM postings WHERE seq = ?", (seq,)).fetchone()
                if row is not None:
                    size, count = size + row[0] + _ROW_BYTES, count + row[1]
                    db.execute("DELETE FROM postings WHERE seq = ?", (seq,))
            return size, count

        size, count = await self._database.run(work, urgent=True)
        self._bytes -= size
        self._waiting -= count
        self._live.difference_update(numbers)
        return count


def _until(postings: list[Posting], most: int) -> list[Posting]:
    chosen: list[Posting] = []
    count = 0
    for posting in postings:
        count += len(posting.records)
        if chosen and count > most:
            break
        chosen.append(posting)
    return chosen
