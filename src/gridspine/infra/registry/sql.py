"""The registry engine on SQLAlchemy Core: one SQLite file, or a PostgreSQL URL.

::

    transact ─► BEGIN … documents, keys, outbox … COMMIT ─► outbox rows ─► log.append ─► rows deleted

A crash between the commit and the deletion repeats events; each carries an id to tell.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, delete, event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from gridspine.infra.log.port import EventLog, Record
from gridspine.infra.registry.port import Transaction
from gridspine.infra.registry.schema import migrate
from gridspine.infra.registry.tables import outbox
from gridspine.infra.registry.transaction import SqlTransaction
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import DiskFull

R = TypeVar("R")
_RELAY_AT_ONCE = 500
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}


class SqlRegistry:
    """A `Registry` whose events go to ``log``. ``log`` None keeps them in the outbox (tools, tests)."""

    def __init__(self, url: str, clock: Clock, log: EventLog | None) -> None:
        self._clock = clock
        self._log = log
        self._engine = _engine(url)
        self._write_lock = threading.Lock()
        self._relay_lock = threading.Lock()
        self.behind = False
        """Whether events wait in the outbox because the log did not take them."""
        self._workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="registry")
        with self._engine.begin() as connection:
            migrate(connection)
        self.relay()

    def transact(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in one serialised transaction, commit, and hand its events to the log before returning.

        When the log takes no more (`DiskFull`), what was committed stays and its events follow with the next relay.
        """
        with self._write_lock, _room_for(self._engine) as connection:
            transaction = SqlTransaction(connection, self._clock.now_us())
            result = work(transaction)
        if transaction.events:
            try:
                self.relay()
            except BaseException:
                self.behind = True
                raise
        return result

    def read(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work``, which must not write, on a consistent view."""
        with self._engine.connect() as connection:
            return work(SqlTransaction(connection, self._clock.now_us()))

    async def run(self, work: Callable[[Transaction], R], *, write: bool = True) -> R:
        """Do ``transact`` (or ``read``) on a worker thread."""
        call = self.transact if write else self.read
        return await asyncio.get_running_loop().run_in_executor(self._workers, call, work)

    def relay(self) -> int:
        """Move what waits in the outbox to the log, in order; return how many events went."""
        if self._log is None:
            return 0
        moved = 0
        with self._relay_lock:
            rows = self._waiting()
            while rows:
                self._log.append([Record(row.topic, row.key.encode(), row.body, row.time_us) for row in rows])
                with self._write_lock, _room_for(self._engine) as connection:
                    connection.execute(delete(outbox).where(outbox.c.number <= rows[-1].number))
                moved += len(rows)
                # What comes later is moved by whoever commits it.
                rows = self._waiting() if len(rows) == _RELAY_AT_ONCE else []
            self.behind = False
        return moved

    def close(self) -> None:
        """Finish what is under way and close."""
        self._workers.shutdown(wait=True)
        self._engine.dispose()

    def _waiting(self) -> Any:
        with self._engine.connect() as connection:
            return connection.execute(select(outbox).order_by(outbox.c.number).limit(_RELAY_AT_ONCE)).fetchall()


@contextlib.contextmanager
def _room_for(engine: Engine) -> Iterator[Connection]:
    """Begin and commit; a full disk is said to be one."""
    try:
        with engine.begin() as connection:
            yield connection
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", None) not in _FULL:
            raise
        raise DiskFull("the disk is full, even for standing data: free some room") from error


def sqlite_url(path: Path) -> str:
    """Return the SQLAlchemy URL of an SQLite file."""
    return f"sqlite:///{path}"


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, isolation_level="SERIALIZABLE")
    engine = create_engine(url, poolclass=QueuePool, pool_size=4, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy begins; the driver must not
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA busy_timeout=10000")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
