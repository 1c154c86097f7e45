"""Adapters at the edge: found by the same entry points as at the node, with the same contract.

What an adapter finds different here: it is told of its Things by the node; devices that authenticate themselves
(`authorise`) are not known here, so adapters poll their devices; a listener stays on loopback, without TLS.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import structlog

from gridspine.apps.edge.book import OrderBook
from gridspine.apps.edge.buffer import Buffer, Record
from gridspine.apps.edge.documents import AdapterStore, Documents
from gridspine.apps.edge.exception import Exceptions
from gridspine.apps.edge.requests import EdgeRequests
from gridspine.apps.edge.wire import Ask, ServedThing
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.secret import adapter_secrets
from gridspine.infra.runtime.takers import Takers
from gridspine.infra.runtime.tasks import Supervisor
from gridspine.infra.runtime.waiting import Change
from gridspine.kernel.errors import GridspineError, Invalid, Unavailable
from gridspine.kernel.readings import Channel, ItemProblem, NamedReadings
from gridspine.things.adapter import (
    ActionRequest,
    Adapter,
    Application,
    Binding,
    Connection,
    Introduced,
    Order,
    Outcome,
    PrivateStore,
    ProgressState,
    ReadRequest,
    RequestEnd,
    Source,
    WireTrace,
)
from gridspine.things.adapter_host import Listeners, installed
from gridspine.things.adapter_notices import Notices
from gridspine.things.wire_trace import SilentTrace

MAX_PROBLEMS = 100
MAX_READS = 1_000
"""Requests to read that may wait."""
_RELEASE_S = 0.5
log = structlog.get_logger(__name__)


class Latest:
    """The last value of every point, for rules: observed time [µs], value, quality."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[int, float, int]] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Note readings."""
        for one in records:
            known = self.values.get(one.point)
            if known is None or known[0] <= one.observed_us:
                self.values[one.point] = (one.observed_us, one.value, one.quality)


class AdapterHost:
    """Runs the adapters that the node's Things name and ``settings`` allow."""

    def __init__(
        self,
        clock: Clock,
        documents: Documents,
        buffer: Buffer,
        book: OrderBook,
        *,
        allow: Sequence[str],
        settings: Mapping[str, Mapping[str, Any]],
        adapters: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a host; ``adapters`` by name makes those of a test."""
        self.clock, self.documents, self.buffer, self.book = clock, documents, buffer, book
        self.exceptions, self.latest = Exceptions(), Latest()
        self._allow, self._settings, self._adapters = allow, settings, adapters
        self._supervisor = Supervisor(clock)
        self._running: set[str] = set()
        self.bindings = Change()
        """What adapters serve, as the node tells it."""
        self.things: dict[str, ServedThing] = {}
        self._reads: Takers[ReadRequest] = Takers(MAX_READS)
        self.reads_ended: dict[str, str] = {}
        """Requests to read that are over, and what was wrong with them, by id."""
        self.news = asyncio.Event()
        """Set when a request to read, or to carry out an action, is over."""
        self.requests = EdgeRequests(clock, self.news.set)
        self.missing: dict[str, str] = {}
        """Why an adapter that a Thing names does not run."""

    def serve(self, things: Sequence[ServedThing]) -> None:
        """Serve these Things from now on; adapters they name are started, those they no longer name have none."""
        self.things = {thing.id: thing for thing in things}
        self.exceptions.serve(things)
        self.latest.values = {
            name: value for name, value in self.latest.values.items() if name.rpartition("/")[0] in self.things
        }
        for name in sorted({thing.adapter for thing in things} - self._running):
            self._start(name)
        self.bindings.tell()

    def states(self) -> dict[str, str]:
        """Return what is wrong with each adapter, "" for nothing."""
        return {state.name: state.error for state in self._supervisor.states()} | self.missing

    def read(self, request: ReadRequest) -> None:
        """Have a device read at once."""
        thing = self.things.get(request.thing)
        if thing is None or not self._reads.put(thing.adapter, request):
            self.read_ended(request.id, "the edge cannot read this Thing on request")

    def ask(self, said: Ask) -> None:
        """Have an action carried out."""
        thing = self.things.get(said.thing)
        self.requests.ask(said, thing.adapter if thing is not None else "")

    def read_ended(self, id: str, problem: str = "") -> None:
        """Note that a request to read is over."""
        if len(self.reads_ended) < MAX_READS:
            self.reads_ended[id] = problem[:500]
            self.news.set()

    def reads(self, adapter: str) -> AsyncIterator[ReadRequest]:
        """Yield requests to read Things of ``adapter``."""
        return self._reads.taken(adapter)

    async def take(self, records: list[Record], *, backfill: bool = False) -> int:
        """Keep what is to be reported of ``records``; return how many that are. Raises `DiskFull`."""
        chosen = records if backfill else self.exceptions.passed(records)
        try:
            await self.buffer.keep(chosen, backfill=backfill)
        except GridspineError:
            self.exceptions.forget(chosen)
            raise
        if not backfill:
            self.latest.take(records)
        return len(chosen)

    async def release(self) -> None:
        """Report what was held back, when its time has come; until cancelled."""
        while True:
            await self.clock.sleep(_RELEASE_S)
            due = self.exceptions.due(self.clock.now_us())
            try:
                await self.buffer.keep(due)
            except GridspineError as error:
                self.exceptions.forget(due)
                log.warning("readings held back could not be kept", why=error.detail)

    async def close(self) -> None:
        """End the adapters."""
        await self._supervisor.close()

    def _start(self, name: str) -> None:
        if name not in self._allow:
            self.missing[name] = f"the edge does not allow adapter {name!r}: name it in `adapters` of its settings"
            return
        make = (self._adapters if self._adapters is not None else installed()).get(name)
        if make is None:
            self.missing[name] = f"adapter {name!r} is not installed at the edge"
            return
        try:
            adapter: Adapter = make()
        except Invalid as error:
            self.missing[name] = error.detail
            return
        self.missing.pop(name, None)
        self._running.add(name)
        self._supervisor.start(name, lambda: self._run(name, adapter))

    async def _run(self, name: str, adapter: Adapter) -> None:
        context = EdgeContext(self, name, self._settings.get(name, {}))
        try:
            await adapter.run(context)
        finally:
            await context.close()


class EdgeContext:
    """The `gridspine.things.adapter.AdapterContext` of one adapter at the edge."""

    def __init__(self, host: AdapterHost, name: str, settings: Mapping[str, Any]) -> None:
        self.clock = host.clock
        self.settings = settings
        self.secrets: Mapping[str, str] = adapter_secrets(name)
        self.store: PrivateStore = AdapterStore(host.documents, name)
        self.keyring: PrivateStore = AdapterStore(host.documents, f"{name}:keyring")
        self.trace: WireTrace = SilentTrace()
        self._host, self._name = host, name
        self._listeners = Listeners(settings)

    def bindings(self) -> Sequence[Binding]:
        """Return the Things this adapter serves here."""
        self._host.bindings.look()
        return [
            Binding(one.id, one.title, one.organisation, one.model, one.connection, tuple(p.name for p in one.points))
            for one in self._host.things.values()
            if one.adapter == self._name
        ]

    async def bindings_changed(self) -> None:
        """Return when the node told of other Things."""
        await self._host.bindings.wait()

    async def intake(
        self,
        readings: NamedReadings,
        source: Source,
        *,
        channel: Channel = Channel.REPORTED,
        backfill: bool = False,
    ) -> Outcome:
        """Keep readings for the node; durable when this returns. Raises `DiskFull` when no more are taken.

        *Accepted* says that the edge has it: what the node makes of it, its own quarantine says.
        """
        if channel is not Channel.REPORTED:
            raise Invalid("channel: the edge takes what devices report, nothing else")
        records, problems = self._records(readings)
        kept = await self._host.take(records, backfill=backfill)
        return Outcome(readings.received, kept, len(records) - kept, 0, len(problems), tuple(problems[:MAX_PROBLEMS]))

    def source_of(self, thing: str) -> Source:
        """Return the source for a device that the edge polls."""
        name = f"adapter:{self._name}:{thing}"
        return Source(name, self._host.things[thing].organisation, name)

    async def authorise(self, username: str, password: str, certificate_der: bytes | None = None) -> Source | None:
        """Return None: devices that prove themselves are known at the node only."""
        return None

    def may_publish(self, source: Source, thing: str) -> bool:
        """Whether ``source`` is this adapter on behalf of ``thing``."""
        return thing in self._host.things and source == self.source_of(thing)

    def things_of(self, source: Source) -> Sequence[str]:
        """Return the Thing that this adapter is ``source`` on behalf of."""
        thing = source.principal.split(":", 2)[-1]
        return [thing] if self.may_publish(source, thing) else []

    def orders(self) -> AsyncIterator[Order]:
        """Yield orders for this adapter's Things."""
        return self._host.book.orders(self._name)

    def reads(self) -> AsyncIterator[ReadRequest]:
        """Yield the node's requests to read Things of this adapter at once."""
        return self._host.reads(self._name)

    async def announce(self, source: Source, said: Introduced) -> None:
        """Raise `Unavailable`: whom the node does not know, the edge has never been told of."""
        raise Unavailable("an edge takes no devices in: let them announce themselves to the node")

    def requests(self) -> AsyncIterator[ActionRequest]:
        """Yield the node's requests to carry out actions of this adapter's Things."""
        return self._host.requests.requests(self._name)

    def request_ended(self, id: str, state: RequestEnd = "done", output: Any = None, reason: str = "") -> None:
        """Tell the node that a request is over."""
        self._host.requests.end(id, state, output, reason, self._name)

    def read_ended(self, id: str, problem: str = "") -> None:
        """Tell the node that a request is over, after what was read."""
        self._host.read_ended(id, problem)

    async def progress(self, command: str, state: ProgressState, reason: str = "", *, sequence: int = 0) -> None:
        """Record how far an order got; the node is told when it can be."""
        await self._host.book.report(command, state, reason, sequence=sequence)

    async def listen(self, name: str, on_connection: Connection) -> tuple[str, int]:
        """Open the listener ``name`` of the adapter's section, on loopback."""
        beyond = f"adapter {self._name}, {name}: at the edge listeners stay on loopback, without TLS"
        if self._listeners.tls(name):
            raise Invalid(beyond)
        return await self._listeners.open(name, on_connection, beyond=beyond)

    async def serve(self, name: str, app: Application) -> tuple[str, int]:
        """Refuse: who serves HTTP has its clients' standing to ask for, which is known at the node only."""
        raise Invalid(f"adapter {self._name}, {name}: an edge serves no HTTP; run this adapter at the node")

    @property
    def controls(self) -> NoReturn:
        """Raise `Unavailable`: there are no documents here."""
        raise Unavailable(f"adapter {self._name}: an edge knows no programmes; run this adapter at the node")

    @property
    def notices(self) -> Notices:
        """None: no adapter here has clients to tell."""
        return Notices()

    def issue_token(self, source: Source, *, life_s: int = 300) -> NoReturn:
        """Raise `Unavailable`: tokens are made at the node only."""
        raise Unavailable(f"adapter {self._name}: an edge makes no tokens; run this adapter at the node")

    def by_token(self, token: str) -> NoReturn:
        """Raise `Unavailable`: tokens are known at the node only."""
        raise Unavailable(f"adapter {self._name}: an edge knows no tokens; run this adapter at the node")

    async def close(self) -> None:
        """Close the listeners that were opened."""
        await self._listeners.close()

    def _records(self, readings: NamedReadings) -> tuple[list[Record], list[ItemProblem]]:
        """Return readings one by one (they are few here), and those that are nobody's."""
        problems = list(readings.problems)
        names, units = [readings.names[at] for at in range(len(readings.names))], readings.units
        known = [self._serves(name) for name in names]
        rows = zip(
            np.asarray(readings.name_index).tolist(), readings.item.tolist(), readings.observed_us.tolist(),
            readings.value.tolist(), readings.quality.tolist(), strict=True,
        )  # fmt: skip
        records = []
        for at, item, observed_us, value, quality in rows:
            if known[at]:
                records.append(Record(names[at], units[at], observed_us, value, quality))
            else:
                problems.append(ItemProblem(item, "unknown-point", "the edge serves no such point", names[at]))
        return records, problems

    def _serves(self, name: str) -> bool:
        thing, _, point = name.rpartition("/")
        found = self._host.things.get(thing)
        return found is not None and found.adapter == self._name and any(p.name == point for p in found.points)
