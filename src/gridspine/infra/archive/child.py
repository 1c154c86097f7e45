"""A query child: ``python -m gridspine.infra.archive.child``. It imports, waits for one job, answers it, and ends.

Waiting with its imports done it is *warm*; no child ever answers twice, so nothing of one query reaches the next.
Its memory and processor time are bounded by the kernel, its wall time by its parent; it cannot grow a file, and it
ends when its parent does.
"""

import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import msgspec
import pyarrow as pa

from gridspine.infra.archive.guard import check, first_lines
from gridspine.infra.archive.schema import HANDED_IN, TABLE_MACROS
from gridspine.infra.archive.session import lock, offer_readings, offer_rows, open_session
from gridspine.infra.archive.tail import snapshot
from gridspine.infra.archive.wire import Done, Failed, Job, Need, QueryLimits, Reason, Rows, read_frame, write_frame
from gridspine.kernel.errors import GridspineError, Invalid, TooLarge, Unavailable

_BATCH_ROWS = 8192
_OF_ARCHIVE = {"readings", "revisions", *TABLE_MACROS}


def answer(job: Job, stdin: BinaryIO, stdout: BinaryIO) -> Done:
    """Return the answer to ``job``; raises `GridspineError`, DuckDB's errors or `MemoryError`."""
    connection = open_session(job.limits)
    named = check(connection, job.sql)
    files: list[Any] = []
    if named & _OF_ARCHIVE:
        files, tail = snapshot(Path(job.archive), Path(job.log), job.partitions, job.limits.max_tail_rows)
        offer_readings(connection, files, tail, job.as_of_us)
    needed = sorted(named & set(HANDED_IN))
    if needed:
        write_frame(stdout, Need(needed))
        body = read_frame(stdin)
        if body is None:
            raise Unavailable("the node did not hand in the tables")
        for table, rows in msgspec.msgpack.decode(body, type=Rows).tables.items():
            offer_rows(connection, table, rows)
    lock(connection, files)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return _run(connection, job)


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


def confine(limits: QueryLimits) -> None:
    """Set the kernel's limits for this process: memory on top of what it maps now, processor time from now on."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = int(used.ru_utime + used.ru_stime) + limits.cpu_s
    resource.setrlimit(resource.RLIMIT_AS, (mapped + limits.memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


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
    stdin = sys.stdin.buffer
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints must not reach the frames
    body = read_frame(stdin)
    if body is None:
        return 0
    job = msgspec.msgpack.decode(body, type=Job)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    confine(job.limits)
    try:
        reply: Done | Failed = answer(job, stdin, stdout)
    except Exception as error:
        reply = _failed(error, job.limits)
    write_frame(stdout, reply)
    os._exit(0)  # the answer is out; tearing down the engines only costs time


if __name__ == "__main__":
    sys.exit(main())
