"""The edge itself: its parts, in the order they start and stop."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gridspine import __version__
from gridspine.apps.edge.ballast import Ballast
from gridspine.apps.edge.book import SHIFT_US, OrderBook
from gridspine.apps.edge.buffer import Buffer
from gridspine.apps.edge.documents import Documents
from gridspine.apps.edge.host import AdapterHost
from gridspine.apps.edge.http import NodeHttp
from gridspine.apps.edge.link import Link
from gridspine.apps.edge.proof import EdgeKey
from gridspine.apps.edge.rules import Rules
from gridspine.apps.edge.settings import EdgeSettings
from gridspine.apps.edge.wire import (
    MAX_REPORT_ITEMS,
    Ask,
    Beat,
    Deliver,
    Down,
    Hello,
    ReadNow,
    Report,
    Serve,
    ServedThing,
    Stop,
)
from gridspine.apps.edge.wire import Rules as RulesSaid
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.datadir import DataDirectory
from gridspine.infra.runtime.tasks import Supervisor
from gridspine.kernel.errors import DiskFull
from gridspine.kernel.time import US
from gridspine.things.adapter import ReadRequest

TICK_S = 0.1
SWEEP_S = 60.0
ALIVE_S = 10.0
SERVE = "serve"
log = structlog.get_logger(__name__)


class Edge:
    """All parts of an edge; made on the running event loop."""

    def __init__(
        self, settings: EdgeSettings, key: EdgeKey, clock: Clock, *, adapters: Mapping[str, Any] | None = None
    ) -> None:
        self.clock, self.folder = clock, Path(settings.data)
        self._directory = DataDirectory(self.folder)  # one edge at a time
        ballast = Ballast(self.folder, settings.reserve_bytes // 4)
        self.documents = Documents(self.folder, ballast)
        self.buffer = Buffer(
            self.folder, clock, ballast, max_bytes=settings.max_bytes, keep_days=settings.keep_days,
            reserve_bytes=settings.reserve_bytes,
        )  # fmt: skip
        self.book = OrderBook(self.documents, clock)
        self.host = AdapterHost(
            clock, self.documents, self.buffer, self.book, allow=settings.adapters, settings=settings.settings,
            adapters=adapters,
        )  # fmt: skip
        self.rules = Rules(key.client, settings.node_key, self.documents, self.host, self.book, clock)
        self.http = NodeHttp(settings.node, key, clock, ca=Path(settings.ca) if settings.ca else None)
        self.link = Link(self.http, self.buffer, clock, self._hear, self._report, self._reported, batch=settings.batch)
        self.supervisor = Supervisor(clock)
        self._ticked_us = clock.monotonic_us()
        self._kept: dict[str, str] = {}
        """Revisions that are durable and that the node was not told yet, by Thing."""

    async def start(self) -> None:
        """Take up what was kept, and carry on: orders before anything else, the node last."""
        await self.buffer.load()
        stored = await self.documents.get(SERVE, SERVE)
        things = msgspec.json.decode(stored, type=Serve).things if stored else ()
        await self.book.load(things)
        await self.rules.load()
        self.host.serve(things)
        self.supervisor.start("tick", self._tick)
        self.supervisor.start("release", self.host.release)
        self.supervisor.start("rules", self.rules.run)
        self.supervisor.start("sweep", self._sweep)
        self.supervisor.start("news", self._news)
        self.supervisor.start("down", self.link.down)
        self.supervisor.start("up", self.link.up)

    async def stop(self) -> None:
        """Stop taking readings, then carrying out orders; what is kept stays kept."""
        await self.host.close()
        await self.supervisor.close()
        await self.rules.close()
        await self.http.close()
        await asyncio.to_thread(self.buffer.close)
        await asyncio.to_thread(self.documents.close)
        self._directory.close()

    # -- what the node says -------------------------------------------------------------------------------------

    async def _hear(self, message: Down) -> None:
        match message:
            case Hello():
                await self.rules.trust(message.key)
                await self.book.node_time(message.now_us)
                skew_us = self.clock.now_us() - message.now_us
                if abs(skew_us) > SHIFT_US:
                    log.warning("this clock and the node's differ", by_s=skew_us / 1e6)
                self.link.news.set()
            case Serve():
                await self._serve(message)
            case Deliver():
                await self._deliver(message)
            case Stop():
                await self.book.stop(message.stop)
            case RulesSaid():
                await self.rules.take(message.rules)
            case ReadNow():
                self.host.read(ReadRequest(message.id, message.thing, message.points))
            case Ask():
                self.host.ask(message)
            case Beat():
                await self.book.node_time(message.now_us)

    async def _serve(self, message: Serve) -> None:
        await self.documents.put((SERVE, SERVE, msgspec.json.encode(message)))
        gone = set(self.host.things) - {thing.id for thing in message.things}
        self.book.serve(_both(self.host.things, message.things))
        for thing in gone:  # another serves it now, or nobody: nothing of ours may go on
            await self.book.deliver(Deliver(thing, "", self.clock.now_us(), ()))
        self.book.serve(message.things)
        self.host.serve(message.things)

    async def _deliver(self, message: Deliver) -> None:
        if message.thing not in self.host.things:
            return
        try:
            await self.book.deliver(message)
        except DiskFull as error:
            log.error("orders cannot be kept, and are not taken: the node is not told that they were", why=error.detail)
            return
        self._kept[message.thing] = message.revision
        self.link.news.set()

    # -- what it says to the node -------------------------------------------------------------------------------

    async def _report(self) -> Report:
        return Report(
            clock_us=self.clock.now_us(),
            kept=dict(self._kept),
            progress=tuple(list(self.book.progress.values())[:MAX_REPORT_ITEMS]),
            rules=self.rules.reports(),
            buffer=await self.buffer.report(),
            adapters=self.host.states(),
            version=__version__,
            reads=await self._reads_ended(),
            requests=self.host.requests.told(),
            carries=True,
        )

    async def _reads_ended(self) -> dict[str, str]:
        """Return the requests to read that are over, once what was read has gone up."""
        return {} if await self.buffer.live(1) else dict(self.host.reads_ended)

    async def _reported(self, report: Report) -> None:
        self._kept = {thing: kept for thing, kept in self._kept.items() if report.kept.get(thing) != kept}
        await self.book.heard(report.progress)
        for id_ in report.reads:
            self.host.reads_ended.pop(id_, None)
        for id_ in report.requests:
            self.host.requests.ended.pop(id_, None)
        if self._kept or self.book.progress or self.host.reads_ended or self.host.requests.ended:
            self.link.news.set()

    # -- tasks --------------------------------------------------------------------------------------------------

    def alive(self) -> bool:
        """Whether orders are carried out: the clock was looked at within a few seconds."""
        return self.clock.monotonic_us() - self._ticked_us < ALIVE_S * US

    async def _tick(self) -> None:
        while True:
            await self.book.tick()
            self._ticked_us = self.clock.monotonic_us()
            await self.clock.sleep(TICK_S)

    async def _sweep(self) -> None:
        while True:
            with contextlib.suppress(DiskFull):
                await self.buffer.sweep()
            await self.clock.sleep(SWEEP_S)

    async def _news(self) -> None:
        while True:
            waiting = [asyncio.ensure_future(one.wait()) for one in (self.book.told, self.rules.news, self.host.news)]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waiting:
                    one.cancel()
            self.book.told.clear()
            self.rules.news.clear()
            self.host.news.clear()
            self.link.news.set()


def _both(before: Mapping[str, ServedThing], after: tuple[ServedThing, ...]) -> list[ServedThing]:
    return [*before.values(), *after]
