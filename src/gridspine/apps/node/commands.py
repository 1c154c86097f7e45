"""Commands at work: the `Commander`'s events made durable before they are applied, its orders sent after.

::

    request ─► events ─► log "commands" ─► apply ─► orders ─► adapter
                                            └─► accepted, applied, ended … ─► ledger (receipts)
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec
import structlog

from gridspine.infra.log.port import EventLog, Record
from gridspine.infra.log.writer import LogWriter, append
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.errors import Unavailable
from gridspine.things.adapter import Order, ProgressState
from gridspine.things.command import (
    Command,
    CommandChanged,
    CommandEvent,
    OrderIssued,
    decode_event,
    encode_event,
    event_key,
)
from gridspine.things.commander import Commander
from gridspine.things.directory import Directory
from gridspine.things.intake import Committed
from gridspine.things.lease import Lease
from gridspine.things.model import LeaseRule
from gridspine.things.point import PointTable

COMMANDS, LEDGER = "commands", "ledger"
_RECEIPTED = {"accepted", "refused", "applied", "ended", "expired", "cancelled", "rejected", "failed"}
_ORDERS_WAITING = 10_000
log = structlog.get_logger(__name__)


class Commands:
    """Asks, keeps and sends; one change at a time."""

    def __init__(
        self, log_: EventLog, writer: LogWriter, directory: Directory, points: PointTable, clock: Clock
    ) -> None:
        self._log = log_
        self._writer = writer
        self._directory = directory
        self._points = points
        self._clock = clock
        self._lock = asyncio.Lock()
        self._queues: dict[str, asyncio.Queue[Order]] = {}
        self.commander = Commander(self._rule_of, self._number_of)

    def load(self) -> None:
        """Replay the topic; blocks."""
        at, end = self._log.bounds(COMMANDS)[0]
        while at < end:
            records = self._log.read(COMMANDS, 0, at)
            for record in records:
                self.commander.apply(decode_event(record.body))
            at = records[-1].position.offset + 1 if records else end

    async def request(self, lease: Lease, key: str) -> Command:
        """Ask for a lease; return the command, accepted or refused, once that is durable."""
        async with self._lock:
            command, events = self.commander.request(lease, key, self._clock.now_us())
            await self._keep(events)
        await self.tick()
        return self.commander.command(command.id)

    async def cancel(self, id: str, reason: str) -> Command:
        """End a command before its time."""
        async with self._lock:
            await self._keep(self.commander.cancel(id, self._clock.now_us(), reason))
        await self.tick()
        return self.commander.command(id)

    async def all_stop(self, principal: str, reason: str) -> None:
        """Cancel every set-point and take no new one until `release`."""
        async with self._lock:
            await self._keep(self.commander.all_stop(principal, reason, self._clock.now_us()))
        await self.tick()

    async def release(self, principal: str, reason: str) -> None:
        """Take set-points again."""
        async with self._lock:
            await self._keep(self.commander.release(principal, reason, self._clock.now_us()))

    async def progress(self, command: str, state: ProgressState, reason: str = "") -> None:
        """Note how far an order got."""
        async with self._lock:
            await self._keep(self.commander.on_progress(command, state, self._clock.now_us(), reason))

    async def tick(self) -> None:
        """Let time do its work: leases end, orders go out."""
        async with self._lock:
            while events := self.commander.tick(self._clock.now_us()):
                await self._keep(events)

    def on_committed(self, committed: Committed) -> None:
        """Confirm commands by the readings that show them."""
        events = self.commander.on_readings(committed.screened.accepted)
        if events:
            task = asyncio.ensure_future(self._keep_confirmed(events))
            task.add_done_callback(_say_failure)

    async def orders(self, adapter: str) -> AsyncIterator[Order]:
        """Yield the orders for Things of ``adapter``: those in force first, then each new one."""
        queue: asyncio.Queue[Order] = asyncio.Queue(_ORDERS_WAITING)
        self._queues[adapter] = queue
        try:
            for order in self.commander.in_force(self._clock.now_us()):
                if self._directory.get(order.thing).adapter == adapter:
                    yield order
            while True:
                yield await queue.get()
        finally:
            if self._queues.get(adapter) is queue:
                del self._queues[adapter]

    def new_lease(self, **fields: Any) -> Lease:
        """Return a lease with ids and time of asking filled in."""
        return Lease(id=new_urn(self._clock), command=new_urn(self._clock), issued_us=self._clock.now_us(), **fields)

    async def _keep_confirmed(self, events: Sequence[CommandEvent]) -> None:
        async with self._lock:
            # A command may have ended between the reading and this turn: ask again what still holds.
            still = [
                event
                for event in events
                if isinstance(event, CommandChanged) and not self.commander.command(event.command.id).final
            ]
            await self._keep(still)

    async def _keep(self, events: Iterable[CommandEvent]) -> None:
        """Append, then apply, then send; when the append fails, nothing has happened."""
        events = tuple(events)
        if not events:
            return
        now_us = self._clock.now_us()
        records = [Record(COMMANDS, event_key(event).encode(), encode_event(event), now_us) for event in events]
        records += [record for event in events for record in self._receipted(event)]
        await append(self._writer, records, source="commands")
        for event in events:
            self.commander.apply(event)
            if isinstance(event, OrderIssued):
                self._send(event.order)

    def _receipted(self, event: CommandEvent) -> list[Record]:
        if not isinstance(event, CommandChanged) or event.command.state not in _RECEIPTED:
            return []
        command, now_us = event.command, self._clock.now_us()
        data = {"state": command.state, "reason": command.reason, "lease": msgspec.to_builtins(command.lease)}
        entry = Event(
            new_id(self._clock), f"command.{command.state}", now_us, command.id, command.lease.principal, data
        )
        return [Record(LEDGER, command.lease.thing.encode(), msgspec.json.encode(entry), now_us)]

    def _send(self, order: Order) -> None:
        queue = self._queues.get(self._directory.get(order.thing).adapter)
        if queue is None:
            return  # no adapter runs: it is told of orders in force when it starts
        try:
            queue.put_nowait(order)
        except asyncio.QueueFull:
            log.error("an adapter does not take its orders", thing=order.thing)
            raise Unavailable("the adapter of this Thing does not take orders now") from None

    def _rule_of(self, thing: str, point: str) -> LeaseRule | None:
        found = self._points.thing_points(thing)
        if found is None:
            return None
        return next((p.lease for p in found[1].points if p.name == point), None)

    def _number_of(self, thing: str, point: str) -> int | None:
        number = self._points.number(f"{thing}/{point}")
        return None if number < 0 else number


def _say_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a confirmation of a command could not be kept", error=str(task.exception()))
