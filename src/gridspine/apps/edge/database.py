"""A SQLite file with one writing thread: what is written at the same moment is committed together, durably.

Source: SQLite, "Write-Ahead Logging" and PRAGMA synchronous: with FULL a commit survives a power cut.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from gridspine.apps.edge.ballast import Ballast
from gridspine.kernel.errors import DiskFull, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
_MOST_TOGETHER = 256


class Database:
    """``path`` with ``schema`` (statements that may be run again). Blocking until it is open.

    ``ballast`` is given back when the disk is full, and the work that found it so is tried again, where it is urgent.
    """

    def __init__(self, path: Path, schema: str, ballast: Ballast) -> None:
        self.path, self._ballast = path, ballast
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Work, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY", "cache_size=-512"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(schema)
        self._thread = threading.Thread(target=self._write, name=f"writer of {path.name}")
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, urgent: bool = False) -> T:
        """Return what ``work`` returns, in the writer's thread, once what it wrote is durable.

        Raises `DiskFull` or `Unavailable`: then nothing of it was kept.
        """
        try:
            return await self._queued(work)
        except DiskFull:
            if not urgent or not self._ballast.give():
                raise
            return await self._queued(work)

    async def _queued(self, work: Callable[[sqlite3.Connection], T]) -> T:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put((work, future))
        return cast(T, await asyncio.shield(future))

    def close(self) -> None:
        """Finish what is queued, and close the file."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
            self._connection.close()

    def _write(self) -> None:
        going = True
        while going:
            group = [self._queue.get()]
            while len(group) < _MOST_TOGETHER and not self._queue.empty():
                group.append(self._queue.get())
            going = None not in group
            self._commit([one for one in group if one is not None])

    def _commit(self, group: list[tuple[Work, "asyncio.Future[Any]"]]) -> None:
        """Commit a group in one transaction; one that cannot be is tried again alone, for whose fault it is."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [work(self._connection) for work, _ in group]
            self._connection.execute("COMMIT")
        except Exception as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if len(group) > 1:
                for one in group:
                    self._commit([one])
            elif group:
                self._tell(group[0][1], None, _said(error))
            return
        for (_, future), result in zip(group, results, strict=True):
            self._tell(future, result, None)

    def _tell(self, future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        def tell() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
                future.exception()  # whoever asked may have gone
            else:
                future.set_result(result)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell)


def _said(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            return DiskFull(f"the edge's disk takes no more: {error}")
        return Unavailable(f"the edge's store failed: {error}")
    return error
