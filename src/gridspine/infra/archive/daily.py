"""Daily sums of a compacted data file: a row for each point, channel and unit. Child processes only.

They sit beside the files they sum up and hold as long as these do, so nothing ever needs correcting in place: what is
late makes its day be counted from the readings until a compaction writes new files, and new sums with them.

::

    day without late readings   Σ sums of its settled files + its fresh readings
    day with late readings      its readings, revisions settled by the query
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gridspine.infra.archive.manifest import DAILY_FOLDER
from gridspine.infra.archive.pq import pq
from gridspine.infra.archive.rows import whole
from gridspine.infra.runtime.durable import sync
from gridspine.kernel.quality import VALIDITY_MASK

_UTC = pa.timestamp("us", "UTC")
_TEXTS = ("point", "thing", "property", "channel", "unit")
_GROUP_ROWS = 65_536
PARTIAL_SCHEMA: Any = pa.schema(
    [
        ("day", pa.date32()),
        *((name, pa.dictionary(pa.int32(), pa.string())) for name in _TEXTS),
        ("readings", pa.int64()),
        ("valid", pa.int64()),
        ("value_sum", pa.float64()),
        ("value_min", pa.float64()),
        ("value_max", pa.float64()),
        ("first_observed", _UTC),
        ("last_observed", _UTC),
    ]
)
"""Columns of the files of sums. There may be several rows of a point, to be added up."""


def sums(day: int, rows: Any, counted: npt.NDArray[np.bool_]) -> Any:
    """Return the sums of ``rows`` (`parquet.FILE_SCHEMA`, sorted by point and channel) of ``day`` as a table.

    Only rows that are ``counted``, bool (n,), go in: those no later revision replaced. ``valid`` readings are those
    whose quality says neither invalid nor questionable; only they are in the sums of values.
    """
    columns = {name: whole(rows.column(name)) for name in (*_TEXTS, "observed", "value", "quality")}
    at = np.flatnonzero(counted)
    starts = _starts([columns[name].indices.to_numpy()[at] for name in ("point", "channel", "unit")])
    if not len(at):
        return PARTIAL_SCHEMA.empty_table()
    value = columns["value"].to_numpy()[at]
    observed = columns["observed"].view(pa.int64()).to_numpy()[at]
    valid = columns["quality"].to_numpy()[at] & VALIDITY_MASK == 0
    found = np.add.reduceat(valid.astype(np.int64), starts)
    none = found == 0
    values = {
        "value_sum": np.add.reduceat(np.where(valid, value, 0.0), starts),
        "value_min": np.fmin.reduceat(np.where(valid, value, np.inf), starts),
        "value_max": np.maximum.reduceat(np.where(valid, value, -np.inf), starts),
    }
    firsts = pa.array(at[starts])
    made = {
        "day": pa.array(np.full(len(starts), day, np.int32)).view(pa.date32()),
        **{name: columns[name].take(firsts) for name in _TEXTS},
        "readings": pa.array(np.diff(starts, append=len(at))),
        "valid": pa.array(found),
        **{name: pa.array(column, mask=none) for name, column in values.items()},
        "first_observed": pa.array(np.minimum.reduceat(observed, starts)).view(_UTC),
        "last_observed": pa.array(np.maximum.reduceat(observed, starts)).view(_UTC),
    }
    return pa.Table.from_arrays([made[name] for name in PARTIAL_SCHEMA.names], schema=PARTIAL_SCHEMA)


class DailyWriter:
    """Writes the sums of the data file ``name`` in folder ``archive``."""

    def __init__(self, archive: Path, name: str) -> None:
        folder = archive / DAILY_FOLDER
        folder.mkdir(exist_ok=True, mode=0o700)
        self.path = folder / name
        self._writer = pq.ParquetWriter(self.path, PARTIAL_SCHEMA, compression="zstd", store_schema=False)

    def write(self, sums: Any) -> None:
        """Add ``sums``."""
        if sums.num_rows:
            self._writer.write_table(sums, row_group_size=_GROUP_ROWS)

    def close(self) -> None:
        """Finish the file and force it to disk."""
        self._writer.close()
        sync(self.path)
        sync(self.path.parent)

    def abandon(self) -> None:
        """Take the unfinished file away."""
        self._writer.close()
        self.path.unlink(missing_ok=True)


def _starts(keys: list[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Return where a new group begins in sorted rows."""
    fresh = np.zeros(len(keys[0]), np.bool_)
    fresh[:1] = True
    for key in keys:
        fresh[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(fresh)
