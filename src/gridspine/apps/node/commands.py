"""Commands at work: the `Commander`'s events made durable before they are applied, its orders sent after.

::

    request ─► events ─► log "commands" ─► apply ─► orders ─► adapter
                              └─ followed ─► accepted, applied, ended … ─► log "ledger" (receipts)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec
import structlog

from gridspine.apps.node.journey import Journeys
from gridspine.infra.log.checkpoint import Checkpoints
from gridspine.infra.log.port import EventLog, Record
from gridspine.infra.log.scan import scan
from gridspine.infra.log.writer import LogWriter, append
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import Clock, Steps, new_urn
from gridspine.infra.runtime.trace import NO_TRACE, Trace
from gridspine.kernel.errors import NotFound
from gridspine.things.adapter import Order, ProgressState
from gridspine.things.books import Committed
from gridspine.things.command import (
    Command,
    CommandChanged,
    CommandEvent,
    OrderIssued,
    become,
    decode_event,
    encode_event,
    event_key,
    may_become,
)
from gridspine.things.commander import Commander
from gridspine.things.directory import Directory
from gridspine.things.form import Forms
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
        self,
        log_: EventLog,
        writer: LogWriter,
        directory: Directory,
        points: PointTable,
        clock: Clock,
        checkpoints: Checkpoints,
        trace: Trace = NO_TRACE,
    ) -> None:
        self._log = log_
        self._writer = writer
        self._directory = directory
        self._points = points
        self._clock = clock
        self._steps = Steps(clock)
        self._checkpoints = checkpoints
        self._journeys = Journeys(trace)
        self._applied = 0
        self._behind = False
        self._lock = asyncio.Lock()
        self._confirming: set[asyncio.Task[None]] = set()
        self._queues: dict[str, asyncio.Queue[Order | None]] = {}
        self.listeners: list[Callable[[Sequence[CommandEvent]], None]] = []
        """Told of events once they are durable and applied."""
        self.forms = Forms()
        self.commander = Commander(self._rule_of, self._number_of)

    def load(self) -> None:
        """Take up the newest checkpoint and what the topic has beyond it; blocks."""
        self._applied, bodies = self._checkpoints.load(self._log.bounds(COMMANDS)[0][0])
        for event in map(decode_event, bodies):
            self.commander.apply(event)
        for event in self._missed():
            self.commander.apply(event)

    async def checkpoint(self) -> None:
        """Write down all commands as they are now, unless nothing happened since the last time."""
        async with self._turn():
            offset = self._applied
            if offset <= self._checkpoints.offset:
                return
            events = list(self.commander.snapshot())
        await asyncio.to_thread(lambda: self._checkpoints.save(offset, map(encode_event, events)))

    async def request(self, lease: Lease, key: str) -> Command:
        """Ask for a lease; return the command, accepted or refused, once that is durable."""
        async with self._turn():
            command, events = self.commander.request(lease, key, self._clock.now_us())
            self._journeys.begin(command.id)
            await self._keep(events)
        await self.tick()
        return self.commander.command(command.id)

    async def cancel(self, id: str, reason: str) -> Command:
        """End a command before its time."""
        async with self._turn():
            await self._keep(self.commander.cancel(id, self._clock.now_us(), reason))
        await self.tick()
        return self.commander.command(id)

    async def hand_over(
        self, things: Collection[str], reason: str, change: Callable[[Sequence[Order]], Awaitable[None]]
    ) -> list[Command]:
        """End all leases of ``things``, then ``change`` who carries out their orders; nothing is ordered in between.

        ``change`` is given the last orders in force. Returns the commands that were ended. When ``change`` fails the
        leases have ended all the same.
        """
        async with self._turn():
            now_us = self._clock.now_us()
            ended = [one for one in self.commander.commands() if one.lease.thing in things and not one.final]
            await self._keep(event for one in ended for event in self.commander.cancel(one.id, now_us, reason))
            while events := self.commander.tick(now_us):
                await self._keep(events)
            await change([order for order in self.commander.in_force(now_us) if order.thing in things])
            return ended

    async def all_stop(self, principal: str, reason: str) -> None:
        """Cancel every set-point and take no new one until `release`."""
        async with self._turn():
            await self._keep(self.commander.all_stop(principal, reason, self._clock.now_us()))
        await self.tick()

    async def release(self, principal: str, reason: str) -> None:
        """Take set-points again."""
        async with self._turn():
            await self._keep(self.commander.release(principal, reason, self._clock.now_us()))

    async def progress(self, command: str, state: ProgressState, reason: str = "") -> None:
        """Note how far an order got."""
        with self._journeys.step(state, [command]):
            async with self._turn():
                await self._keep(self.commander.on_progress(command, state, self._clock.now_us(), reason))

    async def tick(self) -> None:
        """Let time do its work: leases end, orders go out."""
        async with self._turn():
            step_us, _ = self._steps.take()
            if step_us:
                log.warning("the clock was set: leases in force last as long as they would have", step_us=step_us)
                await self._keep(self.commander.on_step(step_us, self._clock.now_us()))
            while events := self.commander.tick(self._clock.now_us()):
                await self._keep(events)

    def on_committed(self, committed: Committed) -> None:
        """Confirm commands by the readings that show them."""
        events = self.commander.on_readings(committed.screened.accepted)
        if events:
            task = asyncio.ensure_future(self._keep_confirmed(events))
            self._confirming.add(task)  # the loop itself holds tasks only weakly
            task.add_done_callback(self._confirming.discard)
            task.add_done_callback(_say_failure)

    async def orders(self, adapter: str) -> AsyncIterator[Order]:
        """Yield the orders for Things of ``adapter``: those in force first, then each new one."""
        queue: asyncio.Queue[Order | None] = asyncio.Queue(_ORDERS_WAITING)
        self._queues[adapter] = queue
        try:
            following: Order | None = None
            while True:
                if following is None:
                    now_us = self._clock.now_us()
                    for order in (*self.forms.owed(now_us), *self.commander.in_force(now_us)):
                        if self._taker(order) == adapter:
                            yield order
                else:
                    yield following
                following = await queue.get()
        finally:
            if self._queues.get(adapter) is queue:
                del self._queues[adapter]

    async def follow_receipts(self) -> None:
        """Put what became of each command into the ledger; a repetition after a crash is known by its id."""
        follower = self._log.follow("receipts", [COMMANDS])
        try:
            while True:
                records = await asyncio.to_thread(follower.poll, timeout_s=1.0)
                entries = [entry for record in records for entry in _receipted(decode_event(record.body))]
                if entries:
                    await append(self._writer, entries, source="commands")
                if records:
                    place = records[-1].position
                    await asyncio.to_thread(follower.commit, {(place.topic, place.partition): place.offset + 1})
        finally:
            follower.close()

    def new_lease(self, **fields: Any) -> Lease:
        """Return a lease with ids and time of asking filled in."""
        return Lease(id=new_urn(self._clock), command=new_urn(self._clock), issued_us=self._clock.now_us(), **fields)

    async def _keep_confirmed(self, events: Sequence[CommandEvent]) -> None:
        commands = [event.command.id for event in events if isinstance(event, CommandChanged)]
        with self._journeys.step("confirmed", commands):
            async with self._turn():
                await self._keep([shown for event in events for shown in self._still(event)])

    def _still(self, event: CommandEvent) -> list[CommandEvent]:
        """Return ``event`` on the command as it is now: it may have changed between the reading and this turn."""
        assert isinstance(event, CommandChanged)
        try:
            command = self.commander.command(event.command.id)
        except NotFound:
            return []
        if not may_become(command, event.command.state):
            return []
        return [CommandChanged(become(command, event.command.state, self._clock.now_us(), event.command.reason))]

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One change at a time, each upon all that the log has."""
        async with self._lock:
            if self._behind:
                await self._catch_up()
            yield

    async def _catch_up(self) -> None:
        """Take up what became durable although whoever waited for it was told otherwise, or had gone."""
        await append(self._writer, [], source="commands")  # what was queued before is durable now, or was refused
        missed = await asyncio.to_thread(self._missed)
        for event in missed:
            self.commander.apply(event)
        self._behind = False
        self._tell(missed)
        for event in missed:
            if isinstance(event, OrderIssued):
                self._send(event.order)

    def _missed(self) -> list[CommandEvent]:
        """Return the events beyond those applied, which count as applied from now on; blocks."""
        following = self._log.bounds(COMMANDS)[0][1]
        events = [decode_event(record.body) for record in scan(self._log, COMMANDS, 0, self._applied, following)]
        self._applied = following
        return events

    async def _keep(self, events: Iterable[CommandEvent]) -> None:
        """Append, then apply, then send; when the append fails, nothing has happened."""
        events = tuple(events)
        if not events:
            return
        now_us = self._clock.now_us()
        records = [Record(COMMANDS, event_key(event).encode(), encode_event(event), now_us) for event in events]
        self._behind = True  # until it is known what became of them: this may be cancelled while it waits
        with self._journeys.log():
            positions = await append(self._writer, records, source="commands")
        for event in events:
            self.commander.apply(event)
        self._applied, self._behind = positions[-1].offset + 1, False
        self._tell(events)
        for event in events:
            if isinstance(event, OrderIssued):
                self._send(event.order)

    def _tell(self, events: Sequence[CommandEvent]) -> None:
        for listener in self.listeners:
            listener(events)

    def _taker(self, order: Order) -> str:
        """Return who carries an order out: its Thing's adapter, or the emulator."""
        return self.forms.taker(order, self._directory.get(order.thing).adapter)

    def _send(self, order: Order) -> None:
        """Hand an order to its adapter; one that cannot take it now begins again with the orders in force."""
        try:
            queue = self._queues.get(self._taker(order))
        except NotFound:
            return
        if queue is None:
            return  # no adapter runs: it is told of orders in force when it starts
        if queue.full():
            log.error("an adapter does not take its orders; it is told those in force again", thing=order.thing)
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)
        else:
            queue.put_nowait(self._journeys.order(order))

    def _rule_of(self, thing: str, point: str) -> LeaseRule | None:
        found = self._points.thing_points(thing)
        if found is None:
            return None
        return next((p.lease for p in found[1].points if p.name == point), None)

    def _number_of(self, thing: str, point: str) -> int | None:
        number = self._points.number(f"{thing}/{point}")
        return None if number < 0 else number


def _receipted(event: CommandEvent) -> list[Record]:
    """Return the ledger's entry for a state worth a receipt; its id follows from command and state."""
    if not isinstance(event, CommandChanged) or event.command.state not in _RECEIPTED:
        return []
    command = event.command
    at_us = command.changes[-1].at_us
    data = {"state": command.state, "reason": command.reason, "lease": msgspec.to_builtins(command.lease)}
    id_ = f"{command.id.removeprefix('urn:uuid:')}:{command.state}"
    entry = Event(id_, f"command.{command.state}", at_us, command.id, command.lease.principal, data)
    return [Record(LEDGER, command.lease.thing.encode(), msgspec.json.encode(entry), at_us)]


def _say_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a confirmation of a command could not be kept", error=str(task.exception()))
