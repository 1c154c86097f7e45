"""Delivery: from history to live at one offset, under a grant that is asked before every parcel.

::

    log ───────●────────●────────●────────●─ ─ ─►        hub publishes what was committed, in order
               cursor   │        └ live from here: the subscription's queue
                        └ read from the log until the queue's first position

A subscription joins the hub *before* it reads history, so nothing falls between; when its queue overflows while it
catches up or because the consumer is slow, it reads on from the log and joins again: `Subscription.behind` counts
that, so that the consumer can be told. Nothing is lost, and nothing comes twice.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from gridspine.infra.log.port import EventLog, Position, Stored
from gridspine.infra.log.topics import READINGS
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.errors import Gone, Invalid
from gridspine.kernel.readings import Readings
from gridspine.sharing.cursor import Offsets, format_cursor
from gridspine.sharing.gate import STALE, Gate
from gridspine.sharing.parcel import Mask, Parcel

MAX_WAITING_READINGS = 200_000
"""Readings that may wait for one slow consumer."""
_HISTORY_BYTES = 2 << 20
_SCANNED_BYTES = 64 << 20
"""Bytes of the log that one pull looks through at most."""
_STALE_LOOK_S = 0.05
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """Why a stream ended, and the cursor to go on from (where it may)."""

    reason: str
    offsets: Offsets


class Hub:
    """Hands committed batches to live subscriptions; lives on the event loop."""

    def __init__(self, next_offsets: Offsets) -> None:
        self._next = dict(next_offsets)
        self._by_product: dict[tuple[str, int], dict[Subscription, None]] = {}  # in order, as in the gate
        self._open: Counter[str] = Counter()
        self.delivered = 0

    @property
    def next_offsets(self) -> Offsets:
        """The next offset of each partition that will be published."""
        return dict(self._next)

    def publish(self, position: Position, readings: Readings) -> None:
        """Pass on a batch that the log has; each product's parcel is made once.

        After a gap, and where a product's parcel cannot be made, its subscriptions read on from the log.
        """
        expected = self._next.get(position.partition, position.offset)
        if position.offset < expected:
            return  # passed over before: whoever wants it reads it in the log
        whole = position.offset == expected
        self._next[position.partition] = position.offset + 1
        for key, subscriptions in list(self._by_product.items()):
            try:
                parcel = _picked(next(iter(subscriptions)).mask, position, readings) if whole else None
            except Exception:  # the other products' subscribers get theirs
                log.exception("a batch could not be picked for a product: its subscribers read the log", product=key[0])
                parcel = None
            for subscription in list(subscriptions):
                if parcel is None:
                    subscription.lag()
                elif len(parcel):
                    subscription.offer(parcel)

    def skip(self, next_offsets: Offsets) -> None:
        """Note that batches before ``next_offsets`` are in the log and will not be published: they are read there."""
        if any(self._next.get(partition, 0) < offset for partition, offset in next_offsets.items()):
            self._next.update(next_offsets)
            for subscriptions in self._by_product.values():
                for subscription in list(subscriptions):
                    subscription.lag()

    def join(self, subscription: "Subscription") -> Offsets:
        """Add a live subscription; returns the offsets from which it gets everything."""
        key = (subscription.mask.product, subscription.mask.version)
        self._by_product.setdefault(key, {})[subscription] = None
        return self.next_offsets

    def leave(self, subscription: "Subscription") -> None:
        """Take a subscription out."""
        key = (subscription.mask.product, subscription.mask.version)
        members = self._by_product.get(key)
        if members is not None:
            members.pop(subscription, None)
            if not members:
                del self._by_product[key]

    def cut_thing(self, thing: str, reason: str) -> None:
        """End the subscriptions that have points of ``thing``: what they know of its numbers holds no more."""
        prefix = f"{thing}/"
        for subscriptions in list(self._by_product.values()):
            if any(name.startswith(prefix) for name in next(iter(subscriptions)).mask.names):
                for subscription in list(subscriptions):
                    subscription.cut(reason)

    def opened(self, who: str) -> Callable[[], None]:
        """Count a subscription of ``who`` from now until the function returned is called."""
        self._open[who] += 1
        return lambda: self._closed(who)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions are open, whether they read history yet or follow live."""
        return self._open.total()

    def subscriptions_of(self, who: str) -> int:
        """Return how many subscriptions of ``who`` are open."""
        return self._open[who]

    def _closed(self, who: str) -> None:
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]


class Subscription:
    """One consumer's stream under one grant. Iterate `parcels`; `end` says how it ended.

    It counts as open, for ``who``, from its making until it is closed.
    """

    def __init__(
        self, hub: Hub, log: EventLog, gate: Gate, grant: str, mask: Mask, offsets: Offsets, who: str = ""
    ) -> None:
        self.mask = mask
        self.end: End | None = None
        self.behind = 0
        """How often the queue was given up for the log."""
        self.on_cut: Callable[[], None] | None = None
        self._hub = hub
        self._log = log
        self._gate = gate
        self._grant = grant
        self._offsets = dict(offsets)
        self._queue: deque[Parcel] = deque()
        self._waiting = 0
        self._overflowed = False
        self._wake = asyncio.Event()
        self._unwatch = gate.watch(grant, self.cut)
        self._closed: Callable[[], None] | None = hub.opened(who)

    @property
    def offsets(self) -> Offsets:
        """The cursor after what was handed out."""
        return dict(self._offsets)

    def offer(self, parcel: Parcel) -> None:
        """Queue a live parcel; beyond the bound the queue is given up, and the log is read instead."""
        if self._overflowed:
            return
        if self._waiting + len(parcel) > MAX_WAITING_READINGS and self._queue:
            self._overflowed = True
            self.behind += 1
        else:
            self._queue.append(parcel)
            self._waiting += len(parcel)
        self._wake.set()

    def lag(self) -> None:
        """Give the queue up for the log: something that should have come through it did not."""
        if not self._overflowed:
            self._overflowed = True
            self.behind += 1
        self._wake.set()

    def cut(self, reason: str) -> None:
        """End the stream now: nothing more is handed out."""
        if self.end is None:
            self.end = End(reason, self.offsets)
            self._queue.clear()
            self._wake.set()
            if self.on_cut is not None:
                self.on_cut()

    def close(self) -> None:
        """Leave hub and gate."""
        self._hub.leave(self)
        self._unwatch()
        if self._closed is not None:
            self._closed()
            self._closed = None

    async def parcels(self) -> AsyncGenerator[Parcel, None]:
        """Yield parcels from the cursor on, history first, then live, until the stream is cut or closed.

        A stream whose place in the log was trimmed meanwhile ends with the reason *gone*.
        """
        try:
            while self.end is None:
                self._queue.clear()
                self._waiting = 0
                self._overflowed = False
                live_from = self._hub.join(self)
                async for parcel in self._history(live_from):
                    yield parcel
                if not self._overflowed:
                    async for parcel in self._live():
                        yield parcel
                self._hub.leave(self)
        except Gone:
            self.cut("gone")
        finally:
            self.close()

    async def _history(self, until: Offsets) -> AsyncIterator[Parcel]:
        """Yield what lies before ``until`` only: the hub's queue has everything from there on."""
        for partition, end in sorted(until.items()):
            at = self._offsets.get(partition, 0)
            while at < end and not await self._shut():
                parcels = await asyncio.to_thread(_read, self._log, self.mask, partition, at, end)
                at = end
                for parcel in parcels:
                    if await self._shut():
                        return
                    at = self._offsets[partition] = parcel.position.offset + 1
                    if len(parcel):
                        yield parcel
            if self.end is not None:
                return
            self._offsets[partition] = max(at, self._offsets.get(partition, 0))

    async def _live(self) -> AsyncIterator[Parcel]:
        while not await self._shut():
            if self._queue:
                parcel = self._queue.popleft()
                self._waiting -= len(parcel)
                if parcel.position.offset < self._offsets.get(parcel.position.partition, 0):
                    continue
                self._offsets[parcel.position.partition] = parcel.position.offset + 1
                yield parcel
            elif self._overflowed:
                return  # read on from the log: the cursor stands before what was dropped
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _shut(self) -> bool:
        """Whether the stream is over. While the gate is not sure of its grants, nothing is handed out: this waits."""
        while self.end is None:
            reason = self._gate.why_shut(self._grant)
            if reason != STALE:
                if reason:
                    self.cut(reason)
                break
            await asyncio.sleep(_STALE_LOOK_S)
        return self.end is not None


def _picked(mask: Mask, position: Position, readings: Readings) -> Parcel:
    return Parcel(mask, position, mask.pick(readings))


def _read(log: EventLog, mask: Mask, partition: int, at: int, end: int) -> list[Parcel]:
    """Return parcels (empty ones too) of some records from ``at`` on and before ``end``; blocks."""
    records = log.read(READINGS, partition, at, max_records=min(200, end - at), max_bytes=_HISTORY_BYTES)
    return [_parcel(mask, record) for record in records if record.position.offset < end]


def _parcel(mask: Mask, record: Stored) -> Parcel:
    return Parcel(mask, record.position, mask.pick(decode_batch(record.body)))


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A pull: parcels, and the cursor for the next one."""

    parcels: list[Parcel]
    offsets: Offsets


def pull(log: EventLog, mask: Mask, offsets: Offsets, limit: int) -> Page:
    """Return up to about ``limit`` readings (whole batches) from the cursor on; blocks.

    Only so much of the log is looked through: a page may hold less, or nothing, though more follows its cursor.
    """
    found: list[Parcel] = []
    at = dict(offsets)
    count = scanned = 0
    for partition, (first, following) in enumerate(log.bounds(READINGS)):
        at.setdefault(partition, first)
        while at[partition] < following and count < limit and scanned < _SCANNED_BYTES:
            records = log.read(READINGS, partition, at[partition], max_records=50, max_bytes=_HISTORY_BYTES)
            if not records:
                break
            for record in records:
                parcel = _parcel(mask, record)
                at[partition] = record.position.offset + 1
                scanned += len(record.body)
                if len(parcel):
                    found.append(parcel)
                    count += len(parcel)
                if count >= limit:
                    break
    return Page(found, at)


def check_place(log: EventLog, offsets: Offsets) -> None:
    """Raise `Gone` for a cursor below what the log still holds, `Invalid` for one that this log never gave."""
    bounds = log.bounds(READINGS)
    for partition, offset in offsets.items():
        if partition >= len(bounds) or offset > bounds[partition][1]:
            raise Invalid("the cursor is ahead of this node's log: it was restored, or the cursor is another node's")
        if offset < bounds[partition][0]:
            raise Gone(
                "the log does not hold what follows this cursor any more: begin without one, or ask for history",
                cursor=format_cursor({p: first for p, (first, _) in enumerate(bounds)}),
            )
