"""A query child: ``python -m gridspine.infra.archive.child``. It imports, waits for one job, answers it, and ends.

Waiting with its imports done it is *warm*; no child ever answers twice, so nothing of one query reaches the next.
Its memory and processor time are bounded by the kernel, its wall time by its parent; it cannot grow a file, and it
ends when its parent does.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import msgspec
import pyarrow as pa

from gridspine.infra.archive.granted import granted_session
from gridspine.infra.archive.guard import check, first_lines
from gridspine.infra.archive.prune import needed, spans
from gridspine.infra.archive.rows import Bindings, build
from gridspine.infra.archive.schema import GRANTED_TABLES, HANDED_IN, OTHER_CHANNELS, TABLE_MACROS
from gridspine.infra.archive.session import (
    bound,
    data_paths,
    lock,
    offer_daily,
    offer_readings,
    offer_rows,
    open_session,
)
from gridspine.infra.archive.tail import snapshot
from gridspine.infra.archive.wire import (
    MAX_FRAME_BYTES,
    Done,
    Failed,
    Granted,
    Job,
    Need,
    QueryLimits,
    Reason,
    Rows,
)
from gridspine.infra.runtime.confine import confine, shut
from gridspine.infra.runtime.frame import read_frame, write_frame
from gridspine.kernel.errors import GridspineError, Invalid, TooLarge, Unavailable

_BATCH_ROWS = 8192
_OF_ARCHIVE = frozenset({"readings", *OTHER_CHANNELS, "revisions", "daily", *TABLE_MACROS})


def prepare() -> Any:
    """Return an open session, everything that a query needs loaded: some of it is found by doing."""
    connection = open_session()
    check(connection, "SELECT 1 WHERE now() > TIMESTAMPTZ '2026-01-01'")
    nothing = Job("SELECT 'a' AS a, now() AS b, 1.5 AS c, 1::BIGINT AS d", "", "", 1, "json", None, QueryLimits())
    _run(connection, nothing)
    build([], Bindings(), None)
    return connection


def answer(connection: Any, job: Job, stdin: BinaryIO, stdout: BinaryIO) -> Done:
    """Return the answer to ``job``; raises `GridspineError`, DuckDB's errors or `MemoryError`."""
    if job.granted is not None:
        return _answer_granted(connection, job, job.granted)
    bound(connection, job.limits)
    connection.execute("BEGIN")  # what is now stays so: conditions are looked at before they are run
    named, tree = check(connection, job.sql)
    paths: list[str] = []
    if named & _OF_ARCHIVE:
        archive = Path(job.archive)
        files, tail, _ = snapshot(archive, Path(job.log), job.partitions, job.limits.max_tail_rows)
        files = needed(files, spans(connection, tree, _OF_ARCHIVE))
        offer_readings(connection, archive, files, tail, job.as_of_us, named)
        paths = data_paths(archive, files)
        if "daily" in named:
            paths += offer_daily(connection, archive, files, tail, job.as_of_us)
    wanted = sorted(named & set(HANDED_IN))
    if wanted:
        write_frame(stdout, Need(wanted))
        body = read_frame(stdin, MAX_FRAME_BYTES)
        if body is None:
            raise Unavailable("the node did not hand in the tables")
        for table, rows in msgspec.msgpack.decode(body, type=Rows).tables.items():
            offer_rows(connection, table, rows)
    lock(connection, paths)
    shut(files=False)  # the archive's own files are opened as they are needed
    return _run(connection, job)


def _answer_granted(connection: Any, job: Job, granted: Granted) -> Done:
    _, tree = check(connection, job.sql, tuple(GRANTED_TABLES))
    connection.close()
    session, following = granted_session(job, granted, tree)
    lock(session, [])
    shut(files=True)
    done = _run(session, job)
    return msgspec.structs.replace(done, following=following)


def _run(connection: Any, job: Job) -> Done:
    relation = connection.sql(job.sql)
    columns = [(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]
    reader = relation.to_arrow_reader(_BATCH_ROWS)
    batches, rows, size = [], 0, 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows > job.limits.max_rows:
            raise _too_large("rows", f"the answer has more than {job.limits.max_rows} rows: aggregate, or add LIMIT")
        if size > 4 * job.limits.max_bytes:
            raise _too_large("bytes", f"the answer has more than {job.limits.max_bytes} bytes: select fewer columns")
    body = _as_arrow(reader.schema, batches) if job.format == "arrow" else _as_json(columns, batches)
    if len(body) > job.limits.max_bytes:
        raise _too_large("bytes", f"the answer has more than {job.limits.max_bytes} bytes: select fewer columns")
    return Done(body, rows, columns)


def _too_large(reason: str, detail: str) -> TooLarge:
    return TooLarge(detail, reason=reason)


def _as_arrow(schema: Any, batches: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def _as_json(columns: list[tuple[str, str]], batches: list[Any]) -> bytes:
    rows = [row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]
    head = [{"name": name, "type": kind} for name, kind in columns]
    encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
    return encoder.encode({"columns": head, "rows": rows})


def _failed(error: BaseException, limits: QueryLimits) -> Failed:
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException | pa.ArrowMemoryError):
        return Failed("too-large", "memory", f"the query needs more than {limits.memory_bytes >> 20} MiB of memory")
    if isinstance(error, GridspineError):
        kinds: dict[type[GridspineError], Reason] = {Invalid: "invalid", TooLarge: "too-large"}
        return Failed(kinds.get(type(error), "unavailable"), str(error.extra.get("reason", "node")), error.detail)
    if isinstance(error, duckdb.Error):
        return Failed("invalid", "query", first_lines(error))
    if isinstance(error, RecursionError):
        return Failed("invalid", "too-deep", "the query is nested too deeply")
    return Failed("unavailable", "node", f"the query could not be run: {type(error).__name__}")


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> int:
    """Answer one job from standard input on standard output."""
    parent = os.getppid()
    connection = prepare()
    stdin = sys.stdin.buffer
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints must not reach the frames
    body = read_frame(stdin, MAX_FRAME_BYTES)
    if body is None:
        return 0
    job = msgspec.msgpack.decode(body, type=Job)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    confine(job.limits.memory_bytes, job.limits.cpu_s)
    try:
        reply: Done | Failed = answer(connection, job, stdin, stdout)
    except Exception as error:
        reply = _failed(error, job.limits)
    write_frame(stdout, reply)
    os._exit(0)  # the answer is out; tearing down the engines only costs time


if __name__ == "__main__":
    sys.exit(main())
