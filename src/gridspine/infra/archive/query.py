"""Runs an operator's SELECT in a child process with hard limits; this side imports no engine.

::

    QueryPool ── spare child, its imports done ──► Job ──► answer, and the child ends
              └─ then the next spare is started

The tables are `gridspine.infra.archive.schema.TABLES`: readings and revisions come from the archive and the log's
tail, points, things and events from the caller, and only when a query names them.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from gridspine.infra.archive.wire import Done, Failed, Format, Granted, Job, Need, QueryLimits, Reply, Rows
from gridspine.infra.runtime.child import plain_environment
from gridspine.infra.runtime.frame import write_frame
from gridspine.kernel.errors import GridspineError, Invalid, Overloaded, TooLarge, Unavailable

RowSource = Callable[[], Sequence[Mapping[str, Any]]]
_KINDS: dict[str, type[GridspineError]] = {"invalid": Invalid, "too-large": TooLarge, "unavailable": Unavailable}
_GRACE_S = 1.0
_CHUNK = 1 << 20


def _no_rows() -> Sequence[Mapping[str, Any]]:
    return []


@dataclass(frozen=True, slots=True)
class QueryInput:
    """Where the rows of the handed-in tables come from, each called at most once a query, from its thread.

    Columns are those of `gridspine.infra.archive.schema.HANDED_IN`; the caller bounds how many rows it hands in.
    """

    points: RowSource = _no_rows
    things: RowSource = _no_rows
    events: RowSource = _no_rows

    def rows(self, tables: Sequence[str]) -> Rows:
        """Fetch the rows of ``tables``."""
        return Rows({table: [dict(row) for row in getattr(self, table)()] for table in tables})


@dataclass(frozen=True, slots=True)
class QueryResult:
    """An answer: ``body`` is an Arrow IPC stream, or JSON ``{"columns": [{name, type}], "rows": [[…]]}``."""

    body: bytes
    format: Format
    rows: int
    columns: list[tuple[str, str]]
    elapsed_s: float
    following: dict[int, int]
    """The log's next offsets when the readings were looked at: what is later was not seen."""


class Stopped(Unavailable):
    """The query was ended by whoever asked for it."""


class Stop:
    """Ends a query from another thread, before or while it runs; ``reason`` says why it was."""

    def __init__(self) -> None:
        self.reason = ""
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def now(self, reason: str) -> None:
        """Kill the query's process; nothing of it is answered."""
        with self._lock:
            self.reason = self.reason or reason
            if self._child is not None:
                self._child.kill()

    @contextlib.contextmanager
    def over(self, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """Hold power over ``child`` for as long as this is entered; raise `Stopped` when it was used."""
        with self._lock:
            self._child = child
            if self.reason:
                child.kill()
        try:
            yield
        except GridspineError:
            if not self.reason:
                raise
        finally:
            with self._lock:
                self._child = None
        if self.reason:
            raise Stopped(f"the query was ended: {self.reason}", reason=self.reason)


class QueryPool:
    """Runs queries over the archive and log in these folders, at most ``max_running`` at a time.

    ``spares`` children wait with their imports done, from the first query on; when none came for ``idle_s`` [s], they
    end (0: never), since each takes some 70 MB. Calls of `run` block and may come from any thread.
    """

    def __init__(
        self,
        archive: Path,
        log: Path,
        *,
        partitions: int = 1,
        limits: QueryLimits | None = None,
        max_running: int = 2,
        spares: int = 1,
        idle_s: float = 0.0,
    ) -> None:
        self._archive, self._log, self._partitions = archive, log, partitions
        self._limits = limits or QueryLimits()
        self._slots = threading.Semaphore(max_running)
        self._lock = threading.Lock()
        self._spares_wanted = spares
        self._spares: list[subprocess.Popen[bytes]] = []
        self._idle_s = idle_s
        self._cooling: threading.Timer | None = None
        self._closed = False

    def warm(self) -> None:
        """Start spare children, so that the next query need not wait for imports."""
        with self._lock:
            for dead in [child for child in self._spares if child.poll() is not None]:
                self._spares.remove(dead)
                _end(dead)
            while not self._closed and len(self._spares) < self._spares_wanted:
                self._spares.append(_start())
            if self._cooling is not None:
                self._cooling.cancel()
                self._cooling = None
            if self._idle_s and self._spares:
                self._cooling = threading.Timer(self._idle_s, self._cool)
                self._cooling.daemon = True
                self._cooling.start()

    def run(
        self,
        sql: str,
        given: QueryInput | None = None,
        *,
        format: Format = "json",
        as_of_us: int | None = None,
        max_rows: int | None = None,
        granted: Granted | None = None,
        stop: Stop | None = None,
    ) -> QueryResult:
        """Return the answer to ``sql``, as known at ``as_of_us`` [µs since 1970] (None: now).

        With ``granted`` it is a consumer's query, over that part only. `Stop.now` of ``stop`` ends it from any thread.
        Raises `Invalid` for anything but one SELECT that DuckDB understands, `TooLarge` when it needs more time,
        memory, rows or bytes than it may (``reason`` says which), `Overloaded` when the pool is full, `Unavailable`
        when the archive cannot answer now, `Stopped` when it was stopped.
        """
        limits = self._limits
        if max_rows is not None:
            limits = msgspec.structs.replace(limits, max_rows=min(max_rows, limits.max_rows))
        job = Job(sql, str(self._archive), str(self._log), self._partitions, format, as_of_us, limits, granted)
        if not self._slots.acquire(blocking=False):
            raise Overloaded("all places for queries are taken: try again")
        started = time.monotonic()
        try:
            child = self._take()
            with (stop or Stop()).over(child):
                done = _converse(child, job, given or QueryInput(), started + limits.wall_s)
        finally:
            self._slots.release()
            self.warm()  # only now: on few cores another child's imports would slow this query
        elapsed_s = time.monotonic() - started
        return QueryResult(done.body, format, done.rows, done.columns, elapsed_s, done.following)

    def close(self) -> None:
        """End the spare children; queries that run end by themselves."""
        with self._lock:
            self._closed = True
        self._cool()

    def _cool(self) -> None:
        """End the spare children."""
        with self._lock:
            spares, self._spares = self._spares, []
            if self._cooling is not None:
                self._cooling.cancel()
                self._cooling = None
        for child in spares:
            _end(child)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise Unavailable("queries are not answered any more")
            child = self._spares.pop() if self._spares else None
        if child is not None and child.poll() is not None:
            _end(child)  # it died while it waited
            child = None
        return child or _start()


def _start() -> subprocess.Popen[bytes]:
    """Start a child with an environment that holds no secrets: only what finding and running Python needs."""
    return subprocess.Popen(
        [sys.executable, "-m", "gridspine.infra.archive.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=plain_environment(MALLOC_ARENA_MAX="2", ARROW_DEFAULT_MEMORY_POOL="system"),
    )


def _converse(child: subprocess.Popen[bytes], job: Job, given: QueryInput, deadline: float) -> Done:
    stdin, stdout = cast(BinaryIO, child.stdin), cast(BinaryIO, child.stdout)
    try:
        write_frame(stdin, job)
        reply = _read_reply(stdout, deadline)
        if isinstance(reply, Need):
            write_frame(stdin, given.rows(reply.tables))
            reply = _read_reply(stdout, deadline)
    except TimeoutError as error:
        child.kill()
        raise TooLarge(f"the query took more than {job.limits.wall_s:g} s", reason="time") from error
    except BrokenPipeError:
        reply = _read_reply(stdout, deadline)  # it gave up before it had read everything
    finally:
        _end(child)
    if isinstance(reply, Done):
        return reply
    if isinstance(reply, Failed):
        raise _KINDS[reply.kind](reply.detail, reason=reply.reason)
    raise _death(child.returncode, job.limits)


def _death(code: int, limits: QueryLimits) -> GridspineError:
    """Return the error for a child that ended without an answer: the kernel's limits are silent."""
    if code == -signal.SIGXCPU:
        return TooLarge(f"the query took more than {limits.cpu_s} s of processor time", reason="time")
    if code in {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGKILL}:
        return TooLarge(f"the query needs more than {limits.memory_bytes >> 20} MiB of memory", reason="memory")
    return Unavailable(f"the query's process ended without an answer (code {code})", reason="node")


def _read_reply(stdout: BinaryIO, deadline: float) -> Reply | None:
    """Return the child's next message, None when it is gone; raise `TimeoutError` at ``deadline``."""
    head = _read_exactly(stdout, 4, deadline)
    body = None if head is None else _read_exactly(stdout, int.from_bytes(head, "little"), deadline)
    return None if body is None else msgspec.msgpack.decode(body, type=Reply)


def _read_exactly(stdout: BinaryIO, count: int, deadline: float) -> bytes | None:
    parts: list[bytes] = []
    while count > 0:
        ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(stdout.fileno(), min(count, _CHUNK))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Wait briefly for a child that is done, then kill it; either way reap it and close its pipes."""
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:
                continue  # it did not wait for what it was still being told
    try:
        child.wait(_GRACE_S if child.poll() is None else 0)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
