"""A DuckDB session with the tables offered and nothing else. Child processes only.

::

    _files    the archive's Parquet files ─┐
    _tail     the log's youngest readings ─┴► revisions ─► readings_as_of(t) ─► readings
    _late     those able to supersede ─────────────────────┘

A reading is the latest known at ``t`` when it was received by then, was not superseded by then (settled by
compaction), and no later revision received by then is among ``_late``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gridspine.infra.archive.schema import HANDED_IN, LATE, READING_COLUMNS, REVISION_COLUMNS, STORED
from gridspine.infra.archive.wire import QueryLimits
from gridspine.kernel.errors import Invalid
from gridspine.kernel.readings import MAX_BATCH
from gridspine.kernel.time import format_rfc3339

_ARROW = {
    "VARCHAR": pa.string(),
    "INTEGER": pa.int32(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "JSON": pa.string(),
}


def open_session(limits: QueryLimits) -> Any:
    """Return an in-memory connection that writes no temporary files and sees no Python variables."""
    connection = duckdb.connect(
        config={
            "threads": limits.threads,
            "memory_limit": f"{limits.memory_bytes * 6 // 10}B",
            "temp_directory": "",
            "python_enable_replacements": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def offer_readings(connection: Any, files: Sequence[Any], tail: Any, as_of_us: int | None) -> None:
    """Make ``revisions``, ``readings_as_of`` and ``readings`` from ``files`` (`FileStats`) and the Arrow ``tail``."""
    columns = ", ".join(f'"{name}"' for name in STORED)
    connection.register("_arrived", tail.select(list(STORED)))
    connection.execute(f"CREATE TABLE _tail AS SELECT {columns} FROM _arrived")  # noqa: S608 - names of our own
    connection.unregister("_arrived")
    # the planner takes every file for as long as the first: show it that the late ones are the smaller side
    files = sorted(files, key=lambda file: -file.rows)
    late = [file for file in reversed(files) if file.pending == LATE]
    _view(connection, "_files", columns, [file.path for file in files])
    _view(connection, "_old_late", columns, [file.path for file in late])
    connection.execute(
        f"CREATE VIEW _late AS SELECT {columns} FROM _old_late WHERE pending = {LATE} "  # noqa: S608
        f"UNION ALL SELECT {columns} FROM _tail"
    )
    connection.execute(
        f"CREATE VIEW _all AS SELECT {columns} FROM _files UNION ALL SELECT {columns} FROM _tail"  # noqa: S608
    )
    nothing_late = not late and tail.num_rows == 0
    connection.execute(f"CREATE MACRO readings_as_of(t) AS TABLE {_as_of(nothing_late)}")
    moment = "'infinity'" if as_of_us is None else f"'{format_rfc3339(as_of_us)}'"
    connection.execute(f"CREATE VIEW readings AS FROM readings_as_of(TIMESTAMPTZ {moment})")
    kept = ", ".join(f'"{name}"' for name in REVISION_COLUMNS)
    connection.execute(
        f"CREATE VIEW revisions AS SELECT {kept} FROM _all WHERE received <= TIMESTAMPTZ {moment}"  # noqa: S608
    )


def offer_rows(connection: Any, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make one of the handed-in tables from ``rows``; raise `Invalid` when a row does not fit its columns."""
    columns = HANDED_IN[table]
    unknown = {name for row in rows for name in row} - set(columns)
    if unknown:
        raise Invalid(f"rows of {table} have unknown columns {sorted(unknown)}", reason="input")
    try:
        arrays = [pa.array([row.get(name) for row in rows], _ARROW[kind]) for name, kind in columns.items()]
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise Invalid(f"rows of {table} do not fit their columns: {error}", reason="input") from error
    connection.register("_rows", pa.table(arrays, names=list(columns)))
    typed = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in columns.items())
    connection.execute(f"CREATE TABLE {table} AS SELECT {typed} FROM _rows")  # noqa: S608 - names of our own
    connection.unregister("_rows")


def lock(connection: Any, files: Sequence[Any]) -> None:
    """Shut the session: from here on it reads the archive's files and nothing else, and no setting changes."""
    paths = ", ".join(_quoted(file.path) for file in files)
    connection.execute(f"SET allowed_paths = [{paths}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _view(connection: Any, name: str, columns: str, paths: Sequence[Path]) -> None:
    if paths:
        listed = ", ".join(_quoted(path) for path in paths)
        source = f"read_parquet([{listed}], hive_partitioning = false)"
    else:
        source = "_tail LIMIT 0"
    connection.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM {source}")  # noqa: S608 - paths of our own


def _as_of(nothing_late: bool) -> str:
    """Return the SELECT behind ``readings_as_of(t)``; without readings able to supersede it needs no join."""
    kept = ", ".join(f'r."{name}"' for name in READING_COLUMNS)
    known = "r.received <= t AND (r.superseded IS NULL OR r.superseded > t)"
    if nothing_late:
        return f"SELECT {kept} FROM _all r WHERE {known}"  # noqa: S608
    place = f'"offset" * {MAX_BATCH} + item'
    return (
        f"SELECT {kept} FROM _all r LEFT JOIN ("  # noqa: S608
        f"SELECT point, observed, channel, max({place}) AS newest FROM _late WHERE received <= t GROUP BY ALL"
        ") n ON n.point = r.point AND n.observed = r.observed AND n.channel = r.channel "
        f'WHERE {known} AND (n.newest IS NULL OR n.newest <= r."offset" * {MAX_BATCH} + r.item)'
    )


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
