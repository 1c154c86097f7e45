"""What the log has and the archive not yet: the youngest readings, as an Arrow table. Child processes only."""

from pathlib import Path
from typing import Any

from gridspine.infra.archive.rows import Batch, Bindings, build
from gridspine.infra.archive.schema import POINTS_TOPIC, READINGS_TOPIC
from gridspine.infra.archive.table import app_id, file_stats, load_table
from gridspine.infra.log.port import EventLog, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.codecs.binding import decode_binding
from gridspine.kernel.errors import Corrupt, Gone, Unavailable

_ATTEMPTS = 5


def snapshot(archive: Path, log: Path, partitions: int, max_rows: int) -> tuple[list[Any], Any]:
    """Return the archive's files (`FileStats`) and the readings after them in the log, neither with a gap.

    Raises `Unavailable` when more than ``max_rows`` readings wait to be archived.
    """
    topics = [Topic(READINGS_TOPIC, partitions), Topic(POINTS_TOPIC)]
    kept = SqliteEventLog(log, topics, read_only=True)
    try:
        for _ in range(_ATTEMPTS):
            table = load_table(archive)
            files = [] if table is None else file_stats(table, archive)
            offsets = [table.transaction_version(app_id(p)) if table else None for p in range(partitions)]
            try:
                return files, _tail(kept, [offset or 0 for offset in offsets], table is None, max_rows)
            except Gone:
                continue  # archived and trimmed since the snapshot was taken: take a newer one
        raise Unavailable("the archive and the log move too fast to be read together: try again")
    finally:
        kept.close()


def _tail(log: EventLog, offsets: list[int], empty: bool, max_rows: int) -> Any:
    batches: list[Batch] = []
    rows = 0
    for partition, offset in enumerate(offsets):
        if empty:
            offset = log.bounds(READINGS_TOPIC)[partition][0]
        while records := log.read(READINGS_TOPIC, partition, offset):
            for record in records:
                try:
                    batches.append(Batch(partition, record.position.offset, decode_batch(record.body)))
                except Corrupt:
                    continue  # the worker sets it aside and says so
                rows += len(batches[-1].readings)
            if rows > max_rows:
                raise Unavailable(f"more than {max_rows} readings wait to be archived: ask again when they are")
            offset = records[-1].position.offset + 1
    return build(batches, _bindings(log) if batches else Bindings(), None)


def _bindings(log: EventLog) -> Bindings:
    bindings = Bindings()
    offset = log.bounds(POINTS_TOPIC)[0][0]
    while records := log.read(POINTS_TOPIC, 0, offset, max_records=5000):
        for record in records:
            bindings.add(decode_binding(record.body))
        offset = records[-1].position.offset + 1
    return bindings
