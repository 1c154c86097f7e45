"""How old records are: where a stretch of time begins in a partition, and how many bytes a topic takes."""

from gridspine.infra.log.port import EventLog


def first_since(log: EventLog, topic: str, partition: int, time_us: int) -> int:
    """Return the offset from which on records were written at ``time_us`` [µs since 1970] or later; blocks.

    Found by halving: where the writer's clock jumped, it is one of several such places.
    """
    low, high = log.bounds(topic)[partition]
    while low < high:
        middle = (low + high) // 2
        found = log.read(topic, partition, middle, max_records=1)
        if found and found[0].time_us < time_us:
            low = found[0].position.offset + 1
        else:
            high = middle
    return low
