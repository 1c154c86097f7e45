"""From the log's batches of numbered points to Arrow tables of named ones. Child processes only.

Everything here is done a batch or a column at a time; no Python object is made for one reading.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gridspine.infra.archive.schema import CHANNELS, DAY_US, FRESH, LATE
from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.ids import split_point_id
from gridspine.kernel.readings import Readings

_UTC = pa.timestamp("us", "UTC")
_NAMES = pa.dictionary(pa.int32(), pa.string())

SCHEMA: Any = pa.schema(
    [
        ("day", pa.date32()),
        ("point", pa.string()),
        ("thing", pa.string()),
        ("property", pa.string()),
        ("observed", _UTC),
        ("received", _UTC),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("quality", pa.int32()),
        ("channel", pa.string()),
        ("source", pa.string()),
        ("backfill", pa.bool_()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("item", pa.int32()),
        ("superseded", _UTC),
        ("pending", pa.int8()),
    ]
)
"""Columns of the Delta table; texts travel as dictionaries."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """The readings of one log record, with its place."""

    partition: int
    offset: int
    readings: Readings


class Bindings:
    """Names and units of point numbers, as bound in the log. A name bound twice is one name."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._by_name: dict[str, int] = {}
        self._name_of = np.full(1024, -1, np.int64)
        self._units: dict[str, int] = {"": 0}
        self._unit_of = np.zeros(1024, np.int64)

    def add(self, binding: PointBinding) -> None:
        """Learn the points of ``binding``."""
        end = binding.first + len(binding.names)
        self._grow(end)
        for number, (name, unit) in enumerate(zip(binding.point_ids(), binding.units, strict=True), binding.first):
            self._name_of[number] = self._index(name)
            self._unit_of[number] = self._units.setdefault(unit, len(self._units))

    def name_indices(self, numbers: npt.NDArray[np.int32]) -> Indices:
        """Return the index into `names` of each point number.

        A number nobody bound breaks a promise of the log, yet its reading is kept, named after the number.
        """
        self._grow(int(numbers.max(initial=0)) + 1)
        found = self._name_of[numbers]
        for number in np.unique(numbers[found < 0]).tolist():
            self._name_of[number] = self._index(f"unbound/{number}")
        return self._name_of[numbers]

    def units(self, numbers: npt.NDArray[np.int32]) -> tuple[Indices, list[str]]:
        """Return index and list of the units of point numbers (known to `name_indices` already)."""
        return self._unit_of[numbers], list(self._units)

    def _index(self, name: str) -> int:
        index = self._by_name.setdefault(name, len(self.names))
        if index == len(self.names):
            self.names.append(name)
        return index

    def _grow(self, size: int) -> None:
        missing = size - len(self._name_of)
        if missing > 0:
            missing = max(missing, len(self._name_of))
            self._name_of = np.concatenate([self._name_of, np.full(missing, -1, np.int64)])
            self._unit_of = np.concatenate([self._unit_of, np.zeros(missing, np.int64)])


class Marks:
    """Tells readings that can supersede another from those that surely cannot.

    A reading later than all known ones of its point and channel has no earlier revision. What is not known of
    (readings archived before this process) is bounded by ``floors``: the latest observed time [µs] in each day.
    False alarms cost a little time; a miss would show two revisions, so in doubt the answer is yes.
    """

    def __init__(self, floors: dict[int, int]) -> None:
        self._floors = floors
        self._latest = np.full(4096, -1, np.int64)

    def late(self, keys: Indices, observed_us: Indices) -> npt.NDArray[np.bool_]:
        """Return which readings (in the order of the log) may supersede, and remember them all.

        ``keys`` int64 (n,) tells points and channels apart; ``observed_us`` int64 (n,).
        """
        self._grow(int(keys.max(initial=0)) + 1)
        days, inverse = np.unique(observed_us // DAY_US, return_inverse=True)
        floors = np.array([self._floors.get(day, -1) for day in days.tolist()], np.int64)
        late = (observed_us <= self._latest[keys]) | (observed_us <= floors[inverse])
        # within these readings: not later than an earlier one of the same key
        order = np.argsort(keys, kind="stable")
        moments, rank = np.unique(observed_us, return_inverse=True)
        group = np.cumsum(np.diff(keys[order], prepend=keys[order[:1]]) != 0)
        climb = group * (len(moments) + 1) + rank[order]
        before = np.concatenate([[-1], np.maximum.accumulate(climb)[:-1]]) if len(climb) else climb
        late[order] |= before >= climb
        np.maximum.at(self._latest, keys, observed_us)
        return np.asarray(late, np.bool_)

    def _grow(self, size: int) -> None:
        missing = size - len(self._latest)
        if missing > 0:
            self._latest = np.concatenate([self._latest, np.full(max(missing, len(self._latest)), -1, np.int64)])


def build(batches: Sequence[Batch], bindings: Bindings, marks: Marks | None) -> Any:
    """Return the Arrow table of ``batches`` (in the order of the log), sorted by day, point, channel and time.

    Without ``marks`` every reading is marked as able to supersede.
    """
    readings = [batch.readings for batch in batches]
    sizes = [len(one) for one in readings]
    numbers = _joined([one.point for one in readings], np.int32)
    observed = _joined([one.observed_us for one in readings], np.int64)
    names = bindings.name_indices(numbers)
    channel = np.repeat(np.array([int(one.channel) for one in readings], np.int64), sizes)
    keys = names * len(CHANNELS) + channel
    late = np.ones(len(numbers), np.bool_) if marks is None else marks.late(keys, observed)
    point, point_names = _ranked(names, bindings.names)
    day = observed // DAY_US
    order = np.lexsort((observed, channel, point, day))
    unit, units = bindings.units(numbers)
    split = [split_point_id(name) for name in point_names]
    source, sources = _origins(readings)
    columns = {
        "day": pa.array(day[order].astype(np.int32)).view(pa.date32()),
        "point": _dictionary(point[order], point_names),
        "thing": _dictionary(point[order], [thing for thing, _ in split]),
        "property": _dictionary(point[order], [name for _, name in split]),
        "observed": _times(observed[order]),
        "received": _times(_spread([one.received_us for one in readings], sizes, np.int64)[order]),
        "value": pa.array(_joined([one.value for one in readings], np.float64)[order]),
        "unit": _dictionary(unit[order], units),
        "quality": pa.array(_joined([one.quality for one in readings], np.uint16)[order].astype(np.int32)),
        "channel": _dictionary(channel[order], list(CHANNELS)),
        "source": _dictionary(source[order], sources),
        "backfill": pa.array(_spread([one.backfill for one in readings], sizes, np.bool_)[order]),
        "partition": pa.array(_spread([batch.partition for batch in batches], sizes, np.int32)[order]),
        "offset": pa.array(_spread([batch.offset for batch in batches], sizes, np.int64)[order]),
        "item": pa.array(_joined([np.arange(size, dtype=np.int32) for size in sizes], np.int32)[order]),
        "superseded": pa.nulls(len(order), _UTC),
        "pending": pa.array(np.where(late[order], LATE, FRESH).astype(np.int8)),
    }
    return pa.table({name: columns[name] for name in SCHEMA.names})


def whole(column: Any) -> Any:
    """Return a column as one array, its texts as one dictionary."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.unify_dictionaries().combine_chunks()


def _ranked(indices: Indices, names: Sequence[str]) -> tuple[Indices, list[str]]:
    """Return indices into the sorted list of those names that occur."""
    used, inverse = np.unique(indices, return_inverse=True)
    texts = [names[index] for index in used.tolist()]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.empty(len(texts), np.int64)
    rank[order] = np.arange(len(texts))
    return rank[inverse], [texts[index] for index in order]


def _origins(batches: Sequence[Readings]) -> tuple[Indices, list[str]]:
    """Return each reading's place in the list of all sources, and that list."""
    codes: dict[str, int] = {}
    parts = []
    for batch in batches:
        codes_of = np.array([codes.setdefault(source, len(codes)) for source in batch.sources], np.int64)
        parts.append(np.repeat(codes_of, len(batch)) if batch.origin is None else codes_of[batch.origin])
    return _joined(parts, np.int64), list(codes)


def _joined(parts: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _spread(values: Sequence[Any], sizes: Sequence[int], dtype: Any) -> Any:
    return np.repeat(np.array(values, dtype), sizes)


def _dictionary(indices: Indices, texts: Sequence[str]) -> Any:
    array = pa.DictionaryArray.from_arrays(pa.array(indices.astype(np.int32)), pa.array(texts, pa.string()))
    assert array.type == _NAMES
    return array


def _times(time_us: Indices) -> Any:
    return pa.array(time_us).view(_UTC)  # `cast` would load the compute functions: 20 MB
