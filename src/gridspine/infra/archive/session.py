"""A DuckDB session with the tables offered and nothing else. Child processes only.

::

    _files    the archive's Parquet files ─┐
    _tail     the log's youngest readings ─┴► revisions ─► readings_as_of(t) ─► readings, daily     reported only
    _late     those able to supersede ─────────────────────┘    └────────────► planned, emulated    their channel only

A reading is the latest known at ``t`` when it was received by then, was not superseded by then (settled by
compaction), and no later revision received by then is among ``_late``.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from gridspine.infra.archive.manifest import DAILY_FOLDER, TABLE_FOLDER, DataFile
from gridspine.infra.archive.rows import whole
from gridspine.infra.archive.schema import (
    DAY_US,
    HANDED_IN,
    LATE,
    OTHER_CHANNELS,
    READING_COLUMNS,
    REPORTED,
    REVISION_COLUMNS,
    STORED,
)
from gridspine.infra.archive.wire import QueryLimits
from gridspine.kernel.errors import Invalid
from gridspine.kernel.quality import VALIDITY_MASK
from gridspine.kernel.readings import MAX_BATCH
from gridspine.kernel.time import format_rfc3339

_VALID = f"WHERE quality & {VALIDITY_MASK} = 0"
_ARROW = {
    "VARCHAR": pa.string(),
    "INTEGER": pa.int32(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "JSON": pa.string(),
}


_STORED = ", ".join(f'"{name}"' for name in STORED)
_DAILY_OF = f"""
SELECT CAST(time_bucket(INTERVAL 24 hours, observed) AS DATE) AS day, point, thing, property, channel, unit,
  count(*) AS readings, count(*) FILTER ({_VALID}) AS valid, sum(value) FILTER ({_VALID}) AS value_sum,
  min(value) FILTER ({_VALID}) AS value_min, max(value) FILTER ({_VALID}) AS value_max,
  min(observed) AS first_observed, max(observed) AS last_observed
FROM {{source}} GROUP BY ALL
"""  # noqa: S608 - names of our own
_DAILY = """
SELECT day, point, thing, property, channel, unit, CAST(sum(readings) AS BIGINT) AS readings,
  CAST(sum(valid) AS BIGINT) AS valid, sum(value_sum) AS value_sum, min(value_min) AS value_min,
  max(value_max) AS value_max, sum(value_sum) / sum(valid) AS value_mean, min(first_observed) AS first_observed,
  max(last_observed) AS last_observed
FROM ({partial}) GROUP BY day, point, thing, property, channel, unit
"""


def open_session() -> Any:
    """Return an in-memory connection that writes no temporary files and sees no Python variables."""
    connection = duckdb.connect(
        config={
            "threads": 1,
            "temp_directory": "",
            "python_enable_replacements": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET parquet_metadata_cache = true")  # each view on a file would read its footer anew
    return connection


def bound(connection: Any, limits: QueryLimits) -> None:
    """Give an open session its limits."""
    connection.execute(f"SET threads = {limits.threads}")
    connection.execute(f"SET memory_limit = '{limits.memory_bytes * 6 // 10}B'")


def offer_readings(
    connection: Any,
    archive: Path,
    files: Sequence[DataFile],
    tail: Any,
    as_of_us: int | None,
    tables: Collection[str] = ("readings", "revisions"),
) -> None:
    """Make ``readings_as_of`` and those of ``tables`` from ``files`` of ``archive`` and the Arrow ``tail``."""
    connection.register("_arrived", tail.select(list(STORED)))
    connection.execute(f"CREATE TABLE _tail AS SELECT {_STORED} FROM _arrived")  # noqa: S608 - names of our own
    connection.unregister("_arrived")
    late = [file for file in files if file.pending == LATE]
    nothing_late = not late and tail.num_rows == 0
    if not nothing_late:
        _view(connection, "_old_late", archive, late)
        connection.execute(
            f"CREATE VIEW _late AS SELECT {_STORED} FROM _old_late WHERE pending = {LATE} "  # noqa: S608
            f"UNION ALL SELECT {_STORED} FROM _tail"
        )
    _offer_all(connection, "", archive, files, nothing_late=nothing_late)
    moment = _moment(as_of_us)
    if "readings" in tables:
        connection.execute(f"CREATE VIEW readings AS FROM readings_as_of({moment})")
    for channel in sorted(OTHER_CHANNELS & set(tables)):
        rows = _as_of("_all", nothing_late, READING_COLUMNS, moment, channel)
        connection.execute(f"CREATE VIEW {channel} AS {rows}")
    if "revisions" in tables:
        kept = ", ".join(f'"{name}"' for name in REVISION_COLUMNS)
        connection.execute(f"CREATE VIEW revisions AS SELECT {kept} FROM _all WHERE received <= {moment}")  # noqa: S608


def offer_current(connection: Any, archive: Path, files: Sequence[DataFile], tail: Any, as_of_us: int | None) -> None:
    """Make ``_current``: ``readings`` with the place of each in the log, for a copy of part of them."""
    offer_readings(connection, archive, files, tail, as_of_us, ())
    nothing_late = not tail.num_rows and all(file.pending != LATE for file in files)
    rows = _as_of("_all", nothing_late, STORED, _moment(as_of_us))
    connection.execute(f"CREATE VIEW _current AS {rows}")


def offer_daily(
    connection: Any, archive: Path, files: Sequence[DataFile], tail: Any, as_of_us: int | None
) -> list[str]:
    """Make ``daily``, after `offer_readings`; return the paths of the files of sums that it reads.

    Sums stand for their file's readings where no reading of the day can supersede another any more; what else there
    is of a day is counted from the readings.
    """
    observed = whole(tail.column("observed")).view(pa.int64()).to_numpy()
    moving = {int(day) for day in np.unique(observed // DAY_US)} | {file.day for file in files if file.pending == LATE}
    if as_of_us is not None:
        moving |= {file.day for file in files if file.received_us > as_of_us}
    summed = [file for file in files if file.daily and file.day not in moving]
    others = [file for file in files if not file.daily or file.day in moving]
    nothing_late = not tail.num_rows and all(file.pending != LATE for file in files)
    _offer_all(connection, "_other", archive, others, nothing_late=nothing_late)
    paths = [str(archive / DAILY_FOLDER / file.name) for file in summed]
    partial = _DAILY_OF.format(source=f"readings_as_of_other({_moment(as_of_us)})")
    if paths:
        listed = ", ".join(map(_quoted, paths))
        partial += f" UNION ALL BY NAME SELECT * FROM read_parquet([{listed}]) WHERE channel = '{REPORTED}'"  # noqa: S608
    connection.execute(f"CREATE VIEW daily AS {_DAILY.format(partial=partial)}")
    return paths


def _offer_all(connection: Any, suffix: str, archive: Path, files: Sequence[DataFile], *, nothing_late: bool) -> None:
    """Make ``_all`` and ``readings_as_of(t)``, with ``suffix``, of ``files`` and the log's tail."""
    # the planner takes every file for as long as the first: show it that the late ones are the smaller side
    _view(connection, f"_files{suffix}", archive, sorted(files, key=lambda file: -file.rows))
    connection.execute(
        f"CREATE VIEW _all{suffix} AS SELECT {_STORED} FROM _files{suffix} "  # noqa: S608
        f"UNION ALL SELECT {_STORED} FROM _tail"
    )
    rows = _as_of(f"_all{suffix}", nothing_late, channel=REPORTED)
    connection.execute(f"CREATE MACRO readings_as_of{suffix}(t) AS TABLE {rows}")


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


def lock(connection: Any, paths: Sequence[str]) -> None:
    """Shut the session: from here on it reads the files at ``paths`` and nothing else, and no setting changes."""
    connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, paths))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def data_paths(archive: Path, files: Sequence[DataFile]) -> list[str]:
    """Return where ``files`` lie."""
    return [str(archive / TABLE_FOLDER / file.path) for file in files]


def _moment(as_of_us: int | None) -> str:
    return "TIMESTAMPTZ 'infinity'" if as_of_us is None else f"TIMESTAMPTZ '{format_rfc3339(as_of_us)}'"


def _view(connection: Any, name: str, archive: Path, files: Sequence[DataFile]) -> None:
    if files:
        listed = ", ".join(map(_quoted, data_paths(archive, files)))
        source = f"read_parquet([{listed}], hive_partitioning = false)"
    else:
        source = "_tail LIMIT 0"
    connection.execute(f"CREATE VIEW {name} AS SELECT {_STORED} FROM {source}")  # noqa: S608 - paths of our own


def _as_of(
    table: str, nothing_late: bool, columns: Collection[str] = READING_COLUMNS, t: str = "t", channel: str = ""
) -> str:
    """Return the SELECT behind ``readings_as_of(t)``; without readings able to supersede it needs no join.

    Of one ``channel``; "" of all.
    """
    kept = ", ".join(f'r."{name}"' for name in columns)
    known = f"r.received <= {t} AND (r.superseded IS NULL OR r.superseded > {t})"
    if channel:
        known += f" AND r.channel = '{channel}'"
    if nothing_late:
        return f"SELECT {kept} FROM {table} r WHERE {known}"  # noqa: S608
    place = f'"offset" * {MAX_BATCH} + item'
    return (
        f"SELECT {kept} FROM {table} r LEFT JOIN ("  # noqa: S608
        f"SELECT point, observed, channel, max({place}) AS newest FROM _late WHERE received <= {t} GROUP BY ALL"
        ") n ON n.point = r.point AND n.observed = r.observed AND n.channel = r.channel "
        f'WHERE {known} AND (n.newest IS NULL OR n.newest <= r."offset" * {MAX_BATCH} + r.item)'
    )


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"
