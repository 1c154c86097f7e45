"""Turns: one change of the `Commander` at a time, or many that do not touch each other; durable before they are so.

::

    ops waiting ─► those of different points, in their order ─► decide each ─► one append ─► apply ─► answer
         ▲               the others wait for the next round                                   └► orders: one append
         └── asked for meanwhile
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from gridspine.apps.node.journey import Journeys
from gridspine.apps.node.order_desk import OrderDesk
from gridspine.infra.log.port import EventLog, Record
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import READINGS
from gridspine.infra.log.writer import LogWriter, append
from gridspine.infra.runtime.clock import Clock, Steps
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.time import US
from gridspine.things.asking import Pending
from gridspine.things.command import COMMANDS, CommandEvent, OrderIssued, decode_event, encode_event, event_key
from gridspine.things.commander import Commander

MAX_ROUND = 512
"""Changes in one round at most."""
_AGAIN_S = 0.5
_SINCE_US = 3600 * US
"""How long after the last change of a command readings are believed to tell of the same clock [µs]."""
T = TypeVar("T")
Decide = Callable[[int, Pending], tuple[T, Iterable[CommandEvent]]]
"""Given the time [µs since 1970] and what the round has decided: an answer, and the events that make it true."""
log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Op:
    touches: frozenset[Hashable]
    decide: Decide[Any]
    done: "asyncio.Future[Any]"


class Turns:
    """Changes a `Commander` by events that the log has."""

    def __init__(
        self,
        commander: Commander,
        log_: EventLog,
        writer: LogWriter,
        clock: Clock,
        journeys: Journeys,
        desk: OrderDesk,
    ) -> None:
        self._commander = commander
        self._log = log_
        self._writer = writer
        self._clock = clock
        self._steps = Steps(clock)
        self._stepped_us = 0
        """By how much the clock was set, and no lease was moved yet: a full disk must not lose it."""
        self._begun_us = 0
        """What began up to then had begun before the clock was set [µs since 1970]; 0: up to now."""
        self._held_back: dict[tuple[str, str], None] = {}
        """Points whose last order was made by the clock before it was set, and not sent."""
        self._journeys = journeys
        self._desk = desk
        self.applied = 0
        """The offset after the last event applied."""
        self._behind = False
        self.listeners: list[Callable[[Sequence[CommandEvent]], None]] = []
        self.lock = asyncio.Lock()
        self._waiting: list[_Op] = []
        self._serving: asyncio.Task[None] | None = None

    async def together(self, touches: Iterable[Hashable], decide: Decide[T]) -> T:
        """Let ``decide`` change what ``touches`` names, in a round with others; return its answer once durable.

        It is decided although whoever asked goes away meanwhile.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Op(frozenset(touches), decide, done))
        if self._serving is None or self._serving.done():
            # In a context of its own: what is traced is each caller's wait, not the round.
            self._serving = asyncio.create_task(self._serve(), context=contextvars.Context())
        with self._journeys.log():
            return await done

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Have a turn with nobody else, upon all that the log has; use `keep` within."""
        async with self.lock:
            if self._behind:
                await self._catch_up()
            with contextlib.suppress(GridspineError):  # it is not forgotten: the next turn tries again
                await self._move_leases()
            if self._behind:
                await self._catch_up()
            yield

    async def keep(self, events: Iterable[CommandEvent]) -> None:
        """Append, then apply, then send; when the append fails, nothing has happened. Within a turn."""
        events = tuple(events)
        if not events:
            return
        now_us = self._clock.now_us()
        records = [Record(COMMANDS, event_key(event).encode(), encode_event(event), now_us) for event in events]
        self._behind = True  # until it is known what became of them: this may be cancelled while it waits
        with self._journeys.log():
            positions = await append(self._writer, records, source="commands")
        for event in events:
            self._commander.apply(event)
        self.applied, self._behind = positions[-1].offset + 1, False
        self._send(events)

    async def tick(self) -> None:
        """Let time do its work: leases end, orders go out. Within a turn."""
        while True:
            with contextlib.suppress(GridspineError):
                await self._move_leases()
            if self._stepped_us:
                return  # a clock that was just set must end nothing; the next tick, soon, tries again
            events = self._commander.tick(self._clock.now_us())
            if not events:
                self._send_held_back()
                return
            await self.keep(events)

    async def settled(self) -> None:
        """Return once orders are by the clock as it is; at once but after it was set."""
        while self._stepped_us or self._steps.pending:
            with contextlib.suppress(GridspineError):  # such as a full disk: until then devices go by their timers
                async with self.alone():
                    await self.tick()
            if self._stepped_us or self._steps.pending:
                await self._clock.sleep(_AGAIN_S)

    async def _move_leases(self) -> None:
        """Let leases in force last as long as they would have, before anything else, when the clock was set."""
        step_us, _ = self._steps.take()
        self._stepped_us += step_us
        if step_us:
            log.warning("the clock was set: leases in force last as long as they would have", step_us=step_us)
        if self._stepped_us:
            before_us = self._begun_us or self._clock.now_us() - self._stepped_us
            await self.keep(self._commander.on_step(self._stepped_us, before_us))
            self._stepped_us = self._begun_us = 0

    def look_back(self) -> None:
        """Notice at a start that the clock was put back since the last record: leases have what they had then; blocks.

        Readings, which come more often, tell until when it had not been. What passed after the last of them, and while
        no node ran, nothing tells. A clock put forward cannot be told from time that passed: leases end.
        """
        (last_us,) = self._last_us(COMMANDS) or [0]
        if self._clock.now_us() > last_us - Steps.LEAST_US:
            return
        seen_us = max([last_us, *(at_us for at_us in self._last_us(READINGS) if at_us < last_us + _SINCE_US)])
        self._stepped_us, self._begun_us = self._clock.now_us() - seen_us, last_us
        log.warning("the clock was put back while no node ran: leases go on", step_us=self._stepped_us)

    def _last_us(self, topic: str) -> list[int]:
        """Return when the last record of each partition was written that has one [µs since 1970]."""
        return [
            record.time_us
            for partition, (first, following) in enumerate(self._log.bounds(topic))
            for record in scan(self._log, topic, partition, max(first, following - 1), following)
        ]

    def missed(self) -> list[CommandEvent]:
        """Return the events beyond those applied, which count as applied from now on; blocks."""
        following = self._log.bounds(COMMANDS)[0][1]
        events = [decode_event(record.body) for record in scan(self._log, COMMANDS, 0, self.applied, following)]
        self.applied = following
        return events

    async def _serve(self) -> None:
        while self._waiting:
            group: Sequence[_Op] = ()
            try:
                async with self.alone():
                    group = self._round()
                    answers = await self._work(group)
                    with contextlib.suppress(GridspineError):  # what was asked is durable; the next tick orders it
                        await self.tick()
                for op, answer in answers:  # only now: what was cancelled is not ordered any more
                    if not op.done.done():
                        op.done.set_result(answer)
            except asyncio.CancelledError:
                for op in (*group, *self._waiting):
                    op.done.cancel()
                self._waiting.clear()
                raise
            except Exception as error:  # told to whoever asked; the others go on
                for op in group or self._round():
                    _fail(op, error)

    def _round(self) -> list[_Op]:
        """Take those that touch nothing twice, in their order; who comes behind one that waits, waits too."""
        group: list[_Op] = []
        left: list[_Op] = []
        touched: set[Hashable] = set()
        for op in self._waiting:
            free = len(group) < MAX_ROUND and touched.isdisjoint(op.touches)
            touched |= op.touches
            (group if free else left).append(op)
        self._waiting = left
        return group

    async def _work(self, group: Sequence[_Op]) -> list[tuple[_Op, Any]]:
        """Decide each, and keep what was decided; return the answers."""
        now_us, pending = self._clock.now_us(), Pending()
        events: list[CommandEvent] = []
        answers: list[tuple[_Op, Any]] = []
        for op in group:
            try:
                answer, its = op.decide(now_us, pending)
            except GridspineError as error:
                _fail(op, error)
                continue
            events += its
            answers.append((op, answer))
        await self.keep(events)
        return answers

    async def _catch_up(self) -> None:
        """Take up what became durable although whoever waited for it was told otherwise, or had gone."""
        await append(self._writer, [], source="commands")  # what was queued before is durable now, or was refused
        missed = await asyncio.to_thread(self.missed)
        for event in missed:
            self._commander.apply(event)
        self._behind = False
        self._send(missed)

    def _send(self, events: Sequence[CommandEvent]) -> None:
        """Tell of what is durable and applied, then hand out the orders among it."""
        for listener in self.listeners:
            listener(events)
        now_us, stale = self._clock.now_us(), bool(self._stepped_us) or self._steps.pending
        for event in events:
            if isinstance(event, OrderIssued):
                if stale:  # its end is not by the clock as it is: the next tick says what is to be sent instead
                    self._held_back[event.order.thing, event.order.point] = None
                else:
                    self._desk.send(self._commander.planned(event.order, now_us))

    def _send_held_back(self) -> None:
        """Send the last order of each point that had one held back."""
        held, self._held_back = self._held_back, {}
        for key in held:
            issued = self._commander.issued(*key)
            if issued is not None:
                self._desk.send(self._commander.planned(issued.order, self._clock.now_us()))


def _fail(op: _Op, error: Exception) -> None:
    if not op.done.done():
        op.done.set_exception(error)
