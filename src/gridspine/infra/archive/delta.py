"""The Delta log of the table, written and read without an engine: one JSON file a commit.

Only what this archive needs: one writer (it holds a lock), files added and removed, the log's offsets as application
transactions. An engine would do it too, but holds some 50 MB for as long as it is loaded, and removes whole
partitions only: a compaction here takes away exactly the files it read, while new ones of the same day arrive.

Source: Delta Transaction Log Protocol (actions protocol, metaData, add, remove, txn; reader version 1, writer 2).
"""

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from gridspine.infra.archive.manifest import LAST_TEXT, UNKNOWN_US, DataFile
from gridspine.infra.archive.schema import DAY_US, LATE, STORED
from gridspine.infra.runtime.durable import sync

LOG_FOLDER = "_delta_log"
_EPOCH = date(1970, 1, 1)
_TAG = "gridspine.file"
_TYPES = {
    "VARCHAR": "string",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "DOUBLE": "double",
    "INTEGER": "integer",
    "BIGINT": "long",
    "BOOLEAN": "boolean",
    "TINYINT": "byte",
}
Action = dict[str, Any]
APP = "gridspine/readings"


def iso_day(day: int) -> str:
    """Return the date of ``day`` [days since 1970]."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def day_number(day: date) -> int:
    """Return days since 1970."""
    return (day - _EPOCH).days


def app_id(partition: int) -> str:
    """Return the Delta application id under which a partition's next offset is stored with its data."""
    return f"{APP}/{partition}"


def creation(now_ms: int) -> list[Action]:
    """Return the actions that make the table, empty."""
    kinds = [("day", "date"), *((name, _TYPES[kind]) for name, kind in STORED.items())]
    fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in kinds]
    about = {
        "id": str(uuid.uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": ["day"],
        "createdTime": now_ms,
        "configuration": {
            "delta.dataSkippingStatsColumns": "point,observed,pending",
            "delta.logRetentionDuration": "interval 2 hours",
        },
    }
    return [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": about}]


def additions(files: Iterable[DataFile], *, data_change: bool) -> list[Action]:
    """Return the actions that add ``files``."""
    return [{"add": _addition(file, data_change)} for file in files]


def removals(files: Iterable[DataFile], now_ms: int, *, data_change: bool = False) -> list[Action]:
    """Return the actions that take ``files`` away; without ``data_change`` others hold the same readings."""
    return [
        {
            "remove": {
                "path": file.path,
                "deletionTimestamp": now_ms,
                "dataChange": data_change,
                "extendedFileMetadata": True,
                "partitionValues": {"day": iso_day(file.day)},
                "size": file.size_bytes,
            }
        }
        for file in files
    ]


def transactions(offsets: dict[int, int], now_ms: int) -> list[Action]:
    """Return the actions that keep the next offsets of the log's partitions."""
    return [
        {"txn": {"appId": app_id(partition), "version": offset, "lastUpdated": now_ms}}
        for partition, offset in offsets.items()
    ]


def commit(log: Path, version: int, operation: str, actions: Sequence[Action], now_ms: int) -> None:
    """Write commit ``version`` into folder ``log``; it is there whole or not at all, and survives power loss.

    Raises `FileExistsError` when there is such a version already.
    """
    about = {"commitInfo": {"timestamp": now_ms, "operation": operation, "engineInfo": "gridspine"}}
    temporary = log / f".{version:020}.json.new"
    temporary.write_bytes(b"".join(msgspec.json.encode(action) + b"\n" for action in (about, *actions)))
    sync(temporary)
    os.link(temporary, log / f"{version:020}.json")
    temporary.unlink()
    sync(log)


def newest(log: Path) -> int:
    """Return the newest version in folder ``log``, -1 when there is none."""
    return max(map(int, (path.stem for path in log.glob("*.json") if path.stem.isdigit())), default=-1)


def actions(path: Path) -> list[Action]:
    """Return the actions of a commit; raises `OSError` or `ValueError`."""
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def data_file(add: Action, version: int) -> DataFile:
    """Return the file an action ``add`` describes; bounds that an older release did not note are wide ones."""
    tags = add.get("tags") or {}
    if _TAG in tags:
        known = msgspec.json.decode(tags[_TAG], type=DataFile)
        return msgspec.structs.replace(known, version=version)
    stats = json.loads(add["stats"]) if add.get("stats") else {}
    lowest, highest = stats.get("minValues", {}), stats.get("maxValues", {})
    day = day_number(date.fromisoformat(add["partitionValues"]["day"]))
    return wide_file(
        add["path"], day, stats.get("numRecords", 0), add["size"], add["modificationTime"],
        (_moment_us(lowest.get("observed")), _moment_us(highest.get("observed"))), highest.get("pending"), version,
    )  # fmt: skip


def wide_file(
    path: str,
    day: int,
    rows: int,
    size_bytes: int,
    written_ms: int,
    observed_us: tuple[int | None, int | None],
    pending: int | None,
    version: int,
) -> DataFile:
    """Return a file of which only Delta's own statistics are known: they are cut to whole milliseconds."""
    first_us, latest_us = observed_us
    return DataFile(
        path, day, rows, size_bytes,
        day * DAY_US if first_us is None else first_us,
        (day + 1) * DAY_US if latest_us is None else latest_us + 1000,
        "", LAST_TEXT, LATE if pending is None else pending, UNKNOWN_US, written_ms, version,
    )  # fmt: skip


def _addition(file: DataFile, data_change: bool) -> Action:
    lowest = {"point": file.first_point, "observed": _text(file.first_us)}
    highest = {"point": file.last_point, "observed": _text(file.latest_us), "pending": file.pending}
    stats = {"numRecords": file.rows, "minValues": lowest, "maxValues": highest, "nullCount": {}}
    return {
        "path": file.path,
        "partitionValues": {"day": iso_day(file.day)},
        "size": file.size_bytes,
        "modificationTime": file.written_ms,
        "dataChange": data_change,
        "stats": json.dumps(stats),
        "tags": {_TAG: msgspec.json.encode(file).decode()},
    }


def _text(time_us: int) -> str:
    """Return a time as statistics have it: cut to the millisecond, as the protocol asks."""
    return datetime.fromtimestamp(time_us // 1000 / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _moment_us(text: str | None) -> int | None:
    if text is None:
        return None
    return round(datetime.fromisoformat(text).timestamp() * 1000) * 1000
