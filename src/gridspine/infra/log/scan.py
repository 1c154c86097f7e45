"""Reading a stretch of a partition to its end, a bounded part at a time."""

from collections.abc import Iterator

from gridspine.infra.log.port import EventLog, Stored


def scan(
    log: EventLog, topic: str, partition: int, start: int, end: int, *, max_records: int = 500
) -> Iterator[Stored]:
    """Yield the records of ``[start, end)`` in order, reading at most ``max_records`` at a time; blocks.

    Raises `Gone` when ``start`` lies below the trim mark, or falls below it on the way.
    """
    while start < end:
        records = log.read(topic, partition, start, max_records=min(max_records, end - start))
        for record in records:
            if record.position.offset >= end:  # offsets may have gaps: so many records can reach further
                return
            yield record
        start = records[-1].position.offset + 1 if records else end
