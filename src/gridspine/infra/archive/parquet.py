"""Data files: Arrow tables written as Parquet in row groups of a bounded size. Child processes only.

Rows are sorted by day, point, channel and observed time, so that row groups have narrow bounds: a reader of one point
looks into one or two of them. Those of fresh files are small, since compaction walks many of these files at once.
"""

import ctypes
import itertools
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gridspine.infra.archive.delta import iso_day
from gridspine.infra.archive.manifest import TABLE_FOLDER, DataFile
from gridspine.infra.archive.pq import pq
from gridspine.infra.archive.rows import SCHEMA, whole
from gridspine.infra.runtime.durable import sync

FRESH_GROUP_ROWS, SETTLED_GROUP_ROWS = 16_384, 65_536
TEXTS = ("point", "thing", "property", "unit", "channel", "source")
"""Columns that travel as dictionaries."""
FILE_SCHEMA: Any = pa.schema(
    [
        (name, pa.dictionary(pa.int32(), pa.string()) if name in TEXTS else SCHEMA.field(name).type)
        for name in SCHEMA.names
        if name != "day"
    ]
)
"""Columns of a data file; its day is in its path."""
_DELTAS = ("observed", "received", "offset", "item")
_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": [name for name in FILE_SCHEMA.names if name not in {"value", *_DELTAS}],
    "column_encoding": {"value": "BYTE_STREAM_SPLIT", **dict.fromkeys(_DELTAS, "DELTA_BINARY_PACKED")},
    "write_statistics": ["point", "thing", "property", "observed", "received", "pending"],
    "store_schema": False,
}


class DataFileWriter:
    """Writes one data file of ``day`` [days since 1970] in folder ``archive``, a table at a time."""

    def __init__(self, archive: Path, day: int, *, group_rows: int) -> None:
        self.rows = 0
        self._archive = archive
        self._day = day
        self._group_rows = group_rows
        folder = archive / TABLE_FOLDER / f"day={iso_day(day)}"
        folder.mkdir(exist_ok=True, mode=0o700)
        self.path = folder / f"{uuid.uuid4().hex}.parquet"
        self._writer = pq.ParquetWriter(self.path, FILE_SCHEMA, **_OPTIONS)
        self._first_us, self._latest_us, self._received_us = 1 << 62, -(1 << 62), -(1 << 62)
        self._points: list[str] = []
        self._pending = 0

    def write(self, rows: Any) -> None:
        """Write ``rows`` (`FILE_SCHEMA`, sorted, later points than before)."""
        count = rows.num_rows
        if not count:
            return
        columns = {name: whole(rows.column(name)) for name in FILE_SCHEMA.names}
        observed = columns["observed"].view(pa.int64()).to_numpy()
        self._first_us = min(self._first_us, int(observed.min()))
        self._latest_us = max(self._latest_us, int(observed.max()))
        self._received_us = max(self._received_us, int(columns["received"].view(pa.int64()).to_numpy().max()))
        self._pending = max(self._pending, int(columns["pending"].to_numpy().max()))
        point = columns["point"]
        self._points += [point[0].as_py(), point[count - 1].as_py()]
        size = -(-count // -(-count // self._group_rows))  # groups of one size, none left over and tiny
        for start in range(0, count, size):
            part = {name: column.slice(start, size) for name, column in columns.items()}
            arrays = [_compact(part[name]) if name in TEXTS else part[name] for name in FILE_SCHEMA.names]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=FILE_SCHEMA))
        self.rows += count

    def close(self, written_ms: int, *, daily: bool = False) -> DataFile:
        """Finish the file and force it to disk; return what is known of it."""
        self._writer.close()
        sync(self.path)
        sync(self.path.parent)
        return DataFile(
            str(self.path.relative_to(self._archive / TABLE_FOLDER)), self._day, self.rows, self.path.stat().st_size,
            self._first_us, self._latest_us, min(self._points), max(self._points), self._pending, self._received_us,
            written_ms, daily=daily,
        )  # fmt: skip

    def abandon(self) -> None:
        """Take the unfinished file away."""
        self._writer.close()
        self.path.unlink(missing_ok=True)


def write_fresh(archive: Path, rows: Any, written_ms: int) -> list[DataFile]:
    """Write ``rows`` (`rows.build`: sorted by day) as one file a day, each forced to disk."""
    day = whole(rows.column("day")).view(pa.int32()).to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(day)]
    files = []
    for start, end in itertools.pairwise(edges):
        if end > start:
            writer = DataFileWriter(archive, int(day[start]), group_rows=FRESH_GROUP_ROWS)
            writer.write(rows.slice(start, end - start))
            files.append(writer.close(written_ms))
    if files:
        sync(archive / TABLE_FOLDER)
    return files


def free_memory() -> None:
    """Give memory that is not in use back to the system."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU C library has it
    if trim is not None:
        trim(0)


def _compact(column: Any) -> Any:
    """Return a dictionary column that names only what occurs in it."""
    indices = column.indices.to_numpy()
    used = np.flatnonzero(np.bincount(indices, minlength=len(column.dictionary)))
    if len(used) == len(column.dictionary):
        return column
    place = np.zeros(len(column.dictionary), np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(place[indices]), column.dictionary.take(pa.array(used)))
