"""Commands at work: the `Commander`'s events made durable before they are applied, its orders sent after.

::

    request ─► events ─► log "commands" ─► apply ─► orders ─► adapter
                              └─ followed ─► accepted, applied, ended … ─► log "ledger" (receipts)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Iterable, Sequence
from typing import Any

import msgspec
import structlog

from gridspine.apps.edge.wire import ADAPTER as EDGE
from gridspine.apps.node.command_receipts import follow_receipts
from gridspine.apps.node.command_turns import Turns
from gridspine.apps.node.journey import Journeys
from gridspine.apps.node.order_desk import OrderDesk
from gridspine.infra.log.checkpoint import Checkpoints
from gridspine.infra.log.port import EventLog
from gridspine.infra.log.writer import LogWriter
from gridspine.infra.runtime.clock import Clock, Steps, new_urn
from gridspine.infra.runtime.settings import Commands as CommandSettings
from gridspine.infra.runtime.tasks import to_the_end
from gridspine.infra.runtime.trace import NO_TRACE, Trace
from gridspine.kernel.errors import Conflict, NotFound
from gridspine.things.adapter import Order, ProgressState
from gridspine.things.approval import ApprovalRule
from gridspine.things.asking import Ask, Pending
from gridspine.things.blocking_tag import BlockingTag
from gridspine.things.books import Committed
from gridspine.things.budget import unit_power_w
from gridspine.things.command import (
    COMMANDS,
    Command,
    CommandChanged,
    CommandEvent,
    OrderIssued,
    become,
    decode_event,
    encode_event,
    may_become,
)
from gridspine.things.commander import Commander
from gridspine.things.control_rule import ControlRule, most_w_per_minute, split_point
from gridspine.things.directory import Directory
from gridspine.things.form import Forms
from gridspine.things.lease import Lease, shifted
from gridspine.things.model import LeaseRule, PointModel, ThingModel
from gridspine.things.point import PointTable

_MODELS = 1_000
"""Models whose points are kept by name, at most."""
log = structlog.get_logger(__name__)


class Commands:
    """Asks, keeps and sends."""

    def __init__(
        self,
        log_: EventLog,
        writer: LogWriter,
        directory: Directory,
        points: PointTable,
        clock: Clock,
        checkpoints: Checkpoints,
        trace: Trace = NO_TRACE,
        settings: CommandSettings | None = None,
    ) -> None:
        settings = settings or CommandSettings()
        self._log, self._writer = log_, writer
        self._points, self._directory = points, directory
        self.cap_w = settings.max_w_per_minute
        self._clock = clock
        self._checkpoints = checkpoints
        self._journeys = Journeys(trace)
        self._confirming: set[asyncio.Task[None]] = set()
        self._points_of: dict[int, tuple[ThingModel, dict[str, PointModel]]] = {}
        self.forms = Forms()
        self.gate: Callable[[str, bool], str] = lambda _thing, _safety: ""
        """Why a Thing takes no commands, or (False) none but those of safety; "" when it does. The lifecycle's word."""
        self.behind: Callable[[str], frozenset[str]] = lambda _principal: frozenset()
        """The persons by whose doing a principal asks that is none itself: they cannot approve what it asked."""
        self.spread: Callable[[str], bool] = lambda _thing: False
        """Whether what a Thing is ordered is spread over others: what those are told is counted, and not that."""
        self.commander = Commander(
            self._rule_of,
            self._number_of,
            watts_per_unit=self._watts_per_unit,
            gate=lambda thing, safety: self.gate(thing, safety),  # noqa: PLW0108 - it may be set later
            cap_w=settings.max_w_per_minute,
            approval=ApprovalRule(
                settings.approval_above_w, settings.approval_window_s, settings.approval_expires_s
            ),
            by_itself=lambda thing: self._adapter_of(thing) == EDGE,
            organisation_of=lambda thing: points.organisation_of(thing) or "",
        )  # fmt: skip
        self._desk = OrderDesk(directory, self.forms, self._journeys, self._orders_in_force, self._orders_owed)
        self._turns = Turns(self.commander, log_, writer, clock, self._journeys, self._desk)
        self.listeners = self._turns.listeners
        """Told of events once they are durable and applied."""

    def load(self) -> None:
        """Take up the newest checkpoint and what the topic has beyond it; blocks."""
        self._turns.applied, bodies = self._checkpoints.load(self._log.bounds(COMMANDS)[0][0])
        for event in map(decode_event, bodies):
            self.commander.apply(event)
        for event in self._turns.missed():
            self.commander.apply(event)
        self._turns.look_back()

    async def checkpoint(self) -> None:
        """Write down all commands as they are now, unless nothing happened since the last time."""
        async with self._turns.alone():
            offset = self._turns.applied
            if offset <= self._checkpoints.offset:
                return
            events = list(self.commander.snapshot())
        await to_the_end(lambda: self._checkpoints.save(offset, map(encode_event, events)))

    # -- asking -------------------------------------------------------------------------------------------------

    async def request(self, lease: Lease, key: str) -> Command:
        """Ask for a lease; return the command, accepted or refused, once that is durable."""
        (command,) = await self.request_all([Ask(lease, key)])
        return command

    async def request_all(self, asks: Sequence[Ask], *, whole: bool = False) -> list[Command]:
        """Ask for many leases of one principal in one order; return a command for each, once all are durable.

        ``whole``: none is kept, and `Conflict` raised, where one would be refused.
        """
        for ask in asks:
            self._journeys.begin(ask.lease.command)
        ahead_us = self._clock.now_us() - self._clock.monotonic_us()

        def decide(now_us: int, pending: Pending) -> tuple[list[str], Iterable[CommandEvent]]:
            step_us = self._clock.now_us() - self._clock.monotonic_us() - ahead_us
            answers = self.commander.request_all(_after_step(asks, step_us), now_us, pending, whole)
            return [command.id for command, _ in answers], [event for _, events in answers for event in events]

        ids = await self._turns.together({touched for ask in asks for touched in _touched(ask)}, decide)
        return [self.commander.command(one) for one in ids]

    async def approve(self, ids: Sequence[str], principal: str) -> list[Command]:
        """Let ``principal`` agree to commands that wait for a second person; all or none."""
        for one in ids:
            if principal in self.behind(self.commander.command(one).lease.principal):
                raise Conflict(
                    "whoever published or let out the behaviour that asked cannot approve: a second person must"
                )
        touched = [_point_of(self.commander.command(one)) for one in ids]

        def decide(now_us: int, _: Pending) -> tuple[None, Iterable[CommandEvent]]:
            return None, [event for one in ids for event in self.commander.approve(one, principal, now_us)]

        await self._turns.together(touched, decide)
        return [self.commander.command(one) for one in ids]

    async def cancel(self, id: str, reason: str) -> Command:
        """End a command before its time."""
        touched = [_point_of(self.commander.command(id))]
        await self._turns.together(touched, lambda now_us, _: (None, self.commander.cancel(id, now_us, reason)))
        return self.commander.command(id)

    async def end(self, id: str, reason: str) -> None:
        """End what a command still holds: also a limit that could not be delivered, and limits all the same."""
        touched = [_point_of(self.commander.command(id))]
        await self._turns.together(touched, lambda now_us, _: (None, self.commander.end(id, now_us, reason)))

    async def hand_over(
        self,
        things: Collection[str],
        reason: str,
        change: Callable[[Sequence[Order]], Awaitable[None]],
        check: Callable[[], None] = lambda: None,
    ) -> list[Command]:
        """End all leases of ``things``, then ``change`` who carries out their orders; nothing is ordered in between.

        ``change`` is given the last order of each of their points. Returns the commands that were ended. When
        ``change`` fails the leases have ended all the same. ``check`` raises, before anything ends, where it may not be
        any more.
        """
        async with self._turns.alone():
            check()
            now_us = self._clock.now_us()
            held = [
                one
                for thing in things
                for one in self.commander.commands(thing)
                if self.commander.counts(one) or not one.final
            ]
            ended = [one for one in held if not one.final]
            await self._turns.keep(event for one in held for event in self.commander.end(one.id, now_us, reason))
            while events := self.commander.tick(now_us):
                await self._turns.keep(events)
            issued = (event.order for event in self.commander.snapshot() if isinstance(event, OrderIssued))
            await change([order for order in issued if order.thing in things])
            return ended

    # -- stopping and blocking ----------------------------------------------------------------------------------

    async def all_stop(self, principal: str, reason: str) -> None:
        """Cancel every set-point and take no new one until `release`."""
        await self._alone(lambda now_us: self.commander.all_stop(principal, reason, now_us))

    async def release(self, principal: str, reason: str) -> None:
        """Take set-points again."""
        await self._alone(lambda now_us: self.commander.release(principal, reason, now_us))

    async def take_local(self, thing: str, principal: str, reason: str) -> None:
        """Take a Thing into local control: its set-points end, and it takes none from here."""
        await self._alone(lambda now_us: self.commander.take_local(thing, principal, reason, now_us))

    async def give_remote(self, thing: str, principal: str, reason: str) -> None:
        """Give a Thing back to remote control."""
        await self._alone(lambda now_us: self.commander.give_remote(thing, principal, reason, now_us))

    async def hang(self, tag: BlockingTag) -> BlockingTag:
        """Hang a blocking tag; return it with its id and time filled in."""
        made: list[BlockingTag] = []

        def decide(now_us: int) -> Iterable[CommandEvent]:
            made.append(BlockingTag(
                new_urn(self._clock), tag.thing, tag.point, tag.principal, tag.reason, now_us, tag.until_us
            ))  # fmt: skip
            return self.commander.hang(made[0])

        await self._alone(decide)
        return made[0]

    async def take_down(self, thing: str, tag: str, principal: str, reason: str) -> None:
        """Take a blocking tag down."""
        await self._alone(lambda now_us: self.commander.take_down(thing, tag, principal, reason, now_us))

    async def withdraw(self, thing: str, reason: str) -> None:
        """End the set-points of a Thing that is to take none any more; `gate` keeps new ones away."""
        await self._alone(lambda now_us: self.commander.withdraw(thing, reason, now_us))

    # -- hearing ------------------------------------------------------------------------------------------------

    async def progress(self, command: str, state: ProgressState, reason: str = "", *, sequence: int = 0) -> None:
        """Note how far an order got; with its ``sequence``, that of an order replaced since is late."""
        try:
            touched = [_point_of(self.commander.command(command))]
        except NotFound:
            touched = []
        with self._journeys.step(state, [command]):
            await self._turns.together(
                touched,
                lambda now_us, _: (
                    None,
                    self.commander.on_progress(command, state, now_us, reason, sequence=sequence),
                ),
            )

    async def tick(self) -> None:
        """Let time do its work: leases end, orders go out."""
        async with self._turns.alone():
            await self._turns.tick()

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
        await self._turns.settled()
        async with contextlib.aclosing(self._desk.orders(adapter)) as orders:
            async for order in orders:
                yield order

    async def follow_receipts(self) -> None:
        """Put what became of each command into the ledger, for ever."""
        await follow_receipts(self._log, self._writer, self._clock)

    def most_w(self, rule: ControlRule) -> float:
        """Return what a control rule may move in a minute at most [W], its Things being emulated or not."""
        found = (self._point(*split_point(point)) for point in rule.outputs)
        return sum(
            most_w_per_minute(rule, point.lease, unit_power_w(point))
            for point in found
            if point is not None and point.lease is not None
        )

    def new_lease(self, **fields: Any) -> Lease:
        """Return a lease with ids and time of asking filled in."""
        return Lease(id=new_urn(self._clock), command=new_urn(self._clock), issued_us=self._clock.now_us(), **fields)

    # -- inside -------------------------------------------------------------------------------------------------

    async def _alone(self, decide: Callable[[int], Iterable[CommandEvent]]) -> None:
        async with self._turns.alone():
            await self._turns.keep(decide(self._clock.now_us()))
            await self._turns.tick()

    async def _keep_confirmed(self, events: Sequence[CommandEvent]) -> None:
        commands = [event.command for event in events if isinstance(event, CommandChanged)]
        with self._journeys.step("confirmed", [command.id for command in commands]):
            await self._turns.together(
                [_point_of(command) for command in commands],
                lambda now_us, _: (None, [shown for event in events for shown in self._still(event, now_us)]),
            )

    def _still(self, event: CommandEvent, now_us: int) -> list[CommandEvent]:
        """Return ``event`` on the command as it is now: it may have changed between the reading and this turn."""
        assert isinstance(event, CommandChanged)
        try:
            command = self.commander.command(event.command.id)
        except NotFound:
            return []
        if not may_become(command, event.command.state):
            return []
        return [CommandChanged(become(command, event.command.state, now_us, event.command.reason))]

    def _orders_in_force(self) -> list[Order]:
        return self.commander.in_force(self._clock.now_us())

    def _orders_owed(self) -> list[Order]:
        """Return what wires must still be told of before, and no newer order made for them replaces."""
        newer = {(order.thing, order.point) for order in self._orders_in_force() if not self.forms.taker(order, "")}
        owed = self.forms.owed(self._clock.now_us())
        return [order for order in owed if (order.thing, order.point) not in newer]

    def _point(self, thing: str, name: str) -> PointModel | None:
        found = self._points.thing_points(thing)
        if found is None:
            return None
        model = found[1]
        known = self._points_of.get(id(model))
        if known is None or known[0] is not model:
            if len(self._points_of) >= _MODELS:
                self._points_of.clear()
            known = self._points_of[id(model)] = (model, {point.name: point for point in model.points})
        return known[1].get(name)

    def _rule_of(self, thing: str, name: str) -> LeaseRule | None:
        point = self._point(thing, name)
        return None if point is None else point.lease

    def _watts_per_unit(self, thing: str, name: str) -> float:
        """Return what power a unit of a point moves [W]; nothing where it is emulated, spread, or no power at all."""
        point = self._point(thing, name)
        if point is None or point.lease is None or self.forms.of(thing) == "emulator" or self.spread(thing):
            return 0.0
        return unit_power_w(point)

    def _adapter_of(self, thing: str) -> str:
        try:
            return self._directory.get(thing).adapter
        except NotFound:
            return ""

    def _number_of(self, thing: str, point: str) -> int | None:
        number = self._points.number(f"{thing}/{point}")
        return None if number < 0 else number


def _point_of(command: Command) -> tuple[str, str]:
    return command.lease.thing, command.lease.point


def _after_step(asks: Sequence[Ask], step_us: int) -> Sequence[Ask]:
    """Return ``asks`` with what was to begin at once lasting as long as it was asked for: the clock was set since."""
    if abs(step_us) <= Steps.LEAST_US:
        return asks
    return [
        msgspec.structs.replace(
            ask, lease=shifted(ask.lease, step_us if ask.lease.from_us <= ask.lease.issued_us else 0)
        )
        for ask in asks
    ]


def _touched(ask: Ask) -> Iterable[Hashable]:
    """Return what no two requests of one round may share: the point, the idempotency key, the command's id."""
    yield ask.lease.thing, ask.lease.point
    yield "id", ask.lease.command
    if ask.key:
        yield "key", ask.lease.principal, ask.key


def _say_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a confirmation of a command could not be kept", error=str(task.exception()))
