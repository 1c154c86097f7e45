"""What the edge keeps besides readings: small documents by kind and id, and the adapters' private stores."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from gridspine.apps.edge.ballast import Ballast
from gridspine.apps.edge.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,
                                      PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""
Put = tuple[str, str, bytes | None]
"""Kind, id and body; None deletes."""


class Documents:
    """``orders.db`` in the edge's folder."""

    def __init__(self, folder: Path, ballast: Ballast) -> None:
        self._database = Database(folder / "orders.db", _SCHEMA, ballast)

    async def all(self, kind: str) -> dict[str, bytes]:
        """Return the documents of a kind by id."""
        rows = await self._database.run(
            lambda db: db.execute("SELECT id, body FROM documents WHERE kind = ? ORDER BY id", (kind,)).fetchall()
        )
        return dict(rows)

    async def get(self, kind: str, id: str) -> bytes | None:
        """Return one document, or None."""
        query = "SELECT body FROM documents WHERE kind = ? AND id = ?"
        row = await self._database.run(lambda db: db.execute(query, (kind, id)).fetchone())
        return None if row is None else row[0]

    async def put(self, *documents: Put) -> None:
        """Keep documents, all or none; they are durable when this returns. Raises `DiskFull`."""
        await self.put_all(documents)

    async def put_all(self, documents: Sequence[Put]) -> None:
        """Keep documents, as `put` does."""
        kept = [(kind, id_, body) for kind, id_, body in documents if body is not None]
        gone = [(kind, id_) for kind, id_, body in documents if body is None]
        if not kept and not gone:
            return

        def write(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM documents WHERE kind = ? AND id = ?", gone)
            db.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", kept)

        await self._database.run(write, urgent=True)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class AdapterStore:
    """An adapter's private store: `gridspine.things.adapter.PrivateStore`."""

    def __init__(self, documents: Documents, adapter: str) -> None:
        self._documents = documents
        self._kind = f"adapter:{adapter}"

    async def get(self, key: str) -> bytes | None:
        """Return what was put under ``key``, or None."""
        return await self._documents.get(self._kind, key)

    async def put(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key``; None forgets it."""
        await self._documents.put((self._kind, key, value))

    async def items(self) -> Mapping[str, bytes]:
        """Return all that is kept, by key."""
        return dict(await self._documents.all(self._kind))
