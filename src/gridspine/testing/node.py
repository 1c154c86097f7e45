"""`FakeNode`: an `AdapterContext` for adapter tests, with real sockets, a store that survives restarts and a gate.

It is no mock of a wire: devices connect to real sockets. It only stands where the node's intake, registry and
control would be, so that a test can hold a commit back, refuse it, or ask what was stored.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gridspine.infra.runtime.clock import Clock, SystemClock
from gridspine.kernel.errors import Unauthenticated, Unavailable
from gridspine.kernel.readings import Channel, ItemProblem, NamedReadings
from gridspine.testing.serving import serve
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
from gridspine.things.adapter_notices import Notices
from gridspine.things.wire_trace import RingTrace


@dataclass(frozen=True)
class Stored:
    """One reading that intake made durable."""

    point: str
    value: float
    unit: str
    observed_us: int
    quality: int
    source: Source
    channel: Channel
    backfill: bool


@dataclass
class DictStore:
    """A private store; hand the same one to a second `FakeNode` to play a restart."""

    content: dict[str, bytes] = field(default_factory=dict)

    async def get(self, key: str) -> bytes | None:
        """Return what was put under ``key``, or None."""
        await asyncio.sleep(0)
        return self.content.get(key)

    async def put(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key``; None forgets it."""
        await asyncio.sleep(0)
        if value is None:
            self.content.pop(key, None)
        else:
            self.content[key] = value

    async def items(self) -> Mapping[str, bytes]:
        """Return all that is kept."""
        await asyncio.sleep(0)
        return dict(self.content)


class FakeNode:
    """An `AdapterContext`.

    ``things`` are served; ``users`` maps (username, password) and ``certificates`` a DER client certificate to the
    principal behind it; ``may`` maps a principal to the Things it may publish for, ``organisations`` to its
    organisation ("org" without). ``gate`` closed holds every
    intake back, ``refusal`` set makes intake raise. ``port`` 0 is any free one. ``stored``, ``problems`` and
    ``progressed`` are what happened. ``controls`` are a real node's, handed in: their rules stand in one place.
    """

    def __init__(
        self,
        things: Sequence[Binding] = (),
        *,
        settings: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        store: DictStore | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        controls: Any = None,
    ) -> None:
        self.given_controls = controls
        self.notices = Notices()
        self.tokens: dict[str, Source] = {}
        self.clock: Clock = clock or SystemClock()
        self.settings: Mapping[str, Any] = settings or {}
        self.secrets: Mapping[str, str] = secrets or {}
        self.store: PrivateStore = store or DictStore()
        self.keyring: PrivateStore = DictStore()
        self.traced = RingTrace(self.clock, self.secrets.values())
        self.trace: WireTrace = self.traced
        self.users: dict[tuple[str, str], str] = {}
        self.certificates: dict[bytes, str] = {}
        self.may: dict[str, set[str]] = {}
        self.organisations: dict[str, str] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: Exception | None = None
        self.before_intake: Callable[[NamedReadings], None] = lambda _: None
        self.stored: list[Stored] = []
        self.problems: list[tuple[Source, ItemProblem]] = []
        self.progressed: list[tuple[str, ProgressState, str]] = []
        self.sequences: list[int] = []
        self.reading: asyncio.Queue[ReadRequest] = asyncio.Queue()
        self.read: dict[str, str] = {}
        self.announced: list[tuple[Source, Introduced]] = []
        self.requesting: asyncio.Queue[ActionRequest] = asyncio.Queue()
        self.requested: dict[str, tuple[RequestEnd, Any, str]] = {}
        self.waiting = 0
        self.most_waiting = 0
        self.most_readings_waiting = 0
        self._readings_waiting = 0
        self.address: dict[str, tuple[str, int]] = {}
        self._things = list(things)
        self._bindings_changed = asyncio.Event()
        self._in_force: dict[tuple[str, str], Order] = {}
        self._order_queues: list[asyncio.Queue[Order]] = []
        self._changed = asyncio.Condition()
        self._tls = tls
        self._host = host
        self._port = port
        self._servers: list[asyncio.Server] = []
        self._adapters: list[asyncio.Task[None]] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._requests: list[set[asyncio.Task[None]]] = []

    # -- what an adapter sees ---------------------------------------------------------------------------------

    def bindings(self) -> Sequence[Binding]:
        """Return the Things that are served now."""
        return tuple(self._things)

    async def bindings_changed(self) -> None:
        """Return after `set_bindings`."""
        await self._bindings_changed.wait()
        self._bindings_changed.clear()

    async def intake(
        self,
        readings: NamedReadings,
        source: Source,
        *,
        channel: Channel = Channel.REPORTED,
        backfill: bool = False,
    ) -> Outcome:
        """Store everything, once the gate is open; raise ``refusal`` where one is set."""
        self.before_intake(readings)
        if self.refusal is not None:
            raise self.refusal
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        self._readings_waiting += len(readings)
        self.most_readings_waiting = max(self.most_readings_waiting, self._readings_waiting)
        await self._notify()
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
            self._readings_waiting -= len(readings)
        if self.refusal is not None:
            raise self.refusal
        for at in range(len(readings)):
            pair = readings.name_index[at]
            self.stored.append(
                Stored(
                    readings.names[pair],
                    float(readings.value[at]),
                    readings.units[pair],
                    int(readings.observed_us[at]),
                    int(readings.quality[at]),
                    source,
                    channel,
                    backfill,
                )
            )
        self.problems += [(source, problem) for problem in readings.problems]
        await self._notify()
        refused = len(readings.problems)
        return Outcome(readings.received, len(readings), 0, 0, refused, tuple(readings.problems))

    def source_of(self, thing: str) -> Source:
        """Return a source made of the Thing's name."""
        return Source(f"adapter:{thing}", "org", f"poll:{thing}")

    async def authorise(self, username: str, password: str, certificate_der: bytes | None = None) -> Source | None:
        """Return the source of one of ``users`` or ``certificates``, or None."""
        await asyncio.sleep(0)
        principal = self.certificates.get(certificate_der) if certificate_der else None
        principal = principal or self.users.get((username, password))
        organisation = self.organisations.get(principal or "", "org")
        return Source(principal, organisation, f"session:{principal}") if principal else None

    @property
    def controls(self) -> Any:
        """What was handed in; raise `Unavailable` where nothing was."""
        if self.given_controls is None:
            raise Unavailable("this node knows no sites and programmes: hand it a real node's controls")
        return self.given_controls

    def issue_token(self, source: Source, *, life_s: int = 300) -> tuple[str, int]:
        """Return a token, kept in ``tokens``; it does not run out."""
        token = f"token-{len(self.tokens)}"
        self.tokens[token] = source
        return token, life_s

    def by_token(self, token: str) -> Source:
        """Return what a token of ``tokens`` was made for."""
        if token not in self.tokens:
            raise Unauthenticated("that is no token of this node")
        return self.tokens[token]

    def may_publish(self, source: Source, thing: str) -> bool:
        """Whether ``may`` says so."""
        return thing in self.may.get(source.principal, ())

    def things_of(self, source: Source) -> Sequence[str]:
        """Return what ``may`` says."""
        return sorted(self.may.get(source.principal, ()))

    async def orders(self) -> AsyncIterator[Order]:
        """Yield the orders in force, then what `order` issues."""
        queue: asyncio.Queue[Order] = asyncio.Queue()
        for order in self._in_force.values():
            queue.put_nowait(order)
        self._order_queues.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._order_queues.remove(queue)

    async def progress(self, command: str, state: ProgressState, reason: str = "", *, sequence: int = 0) -> None:
        """Note it in ``progressed`` and ``sequences``."""
        self.progressed.append((command, state, reason))
        self.sequences.append(sequence)
        await self._notify()

    async def reads(self) -> AsyncIterator[ReadRequest]:
        """Yield what a test puts into ``reading``."""
        while True:
            yield await self.reading.get()

    def read_ended(self, id: str, problem: str = "") -> None:
        """Note it in ``read``."""
        self.read[id] = problem

    async def announce(self, source: Source, said: Introduced) -> None:
        """Note it in ``announced``."""
        self.announced.append((source, said))
        await self._notify()

    async def requests(self) -> AsyncIterator[ActionRequest]:
        """Yield what a test puts into ``requesting``, and what `request` does."""
        while True:
            yield await self.requesting.get()

    def request_ended(self, id: str, state: RequestEnd = "done", output: Any = None, reason: str = "") -> None:
        """Note it in ``requested``, the first time."""
        self.requested.setdefault(id, (state, output, reason))

    async def listen(self, name: str, on_connection: Connection) -> tuple[str, int]:
        """Listen on ``host`` and ``port``, with ``tls`` where it was given."""
        server = await asyncio.start_server(
            lambda reader, writer: self._serve(on_connection, reader, writer), self._host, self._port, ssl=self._tls
        )
        return await self._opened(name, server)

    async def serve(self, name: str, app: Application) -> tuple[str, int]:
        """Serve on ``host`` and ``port``, with the section's own certificate or ``tls``."""
        section = self.settings.get(name, {})
        server, requests = await serve(app, section, self._host, self._port, self._tls)
        self._requests.append(requests)
        return await self._opened(name, server)

    async def _opened(self, name: str, server: asyncio.Server) -> tuple[str, int]:
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        self.address[name] = (host, port)
        await self._notify()
        return host, port

    # -- what a test does -------------------------------------------------------------------------------------

    def add_user(self, principal: str, password: str, *things: str, username: str | None = None) -> None:
        """Let ``principal`` sign in with ``username`` (its own name when not given) and publish for ``things``."""
        self.users[(username or principal, password)] = principal
        self.may.setdefault(principal, set()).update(things)

    def set_bindings(self, things: Sequence[Binding]) -> None:
        """Serve ``things`` from now on."""
        self._things = list(things)
        self._bindings_changed.set()

    def order(self, order: Order) -> None:
        """Issue ``order``; it is also what a restarted adapter is told first."""
        self._in_force[(order.thing, order.point)] = order
        for queue in self._order_queues:
            queue.put_nowait(order)

    async def request(
        self, thing: str, action: str, given: Any = None, *, lasts_s: float = 60.0
    ) -> tuple[RequestEnd, Any, str]:
        """Have an action carried out; return its end, output and reason."""
        id_ = f"request-{len(self.requested)}-{self.clock.monotonic_us()}"
        until_us = self.clock.now_us() + round(lasts_s * 1_000_000)
        self.requesting.put_nowait(ActionRequest(id_, thing, action, given, until_us))
        await self.until(lambda: id_ in self.requested)
        return self.requested[id_]

    @property
    def waiting_orders(self) -> int | None:
        """How many orders the adapter has not taken yet; None while it does not listen for any."""
        return sum(queue.qsize() for queue in self._order_queues) if self._order_queues else None

    async def until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Return once ``condition()`` holds; asked after every intake, progress and listener, and now and then."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._raise_failure()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05), self._changed:
                        await self._changed.wait()

    @contextlib.asynccontextmanager
    async def running(self, adapter: Adapter) -> AsyncIterator["FakeNode"]:
        """Run ``adapter`` until the block ends; its failure ends `until` and the block."""
        task = asyncio.create_task(adapter.run(self), name=f"adapter {adapter.name}")
        self._adapters.append(task)
        try:
            yield self
            self._raise_failure()
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=60)
            self._adapters.remove(task)
            assert task.done(), "the adapter did not end when cancelled"
            if not task.cancelled():
                task.exception()  # raised above, or hidden by the test's own failure
            await self.close()

    async def close(self) -> None:
        """Close listeners and what is left of their connections, as the node does when an adapter ends."""
        for server in self._servers:
            for sock in server.sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())
        for _ in range(3):  # who was just taken is given a transport and a task
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        ended = [one for tasks in (self._connections, *self._requests) for one in tasks]
        for one in ended:
            one.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def _raise_failure(self) -> None:
        for task in self._adapters:
            if task.done():
                task.result()
                raise AssertionError("the adapter returned by itself")

    def _serve(self, serve: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def run() -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError, ssl.SSLError):
                    await writer.wait_closed()

        task = asyncio.get_running_loop().create_task(run())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
