"""The index of histories at work: it follows the log, and answers what happened to a Thing, newest first."""

import asyncio
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import structlog

from gridspine.infra.log.keyed_index import KeyedIndex, Row
from gridspine.infra.log.port import EventLog
from gridspine.infra.log.scan import scan
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import DiskFull, Gone, GridspineError, NotFound
from gridspine.things.directory import Directory
from gridspine.things.history import PASSING, READERS, Entry, periods

EVERY_S = 30.0
"""How often the index follows by itself [s]: whoever asks is answered from all there is by then."""
_AT_ONCE = 2_000
_HANDOVER_US = 1_000_000
_LATEST = (1 << 62, "~")
log = structlog.get_logger(__name__)


class Histories:
    """What happened to each Thing, from the topics of `gridspine.things.history`."""

    def __init__(self, path: Path, eventlog: EventLog, things: Directory, clock: Clock) -> None:
        self._log, self._things, self._clock = eventlog, things, clock
        self._index = KeyedIndex(path, passing=PASSING)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._index)

    async def follow(self) -> None:
        """Keep up with the log, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.catch_up)
            except DiskFull as error:
                log.warning("histories wait for room", error=error.detail)
            await self._clock.sleep(EVERY_S)

    def catch_up(self) -> None:
        """Take in all that the log holds now; blocks."""
        with self._lock:
            for topic in READERS:
                self._read(topic)

    def page(
        self, thing: str, owned: Collection[tuple[int, int | None]], before: tuple[int, str], limit: int,
        kinds: Collection[str],
    ) -> list[Entry]:  # fmt: skip
        """Return what happened within ``owned`` [µs since 1970], newest first, before a place; blocks."""
        found: list[Entry] = []
        for since_us, until_us in sorted(owned, reverse=True):
            place = before if until_us is None else min(before, (until_us + _HANDOVER_US, "~"))
            while len(found) < limit and (rows := self._index.page(thing, place, since_us, limit, kinds)):
                place = (rows[-1].at_us, rows[-1].id)
                entries = (msgspec.json.decode(row.body, type=Entry) for row in rows)
                # Of the moment after its time an owner learns one thing: that it has handed the Thing over.
                found += [
                    one for one in entries
                    if until_us is None or one.at_us <= until_us or one.type == "thing.transferred"
                ]  # fmt: skip
        return found[:limit]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._index.close()

    def _read(self, topic: str) -> None:
        first, following = self._log.bounds(topic)[0]
        start = self._index.consumed(topic)
        if start > following:
            start = 0  # the log is an older one, restored: all of it is looked at again
        start = max(start, first)
        while start < following:
            end = min(start + _AT_ONCE, following)
            try:
                rows = list(self._rows(topic, start, end))
            except Gone:  # trimmed meanwhile
                start = self._log.bounds(topic)[0][0]
                continue
            self._index.add(rows, {topic: end})
            start = end

    def _rows(self, topic: str, start: int, end: int) -> Iterator[Row]:
        read = READERS[topic]
        for record in scan(self._log, topic, 0, start, end, max_records=_AT_ONCE):
            try:
                entry = read(f"{topic}:{record.position.offset}", record.body, record.time_us)
            except GridspineError as error:
                log.warning("a record says nothing for a history", topic=topic, error=error.detail)
                continue
            if entry is not None and (entry.kind != "incident" or self._is_theirs(entry)):
                yield Row(entry.thing, entry.at_us, entry.id, entry.kind, msgspec.json.encode(entry))

    def _is_theirs(self, entry: Entry) -> bool:
        """Whether an incident is of whom the Thing was: what others say of it is not its history."""
        try:
            own = periods(self._things.get(entry.thing), str(entry.data.get("organisation", "")))
        except NotFound:
            return False
        return any(since <= entry.at_us and (until is None or entry.at_us <= until) for since, until in own)


def place_of(entry: Entry) -> str:
    """Return where a page goes on after ``entry``."""
    return f"{entry.at_us}.{entry.id}"


def parse_place(text: str) -> tuple[int, str] | None:
    """Return the place that `place_of` wrote; the latest for ""; None for anything else."""
    if not text:
        return _LATEST
    at, _, id_ = text.partition(".")
    return (int(at), id_) if at.isascii() and at.isdigit() and len(at) < 18 and 0 < len(id_) < 100 else None
