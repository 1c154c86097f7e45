"""The Delta table of readings: append with offsets, replace a day, make durable, recover. Child processes only.

Delta's own files are written without fsync, so each commit is forced to disk before it is published; at a start,
what lies above the published version is checked, and dropped from the first damaged commit on: the log still has it.

Source: Delta Transaction Log Protocol (actions add, remove, txn; checkpoints), as deltalake writes it.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)

from gridspine.infra.archive.published import Published, read_published, sync, write_published
from gridspine.infra.archive.rows import DAY_US, SCHEMA
from gridspine.infra.archive.schema import LATE
from gridspine.kernel.errors import Conflict

TABLE_FOLDER = "readings"
_ROW_GROUP = 122_880
_WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=3,
    max_row_group_size=_ROW_GROUP,
    column_properties={
        "value": ColumnProperties(encoding="BYTE_STREAM_SPLIT", dictionary_enabled=False),
        "observed": ColumnProperties(encoding="DELTA_BINARY_PACKED", dictionary_enabled=False),
        "offset": ColumnProperties(encoding="DELTA_BINARY_PACKED", dictionary_enabled=False),
    },
)
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class FileStats:
    """One data file: its ``path``, UTC ``day``, rows and bytes, latest observed time [µs, exact to the ms above],
    ``pending`` at most, and when it was written [ms since 1970]."""

    path: Path
    day: date
    rows: int
    size_bytes: int
    latest_us: int
    pending: int
    written_ms: int


def app_id(partition: int) -> str:
    """Return the Delta application id under which a partition's next offset is stored with its data."""
    return f"gridspine/readings/{partition}"


def load_table(archive: Path) -> Any:
    """Return the newest snapshot of the table in folder ``archive``, or None when there is none."""
    path = archive / TABLE_FOLDER
    return DeltaTable(path) if DeltaTable.is_deltatable(str(path)) else None


def file_stats(table: Any, archive: Path) -> list[FileStats]:
    """Return the data files of a snapshot."""
    actions = pa.table(table.get_add_actions(flatten=True)).to_pydict()
    if not actions["path"]:
        return []
    columns = ("path", "partition.day", "num_records", "size_bytes", "max.observed", "max.pending", "modification_time")
    return [
        FileStats(
            archive / TABLE_FOLDER / unquote(path),
            day,
            rows,
            size,
            # Delta's statistics are cut to whole milliseconds
            (round(latest.timestamp() * 1000) + 1) * 1000 if latest is not None else (_number(day) + 1) * DAY_US,
            LATE if pending is None else pending,
            written,
        )
        for path, day, rows, size, latest, pending, written in zip(*(actions[name] for name in columns), strict=True)
    ]


class ReadingsTable:
    """The one writer of the table in folder ``archive``; raises `Conflict` while another has it.

    ``now_us`` gives the time [µs since 1970] that is published with each commit.
    """

    def __init__(self, archive: Path, now_us: Callable[[], int]) -> None:
        archive.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.archive = archive
        self._now_us = now_us
        self._lock = os.open(archive / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise Conflict(f"another process writes to the archive in {archive}") from error
        self._published = read_published(archive)
        self._log_folder = archive / TABLE_FOLDER / "_delta_log"
        self._drop_damaged()
        self._table = load_table(archive) or self._create()
        if self.version < self._published.version:
            self._published = Published()  # the table was deleted: it is built again
        self._offsets: dict[int, int] = {}

    @property
    def version(self) -> int:
        """The table's version."""
        return int(self._table.version())

    def offset(self, partition: int) -> int:
        """Return the next offset of ``partition`` that the table does not have yet."""
        stored = self._table.transaction_version(app_id(partition))
        self._offsets[partition] = 0 if stored is None else int(stored)
        return self._offsets[partition]

    def stored(self, partition: int) -> int:
        """Return the next offset of ``partition`` as this process knows it (after `offset`)."""
        return self._offsets[partition]

    def append(self, rows: Any, offsets: dict[int, int]) -> None:
        """Commit ``rows`` (`rows.build`) together with the next offsets; durable and published on return."""
        transactions = [Transaction(app_id(partition), offset) for partition, offset in offsets.items()]
        write_deltalake(
            self._table,
            rows,
            mode="append",
            writer_properties=_WRITER,
            commit_properties=CommitProperties(app_transactions=transactions),
            post_commithook_properties=_NO_HOOKS,
        )
        self._offsets.update(offsets)
        self.publish()

    def replace_day(self, day: date, tables: Iterator[Any]) -> None:
        """Put the rows of ``tables`` (of `SCHEMA`, with dictionaries) in place of all rows of ``day``, in one step."""
        first = next(tables)

        def batches() -> Iterator[Any]:
            yield from first.to_batches()
            for table in tables:
                yield from table.to_batches()

        write_deltalake(
            self._table,
            pa.RecordBatchReader.from_batches(first.schema, batches()),
            mode="overwrite",
            predicate=f"day = '{day.isoformat()}'",
            writer_properties=_WRITER,
            post_commithook_properties=_NO_HOOKS,
        )
        self.publish()

    def files(self) -> list[FileStats]:
        """Return the data files of the newest version."""
        return file_stats(self._table, self.archive)

    def floors(self) -> dict[int, int]:
        """Return the latest observed time [µs] of each day [days since 1970] in the table."""
        floors: dict[int, int] = {}
        for file in self.files():
            day = _number(file.day)
            floors[day] = max(floors.get(day, -1), file.latest_us)
        return floors

    def publish(self) -> None:
        """Force every commit since the last publication to disk, then publish version and offsets."""
        for version in range(self._published.version + 1, self.version + 1):
            self._sync_commit(version)
        sync(self._log_folder)
        self._write(Published(dict(self._offsets), self.version, self._published.checkpoint, self._now_us()))

    def checkpoint(self, every: int = 1) -> None:
        """Write a checkpoint when ``every`` versions came since the last, and forget log entries no longer needed."""
        if self.version - self._published.checkpoint < every:
            return
        self._table.create_checkpoint()
        for path in self._log_folder.glob("*.parquet"):
            sync(path)
        sync(self._log_folder / "_last_checkpoint")
        sync(self._log_folder)
        self._write(Published(dict(self._offsets), self.version, self.version, self._now_us()))
        self._table.cleanup_metadata()

    def vacuum(self, retention_s: float) -> None:
        """Delete data files that have not been used for ``retention_s`` [s]; longer than any query takes."""
        self._table.vacuum(
            retention_hours=int(retention_s / 3600),
            enforce_retention_duration=False,
            dry_run=False,
            full=True,
            post_commithook_properties=_NO_HOOKS,
        )
        self.publish()

    def close(self) -> None:
        """Let another process write."""
        os.close(self._lock)

    def _write(self, published: Published) -> None:
        write_published(self.archive, published)
        self._published = published

    def _create(self) -> Any:
        return DeltaTable.create(
            self.archive / TABLE_FOLDER,
            Schema.from_arrow(SCHEMA),
            partition_by=["day"],
            configuration={
                "delta.dataSkippingStatsColumns": "point,observed,pending",
                "delta.logRetentionDuration": "interval 2 hours",
            },
        )

    def _sync_commit(self, version: int) -> None:
        path = self._log_folder / f"{version:020}.json"
        folders = set()
        for action in _actions(path):
            if "add" in action:
                file = self.archive / TABLE_FOLDER / unquote(action["add"]["path"])
                sync(file)
                folders.add(file.parent)
        for folder in folders:
            sync(folder)
        if folders:
            sync(self.archive / TABLE_FOLDER)
        sync(path)

    def _drop_damaged(self) -> None:
        """Undo what a power failure left half-written above the published version."""
        if not self._log_folder.is_dir():
            return
        self._drop_unpublished_checkpoint()
        damaged = False
        for path in sorted(self._log_folder.glob("*.json")):
            if not path.stem.isdigit() or int(path.stem) <= self._published.version:
                continue
            damaged = damaged or not self._sound(path)
            if damaged:
                path.unlink()
        sync(self._log_folder)

    def _drop_unpublished_checkpoint(self) -> None:
        known = self._published.checkpoint
        if self._published.version < 0:
            return  # nothing was ever published here, or the file was deleted: there is no better knowledge
        for path in self._log_folder.glob("*.checkpoint*.parquet"):
            if int(path.name[:20]) > known:
                path.unlink()
                (self._log_folder / "_last_checkpoint").unlink(missing_ok=True)

    def _sound(self, path: Path) -> bool:
        try:
            added = [action["add"] for action in _actions(path) if "add" in action]
            sizes = [(self.archive / TABLE_FOLDER / unquote(add["path"])).stat().st_size for add in added]
        except (OSError, ValueError):
            return False
        return all(size == add["size"] for size, add in zip(sizes, added, strict=True)) and path.stat().st_size > 0


def _actions(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def _number(day: date) -> int:
    return (day - _EPOCH).days
