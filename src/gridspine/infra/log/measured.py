"""A log whose appends are timed: `gridspine.infra.runtime.meter.Meter` gets the seconds and the last error."""

from collections.abc import Mapping, Sequence
from time import perf_counter

from gridspine.infra.log.port import EventLog, Follower, Position, Record, Stored, Topic
from gridspine.infra.runtime.meter import Meter


class MeasuredLog:
    """``log`` itself, but for `append`."""

    def __init__(self, log: EventLog, meter: Meter) -> None:
        self._log = log
        self._meter = meter

    @property
    def topics(self) -> Mapping[str, Topic]:
        """The topics this log was opened with."""
        return self._log.topics

    def append(self, records: Sequence[Record]) -> list[Position]:
        """Keep ``records`` durably, and time it; see `EventLog.append`."""
        begin = perf_counter()
        try:
            positions = self._log.append(records)
        except Exception as error:
            self._meter.commit_error = str(error) or type(error).__name__
            raise
        self._meter.commit_error = ""
        self._meter.commit.observe(perf_counter() - begin)
        return positions

    def read(
        self, topic: str, partition: int, offset: int, *, max_records: int = 500, max_bytes: int = 16 << 20
    ) -> list[Stored]:
        """Return records from ``offset`` on; see `EventLog.read`."""
        return self._log.read(topic, partition, offset, max_records=max_records, max_bytes=max_bytes)

    def bounds(self, topic: str) -> list[tuple[int, int]]:
        """Return ``(first, next)`` offsets of each partition."""
        return self._log.bounds(topic)

    def follow(self, group: str, topics: Sequence[str]) -> Follower:
        """Join consumer group ``group``."""
        return self._log.follow(group, topics)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the next offsets that ``group`` has committed."""
        return self._log.committed(group, topic)

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Let go of records below ``before``."""
        self._log.trim(topic, partition, before)

    def close(self) -> None:
        """Close the log."""
        self._log.close()
