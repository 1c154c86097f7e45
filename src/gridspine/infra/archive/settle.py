"""Files of a day rewritten as few sorted ones, revisions settled, daily sums made. Child processes only.

The day is walked in slices of whole points (or, for a point with very many readings, of time), each held in memory by
itself, so that all revisions of a reading meet in one slice. Files are sorted, their row groups small: of each file a
slice needs some groups only, and the last one of each is kept for the next slice.

::

    day = │ point a … point f │ point g, 00–06 h │ point g, 06–12 h │ … │ point h … point z │
             slice 1              slice 2            slice 3                  slice n
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gridspine.infra.archive.daily import DailyWriter, sums
from gridspine.infra.archive.manifest import LAST_TEXT, TABLE_FOLDER, UNKNOWN_US, DataFile
from gridspine.infra.archive.parquet import FILE_SCHEMA, SETTLED_GROUP_ROWS, TEXTS, DataFileWriter, free_memory
from gridspine.infra.archive.pq import pq
from gridspine.infra.archive.rows import whole
from gridspine.infra.archive.schema import CHANNELS, DAY_US, SETTLED
from gridspine.kernel.readings import MAX_BATCH

SLICE_ROWS = 250_000
"""Readings held in memory at a time; one point's readings beyond it are cut by time."""
FILE_ROWS = 4_000_000
"""A file is closed at the first slice's end beyond so many readings: a query of one point reads its footer."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Points from ``first`` to ``last`` (both included); of one point, observed times ``[start_us, end_us)``."""

    first: str
    last: str
    start_us: int = 0
    end_us: int = 0


def settle(
    archive: Path,
    day: int,
    files: Sequence[DataFile],
    now_ms: int,
    *,
    slice_rows: int = SLICE_ROWS,
    file_rows: int = FILE_ROWS,
) -> list[DataFile]:
    """Write what ``files`` of ``day`` [days since 1970] hold into new ones, durable, and return these.

    Nothing refers to the new files yet: whoever called commits them in place of the old ones, or they are litter.
    """
    sources = [_Source(archive / TABLE_FOLDER / file.path) for file in files]
    written: list[DataFile] = []
    output: SettledWriter | None = None
    try:
        for cut in slices(_counts(sources), day, slice_rows):
            rows, counted = _settled(sources, cut)
            output = output or SettledWriter(archive, day)
            output.write(rows, counted)
            if output.rows >= file_rows:
                written.append(output.close(now_ms))
                output = None
        if output is not None:
            written.append(output.close(now_ms))
            output = None
    finally:
        if output is not None:
            output.abandon()
        for source in sources:
            source.close()
        free_memory()
    return written


class SettledWriter:
    """A data file of ``day`` [days since 1970] and its daily sums, written together."""

    def __init__(self, archive: Path, day: int) -> None:
        self._day = day
        self._data = DataFileWriter(archive, day, group_rows=SETTLED_GROUP_ROWS)
        self._daily = DailyWriter(archive, self._data.path.name)

    @property
    def rows(self) -> int:
        """How many were written."""
        return self._data.rows

    def write(self, rows: Any, counted: npt.NDArray[np.bool_]) -> None:
        """Write settled ``rows`` (`FILE_SCHEMA`, sorted); those ``counted``, bool (n,), go into the sums."""
        self._data.write(rows)
        self._daily.write(sums(self._day, rows, counted))

    def close(self, now_ms: int) -> DataFile:
        """Finish both and force them to disk."""
        self._daily.close()
        return self._data.close(now_ms, daily=True)

    def abandon(self) -> None:
        """Take both away."""
        self._data.abandon()
        self._daily.abandon()


class _Source:
    """One of the files that are rewritten, read a row group at a time."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path, read_dictionary=list(TEXTS), pre_buffer=False)
        self._bounds = [self._bounds_of(group) for group in range(self._file.num_row_groups)]
        self._kept: tuple[int, Any] = (-1, None)

    def points(self) -> Iterator[Any]:
        """Yield ``{values, counts}`` of the points of each row group."""
        for group in range(self._file.num_row_groups):
            rows = self._file.read_row_group(group, columns=["point"], use_threads=False)
            yield pc.value_counts(whole(rows.column("point")))

    def rows(self, cut: Slice) -> list[Any]:
        """Return the rows of ``cut`` as tables."""
        found = []
        for group, (first, last, start_us, latest_us) in enumerate(self._bounds):
            if last < cut.first or first > cut.last or (cut.end_us and not _meet(cut, start_us, latest_us)):
                continue
            if self._kept[0] != group:
                self._kept = group, self._file.read_row_group(group, use_threads=False)
            rows = self._kept[1].select(FILE_SCHEMA.names).cast(FILE_SCHEMA)
            inside = first >= cut.first and last <= cut.last and not cut.end_us
            found.append(rows if inside else rows.filter(_wanted(rows, cut)))
        return found

    def close(self) -> None:
        self._kept = (-1, None)
        self._file.close()

    def _bounds_of(self, group: int) -> tuple[str, str, int, int]:
        about = self._file.metadata.row_group(group)
        bounds: dict[str, Any] = {}
        for index in range(about.num_columns):
            column = about.column(index)
            if column.path_in_schema in {"point", "observed"} and column.is_stats_set and column.statistics.has_min_max:
                bounds[column.path_in_schema] = column.statistics
        point, observed = bounds.get("point"), bounds.get("observed")
        first, last = (point.min, point.max) if point else ("", LAST_TEXT)
        start_us, latest_us = (observed.min_raw, observed.max_raw) if observed else (-UNKNOWN_US, UNKNOWN_US)
        return first, last, start_us, latest_us


def _meet(cut: Slice, start_us: int, latest_us: int) -> bool:
    return start_us < cut.end_us and latest_us >= cut.start_us


def _wanted(rows: Any, cut: Slice) -> Any:
    point = whole(rows.column("point"))
    names = point.dictionary.to_pylist()
    named = np.array([cut.first <= name <= cut.last for name in names], np.bool_)
    wanted = named[point.indices.to_numpy()]
    if cut.end_us:
        observed = whole(rows.column("observed")).view(pa.int64()).to_numpy()
        wanted &= (observed >= cut.start_us) & (observed < cut.end_us)
    return pa.array(wanted)


def _counts(sources: Sequence[_Source]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for source in sources:
        for found in source.points():
            names, numbers = found.field("values").cast(pa.string()).to_pylist(), found.field("counts").to_pylist()
            for name, number in zip(names, numbers, strict=True):
                counts[name] = counts.get(name, 0) + number
    return counts


def slices(counts: dict[str, int], day: int, slice_rows: int) -> Iterator[Slice]:
    """Cut the points of ``day`` [days since 1970], with their numbers of readings, into `Slice`."""
    first, last, rows = "", "", 0
    for point in sorted(counts):
        if first and rows + counts[point] > slice_rows:
            yield Slice(first, last)
            first, rows = "", 0
        if counts[point] > slice_rows:
            yield from _by_time(point, day, -(-counts[point] // slice_rows))
            continue
        first, last, rows = first or point, point, rows + counts[point]
    if first:
        yield Slice(first, last)


def _by_time(point: str, day: int, parts: int) -> Iterator[Slice]:
    edges = [day * DAY_US + DAY_US * part // parts for part in range(parts + 1)]
    for start_us, end_us in itertools.pairwise(edges):
        yield Slice(point, point, start_us, end_us)


def _settled(sources: Sequence[_Source], cut: Slice) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Return the rows of ``cut``, sorted and settled, and which of them no later revision replaced."""
    found = pa.concat_tables([part for source in sources for part in source.rows(cut)] or [FILE_SCHEMA.empty_table()])
    columns = {name: whole(found.column(name)) for name in FILE_SCHEMA.names}
    observed, received = (columns[name].view(pa.int64()).to_numpy() for name in ("observed", "received"))
    keys = (_ranks(columns["point"]), _channels(columns["channel"]), observed)
    place = columns["offset"].to_numpy() * MAX_BATCH + columns["item"].to_numpy()
    order = np.lexsort((place, *reversed(keys)))
    superseded, known = superseded_us([key[order] for key in keys], received[order])
    taken = pa.array(order)
    columns = {name: column.take(taken) for name, column in columns.items()}
    columns["superseded"] = pa.array(superseded, mask=~known).view(pa.timestamp("us", "UTC"))
    columns["pending"] = pa.array(np.full(len(order), SETTLED, np.int8))
    return pa.Table.from_arrays([columns[name] for name in FILE_SCHEMA.names], schema=FILE_SCHEMA), ~known


def superseded_us(
    keys: Sequence[npt.NDArray[Any]], received_us: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return when each reading was superseded [µs] and whether it was, both (n,).

    ``keys`` are arrays (n,) that together name a reading; rows are sorted by them, then by revision. A reading is
    superseded when the first received of its later revisions is: by doubling steps, whatever their number.
    """
    count = len(received_us)
    group = np.zeros(count, np.int64)
    for key in keys:
        group[1:] |= key[1:] != key[:-1]
    group = np.cumsum(group)
    never = np.iinfo(np.int64).max
    earliest = np.full(count, never, np.int64)
    if count > 1:
        earliest[:-1] = np.where(group[1:] == group[:-1], received_us[1:], never)
    step = 1
    while step < count:
        same = group[step:] == group[:-step]
        if not same.any():
            break
        earliest[:-step] = np.minimum(earliest[:-step], np.where(same, earliest[step:], never))
        step *= 2
    return earliest, earliest != never


def _ranks(column: Any) -> npt.NDArray[np.int64]:
    """Return each value's place among the sorted distinct ones."""
    texts = column.dictionary.to_pylist()
    rank = np.empty(len(texts), np.int64)
    rank[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
    return np.asarray(rank[column.indices.to_numpy()])


def _channels(column: Any) -> npt.NDArray[np.int64]:
    numbers = np.array([CHANNELS.index(text) for text in column.dictionary.to_pylist()], np.int64)
    return np.asarray(numbers[column.indices.to_numpy()])
