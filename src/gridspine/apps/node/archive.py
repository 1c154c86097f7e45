"""The archive at work: its worker process supervised, queries answered."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gridspine.infra.archive.query import QueryInput, QueryPool, QueryResult, Stop
from gridspine.infra.archive.wire import Format, Granted, QueryLimits
from gridspine.infra.log.port import EventLog
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import EVENTS
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.settings import Settings
from gridspine.kernel.errors import Overloaded, Unavailable
from gridspine.things.directory import Directory

MAX_EVENT_ROWS = 100_000
log = structlog.get_logger(__name__)


class ArchiveService:
    """The archive of one node: folders ``archive`` and ``log_folder``."""

    def __init__(
        self,
        settings: Settings,
        archive: Path,
        log_folder: Path,
        eventlog: EventLog,
        things: Directory,
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._log_folder = log_folder
        self._log = eventlog
        self._things = things
        asked = settings.archive
        limits = QueryLimits(
            wall_s=asked.query_seconds, memory_bytes=asked.query_memory_bytes, max_rows=asked.query_rows
        )
        idle_s = max(1.0, asked.query_idle_seconds)
        self._pool = QueryPool(archive, log_folder, limits=limits, idle_s=idle_s)
        granted = QueryLimits(
            wall_s=asked.consumer_query_seconds,
            cpu_s=2 * max(1, round(asked.consumer_query_seconds)),
            memory_bytes=asked.consumer_query_memory_bytes,
            max_rows=asked.query_rows,
            max_source_rows=asked.consumer_query_readings,
        )
        self._granted_pool = QueryPool(archive, log_folder, limits=granted, idle_s=idle_s)
        self._asking: set[str] = set()
        self.form_of: Callable[[str], str] = lambda _: "adapter"
        """Returns the form of a Thing's twin."""

    async def work(self) -> None:
        """Run the worker process until cancelled; raise when it ends by itself, so that it is started again."""
        self._archive.mkdir(parents=True, exist_ok=True, mode=0o700)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gridspine.infra.archive.worker",
            "--archive", str(self._archive), "--log", str(self._log_folder),
            "--max-age-s", str(self._settings.archive.flush_seconds),
            "--compaction-bytes", str(self._settings.archive.compaction_memory_bytes),
            "--keep-days", str(self._settings.archive.keep_days),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            await process.stdout.readline()
            code = await process.wait()
            raise Unavailable(f"the archive's process ended with code {code}")
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 10)
                except TimeoutError:
                    process.kill()
                    await process.wait()

    async def query(self, sql: str, format_: Format, as_of_us: int | None) -> QueryResult:
        """Answer one SELECT over archive and log; it ends when whoever asks for it is cancelled."""
        given = QueryInput(points=self._points, things=self._thing_rows, events=self._events)
        return await _answered(Stop(), partial(self._pool.run, sql, given, format=format_, as_of_us=as_of_us))

    async def query_granted(
        self, sql: str, format_: Format, granted: Granted, *, principal: str, stop: Stop, as_of_us: int | None
    ) -> QueryResult:
        """Answer one SELECT over what is ``granted``, one at a time for each ``principal``; ``stop`` ends it.

        Raises `Overloaded` when the principal asks already, or too many others do.
        """
        if not self._settings.archive.consumer_query_seconds:
            raise Unavailable("this node offers no SQL over data products; pull or stream their readings")
        if principal in self._asking:
            raise Overloaded("you have a query running: wait for its answer", retry_after_s=1)
        self._asking.add(principal)
        try:
            run = partial(self._granted_pool.run, sql, format=format_, as_of_us=as_of_us, granted=granted)
            return await _answered(stop, run)
        finally:
            self._asking.discard(principal)

    def close(self) -> None:
        """End idle query processes."""
        self._pool.close()
        self._granted_pool.close()

    def _points(self) -> Sequence[Mapping[str, Any]]:
        rows = []
        for thing in self._things.list():
            for point in self._things.model(thing).points:
                kind = point.reading_type
                rows.append(
                    {
                        "point": f"{thing.id}/{point.name}",
                        "thing": thing.id,
                        "property": point.name,
                        "title": point.title,
                        "organisation": thing.organisation,
                        "unit": kind.unit,
                        "kind": kind.kind,
                        "flow": kind.flow,
                        "phase": kind.phase,
                        "commodity": kind.commodity,
                        "interval_s": kind.interval_s,
                    }
                )
        return rows

    def _thing_rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "thing": thing.id,
                "title": thing.title,
                "organisation": thing.organisation,
                "model": thing.model,
                "form": self.form_of(thing.id),
                "created": thing.created_us,
            }
            for thing in self._things.list()
        ]

    def _events(self) -> Sequence[Mapping[str, Any]]:
        first, following = self._log.bounds(EVENTS)[0]
        start = max(first, following - MAX_EVENT_ROWS)
        rows = []
        for record in scan(self._log, EVENTS, 0, start, following, max_records=5000):
            event = msgspec.json.decode(record.body, type=Event)
            rows.append(
                {
                    "id": event.id,
                    "type": event.type,
                    "time": event.time_us,
                    "subject": event.subject,
                    "actor": event.actor,
                    "data": msgspec.json.encode(event.data).decode(),
                }
            )
        return rows


async def _answered(stop: Stop, run: Callable[..., QueryResult]) -> QueryResult:
    """Run a query in a thread; ``stop`` ends it when whoever asks for it is cancelled."""
    try:
        return await asyncio.to_thread(run, stop=stop)
    except asyncio.CancelledError:
        stop.now("the caller left")
        raise
