"""One topic of the SQLite log: its segment files in order, and the offsets of its partitions."""

import bisect
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gridspine.infra.log.port import Position, Record, Stored, Topic
from gridspine.infra.log.segment import Extents, Row, Segment, unlink_segment
from gridspine.infra.runtime.durable import make_folder
from gridspine.kernel.errors import Unavailable


class SegmentedTopic:
    """The segments of ``topic`` under ``directory``. Not thread-safe: the log holds the lock."""

    def __init__(
        self, topic: Topic, directory: Path, *, segment_bytes: int, writable: bool, trimmed: Sequence[int]
    ) -> None:
        self.topic = topic
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._writable = writable
        self._segments: list[Segment] = []
        self._extents: list[Extents] = []
        self._next = list(trimmed)  # offsets are never reused, not even when all their segments are gone
        if writable:
            make_folder(directory)
        try:
            self._open_existing()
        except BaseException:
            self.close()
            raise

    def refresh(self) -> None:
        """Look for segments and records that another process has added or trimmed (read-only logs).

        Any number of segments may have come since the last look: the one that was the newest then has grown, too.
        """
        growing = {segment.path for segment in self._segments[-2:]}
        for segment in self._segments:
            if not segment.path.exists():
                segment.close()
        kept = [(s, e) for s, e in zip(self._segments, self._extents, strict=True) if s.path.exists()]
        self._segments = [segment for segment, _ in kept]
        self._extents = [extents for _, extents in kept]
        self._open_existing()
        growing |= {segment.path for segment in self._segments[-2:]}
        for at, segment in enumerate(self._segments):
            if segment.path in growing:
                self._extents[at] = segment.extents(newest=at == len(self._segments) - 1)
        self._count_on()

    def place(self, records: Sequence[Record], partitions: Sequence[int]) -> tuple[list[Position], list[Row]]:
        """Give ``records`` their offsets; nothing is taken until `wrote` is told."""
        following = list(self._next)
        positions, rows = [], []
        for record, partition in zip(records, partitions, strict=True):
            offset = following[partition]
            following[partition] += 1
            positions.append(Position(self.topic.name, partition, offset))
            rows.append((partition, offset, record.key, record.body, record.time_us))
        return positions, rows

    def write(self, rows: Sequence[Row]) -> None:
        """Append ``rows`` durably to the newest segment; to a new one when that is large enough.

        Nothing that can fail comes after the commit: an error means that none of ``rows`` is kept.
        """
        segment = self._active()
        if segment.size_bytes() >= self._segment_bytes:
            segment = self._roll()
        segment.write(rows)
        extents = self._extents[-1]
        for partition, offset, *_ in rows:
            first, _ = extents.get(partition, (offset, offset))
            extents[partition] = (first, offset + 1)
            self._next[partition] = offset + 1

    def read(self, partition: int, offset: int, max_records: int, max_bytes: int) -> list[Stored]:
        """Return records from ``offset`` on, across segments."""
        found: list[Stored] = []
        size = 0
        for segment, extents in zip(self._segments, self._extents, strict=True):
            if extents.get(partition, (0, 0))[1] <= offset or len(found) >= max_records or size >= max_bytes:
                continue
            more = segment.read(self.topic.name, partition, offset, max_records - len(found), max_bytes - size)
            found += more
            size += sum(len(record.body) for record in more)
        return found

    def bounds(self, trimmed: Sequence[int]) -> list[tuple[int, int]]:
        """Return (first kept, next) per partition, given the trim marks."""
        return [(min(max(trimmed[p], self._first(p)), self._next[p]), self._next[p]) for p in range(len(self._next))]

    def drop_below(self, trimmed: Sequence[int]) -> None:
        """Delete whole segments that lie below every trim mark; the newest always stays."""
        while len(self._segments) > 1 and all(
            following <= trimmed[partition] for partition, (_, following) in self._extents[0].items()
        ):
            self._segments.pop(0).unlink()
            self._extents.pop(0)

    def close(self) -> None:
        """Close the segment files."""
        for segment in self._segments:
            segment.close()

    def _first(self, partition: int) -> int:
        firsts = [extents[partition][0] for extents in self._extents if partition in extents]
        return firsts[0] if firsts else self._next[partition]

    def _open_existing(self) -> None:
        known = {segment.path for segment in self._segments}
        paths = sorted(self._directory.glob("*.db"))
        for path in paths:
            if path in known:
                continue
            # The newest may have lost its tables to a crash while it was made; a writer makes them again.
            segment = Segment(path, writable=self._writable and path == paths[-1])
            try:
                extents = segment.extents(newest=path == paths[-1])
            except sqlite3.OperationalError as error:
                segment.close()
                if self._writable:  # passed over, its offsets would be given again
                    raise Unavailable(f"{path} cannot be read ({error}); is the disk full?") from error
                continue  # being made by the writer this moment: the next look finds it
            except BaseException:
                segment.close()
                raise
            at = bisect.bisect([s.path for s in self._segments], path)
            self._segments.insert(at, segment)
            self._extents.insert(at, extents)
        self._count_on()

    def _count_on(self) -> None:
        for extents in self._extents:
            for partition, (_, following) in extents.items():
                self._next[partition] = max(self._next[partition], following)

    def _active(self) -> Segment:
        if not self._segments:
            self._create(1)
        return self._segments[-1]

    def _roll(self) -> Segment:
        """Begin a new segment, then seal the full one: sealed first, it would be written on where the disk is full."""
        full = self._segments[-1]
        self._create(int(full.path.stem) + 1)
        with contextlib.suppress(sqlite3.OperationalError):  # no room for it: its records tell its extents
            full.seal(self._extents[-2])
            self._segments[-2] = Segment(full.path, writable=False)
            full.close()
        return self._segments[-1]

    def _create(self, number: int) -> None:
        path = self._directory / f"{number:012d}.db"
        try:
            segment = Segment(path, writable=True)
        except sqlite3.OperationalError:
            unlink_segment(path)
            raise
        self._segments.append(segment)
        self._extents.append({})
