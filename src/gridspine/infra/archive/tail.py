"""What the log has and the archive not yet: the youngest readings, as an Arrow table. Child processes only."""

from pathlib import Path
from typing import Any

from gridspine.infra.archive.manifest import DataFile, Manifest, read_manifest
from gridspine.infra.archive.published import read_published
from gridspine.infra.archive.rows import Batch, Bindings, build
from gridspine.infra.log.port import EventLog, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.topics import POINTS, READINGS
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.codecs.binding import decode_binding
from gridspine.kernel.errors import Corrupt, Gone, Unavailable

_ATTEMPTS = 5


def snapshot(archive: Path, log: Path, partitions: int, max_rows: int) -> tuple[list[DataFile], Any, dict[int, int]]:
    """Return the archive's files, the readings after them in the log, neither with a gap, and the log's next offsets.

    Raises `Unavailable` when more than ``max_rows`` readings wait to be archived.
    """
    topics = [Topic(READINGS, partitions), Topic(POINTS)]
    kept = SqliteEventLog(log, topics, read_only=True)
    try:
        for _ in range(_ATTEMPTS):
            known = _manifest(archive)
            try:
                tail, following = _tail(kept, known.offsets, max_rows)
            except Gone:
                continue  # archived and trimmed since the snapshot was taken: take a newer one
            return known.files, tail, following
        raise Unavailable("the archive and the log move too fast to be read together: try again")
    finally:
        kept.close()


def _manifest(archive: Path) -> Manifest:
    known = read_manifest(archive)
    if known is None and read_published(archive).version >= 0:
        raise Unavailable("the archive is being opened: try again in a few seconds")
    return known or Manifest()


def _tail(log: EventLog, offsets: dict[int, int], max_rows: int) -> tuple[Any, dict[int, int]]:
    batches: list[Batch] = []
    following: dict[int, int] = {}
    rows = 0
    for partition, (first, _) in enumerate(log.bounds(READINGS)):
        offset = offsets.get(partition, first)
        while records := log.read(READINGS, partition, offset):
            for record in records:
                try:
                    batches.append(Batch(partition, record.position.offset, decode_batch(record.body)))
                except Corrupt:
                    continue  # the worker sets it aside and says so
                rows += len(batches[-1].readings)
            if rows > max_rows:
                raise Unavailable(f"more than {max_rows} readings wait to be archived: ask again when they are")
            offset = records[-1].position.offset + 1
        following[partition] = offset
    return build(batches, _bindings(log) if batches else Bindings(), None), following


def _bindings(log: EventLog) -> Bindings:
    bindings = Bindings()
    offset = log.bounds(POINTS)[0][0]
    while records := log.read(POINTS, 0, offset, max_records=5000):
        for record in records:
            bindings.add(decode_binding(record.body))
        offset = records[-1].position.offset + 1
    return bindings
