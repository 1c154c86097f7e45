"""One adapter on the bench: run against its rig, under virtual time, by a node that remembers what it was asked for."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from structlog.testing import capture_logs

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.testing.node import DictStore, FakeNode
from gridspine.testing.pace import Pace
from gridspine.testing.quality import Quality
from gridspine.testing.rig import Rig, Sample
from gridspine.testing.verdict import Failed
from gridspine.things.adapter import Adapter, Order

BEGIN_S = 600.0
"""Virtual time until the first reading must have come [s]."""


class WatchedSecrets(Mapping[str, str]):
    """Secrets that remember which of them were asked for."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._secrets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)


class WatchedStore(DictStore):
    """A store that remembers that it was written."""

    written = False

    async def put(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key``."""
        self.written = True
        await super().put(key, value)


@dataclass
class Run:
    """An adapter that runs: its node, its device, and the time."""

    node: FakeNode
    rig: Rig
    pace: Pace
    clock: VirtualClock
    bounds_s: float
    secrets: WatchedSecrets
    store: WatchedStore

    def has(self, sample: Sample, since: int = 0) -> bool:
        """Whether the node was given the sample, after so many other readings."""
        return any(one.point == sample.point and one.value == sample.value for one in self.node.stored[since:])

    async def arrives(self, sample: Sample, what: str, within_s: float = BEGIN_S) -> None:
        """Have the device measure ``sample`` and wait for it at the node."""
        since = len(self.node.stored)
        await self.rig.measure(sample)
        await self.pace.until(lambda: self.has(sample, since), what, within_s)

    def order(self, value: float, for_s: float = 600.0, sequence: int = 1) -> Order:
        """Return an order that holds for ``for_s`` [s] from now."""
        return self.rig.order(value, self.clock.now_us() + round(for_s * 1e6), sequence)


@dataclass
class Bench:
    """What is judged: ``make`` makes the adapter, ``make_rig`` its device; ``quality`` is what it says of itself."""

    name: str
    make: Callable[[], Adapter]
    make_rig: Callable[[], Rig]
    quality: Quality
    patience_s: float = 5.0

    @contextlib.asynccontextmanager
    async def running(
        self, *, rig: Rig | None = None, store: WatchedStore | None = None, orders: tuple[Order, ...] = ()
    ) -> AsyncIterator[Run]:
        """Run the adapter against ``rig``, a new one unless one is given: that is started already, and goes on."""
        device = rig or self.make_rig()
        clock, secrets, store = VirtualClock(), WatchedSecrets(device.secrets), store or WatchedStore()
        node = FakeNode((), settings=device.settings, secrets=device.secrets, clock=clock, store=store)
        node.secrets = secrets
        node.traced.turn_on(3600)
        await device.start(node)
        node.set_bindings(device.bindings())
        for order in orders:
            node.order(order)
        task = asyncio.create_task(self.make().run(node), name=f"adapter {self.name}")

        def look() -> None:
            if task.done():
                raise Failed(f"it ended by itself: {_why(task)}")

        pace = Pace(clock, look, self.patience_s)
        run = Run(node, device, pace, clock, self.quality.bounds.recovery_s, secrets, store)
        try:
            await device.join(node)
            yield run
        finally:
            try:
                await self._end(task)
            finally:
                with contextlib.suppress(Exception):
                    await node.close()
                await device.stop()

    async def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task], timeout=max(2.0, self.patience_s))
        if not task.done():
            raise Failed("cancelled, it did not end")
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), Failed):
            raise Failed(f"cancelled, it ended otherwise: {_why(task)}")

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[str]]:
        """Collect what is logged meanwhile, by the library or by structlog."""
        said: list[str] = []

        class Taken(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                said.append(record.getMessage() + (str(record.exc_info[1]) if record.exc_info else ""))

        root, handler = logging.getLogger(), Taken(logging.DEBUG)
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            with capture_logs() as entries:
                yield said
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            said += [repr(entry) for entry in entries]


def _why(task: asyncio.Task[Any]) -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if error else "it returned"
