"""Compaction: the many small files of a day become few, sorted ones, and revisions are settled. Child processes only.

A day is rewritten in slices of whole points (or, for a point with very many readings, of time), each held in memory
by itself, so that all revisions of a reading meet in one slice:

::

    day = │ point a … point f │ point g, 00–06 h │ point g, 06–12 h │ … │ point h … point z │
             slice 1              slice 2            slice 3                  slice n
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from gridspine.infra.archive.rows import DAY_US, SCHEMA
from gridspine.infra.archive.schema import CHANNELS, LATE, SETTLED
from gridspine.infra.archive.table import FileStats, ReadingsTable
from gridspine.kernel.readings import MAX_BATCH

SLICE_ROWS = 500_000
"""Readings held in memory at a time; one point's readings beyond it are cut by time."""
LATE_ROWS = 1_000_000
"""So many unsettled readings that may supersede others are worth a compaction: each query joins them."""
_FEW, _MANY = 8, 48
_QUIET_S = 600.0
_TEXTS = ("point", "thing", "property", "unit", "channel", "source")
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Slice:
    """Points from ``first`` to ``last`` (both included); of one point, observed times ``[start_us, end_us)``."""

    first: str
    last: str
    start_us: int = 0
    end_us: int = 0


def due_day(files: Sequence[FileStats], now_ms: int) -> date | None:
    """Return the day that most needs compaction, or None.

    A day that still grows is rewritten when its new files hold a quarter of its rows, or are very many; a quiet one
    when anything in it is not settled. When all days together have `LATE_ROWS`, the one with most of them is next.
    """
    days: dict[date, list[FileStats]] = {}
    late: Counter[date] = Counter()
    for file in files:
        days.setdefault(file.day, []).append(file)
        late[file.day] += file.rows if file.pending == LATE else 0
    if late.total() >= LATE_ROWS:
        return late.most_common(1)[0][0]
    waiting = [(sum(f.pending != SETTLED for f in found), day) for day, found in days.items() if _is_due(found, now_ms)]
    return max(waiting)[1] if waiting else None


def _is_due(files: list[FileStats], now_ms: int) -> bool:
    new = [file for file in files if file.pending != SETTLED]
    if not new:
        return False
    if now_ms - max(file.written_ms for file in new) > _QUIET_S * 1000:
        return len(files) > 1 or any(file.pending == LATE for file in files)
    new_rows = sum(file.rows for file in new)
    return len(new) >= _MANY or (len(new) >= _FEW and 4 * new_rows >= sum(file.rows for file in files))


def compact_day(table: ReadingsTable, day: date, *, slice_rows: int = SLICE_ROWS) -> None:
    """Rewrite all files of ``day``; its readings stay the same, each now knowing when it was superseded."""
    paths = [str(file.path) for file in table.files() if file.day == day]
    source = pads.dataset(paths, format="parquet", schema=_file_schema())
    cuts = slices(_counts(source), (day - _EPOCH) // timedelta(days=1), slice_rows)
    table.replace_day(day, (_settled(source, cut, day) for cut in cuts))


def _file_schema() -> Any:
    """The files' own columns, texts as dictionaries: a day of one meter names it once, not 86,400 times."""
    kinds = {name: pa.dictionary(pa.int32(), pa.string()) for name in _TEXTS}
    return pa.schema([(name, kinds.get(name, SCHEMA.field(name).type)) for name in SCHEMA.names if name != "day"])


def _counts(source: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for batch in source.to_batches(columns=["point"]):
        for entry in pc.value_counts(batch.column(0)).to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
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


def _settled(source: Any, cut: Slice, day: date) -> Any:
    wanted = (pc.field("point") >= cut.first) & (pc.field("point") <= cut.last)
    if cut.end_us:
        start, end = (pa.scalar(edge, pa.timestamp("us", "UTC")) for edge in (cut.start_us, cut.end_us))
        wanted &= (pc.field("observed") >= start) & (pc.field("observed") < end)
    rows = source.to_table(filter=wanted, batch_readahead=1, fragment_readahead=1)
    columns = {name: rows.column(name).combine_chunks() for name in rows.schema.names}
    observed, received = (columns[name].cast(pa.int64()).to_numpy() for name in ("observed", "received"))
    keys = (_ranks(columns["point"]), _channels(columns["channel"]), observed)
    place = columns["offset"].to_numpy() * MAX_BATCH + columns["item"].to_numpy()
    order = np.lexsort((place, *reversed(keys)))
    superseded, known = superseded_us([key[order] for key in keys], received[order])
    columns = {name: column.take(pa.array(order)) for name, column in columns.items()}
    columns["day"] = pa.array([day] * len(order), pa.date32())
    columns["superseded"] = pa.array(superseded, mask=~known).cast(pa.timestamp("us", "UTC"))
    columns["pending"] = pa.array(np.full(len(order), SETTLED, np.int8))
    return pa.table({name: columns[name] for name in SCHEMA.names})


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
