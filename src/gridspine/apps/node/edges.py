"""Edges: each is told of its Things, of all their leases and of its rules, and tells how it does.

::

    commands, directory, rules ── changed ──► a link's stream wakes ─► what the edge was not told yet
    report: kept ─► `sent`      progress ─► the commands' own      the rest is remembered, to be looked at

An edge is a device principal: it serves the Things whose adapter is `edge`, whose connection names it, and that it
speaks for.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from gridspine.apps.edge.wire import (
    ADAPTER,
    BEAT_S,
    MAX_REPORT_ITEMS,
    MAX_THINGS,
    Beat,
    Deliver,
    Down,
    Hello,
    Report,
    Rules,
    Serve,
    ServedPoint,
    ServedThing,
    SignedRule,
    Stop,
)
from gridspine.apps.node.commands import Commands
from gridspine.apps.node.rules import EdgeRules
from gridspine.infra.identity.caller import Caller
from gridspine.infra.identity.service import Identity
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import GridspineError, NotFound, Overloaded
from gridspine.kernel.time import US
from gridspine.things.command import Command, CommandChanged, CommandEvent, OrderIssued, StopChanged
from gridspine.things.command_table import counts
from gridspine.things.directory import Directory
from gridspine.things.model import PointModel
from gridspine.things.thing import Thing

MAX_LINKS = 1_000
_LOOK_S, _GATHER_S = 1.0, 0.02
_NO_STOP = StopChanged(False, 0, "", "")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class EdgeState:
    """What the node knows of an edge: whether it is connected, what it said last, and what it has been told."""

    connected: bool = False
    heard_us: int = 0
    report: Report | None = None
    sent: dict[str, str] = field(default_factory=dict)
    """Revisions handed to the connection, by Thing."""
    kept: dict[str, str] = field(default_factory=dict)
    """Revisions that the edge has said are durable, by Thing."""
    carried: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Commands that the revision sent last holds, by Thing."""

    @property
    def behind(self) -> int:
        """Things whose present leases the edge has not said to have."""
        return sum(self.kept.get(thing) != revision for thing, revision in self.sent.items())


class _Link:
    """One open stream: what has to be said on it."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.replaced = False
        self.dirty: set[str] = set()


class Edges:
    """The edges of this node."""

    def __init__(
        self, clock: Clock, identity: Identity, directory: Directory, commands: Commands, rules: EdgeRules
    ) -> None:
        self._clock, self._identity, self._directory, self._commands = clock, identity, directory, commands
        self.rules = rules
        self._links: dict[str, _Link] = {}
        self._states: dict[str, EdgeState] = {}
        commands.listeners.append(self._on_events)
        rules.listeners.append(self._wake)

    def state(self, edge: str) -> EdgeState:
        """Return what is known of an edge since the node's start."""
        return self._states.get(edge) or EdgeState()

    def things(self, edge: str, organisation: str) -> list[Thing]:
        """Return the Things that ``edge`` serves, at most `MAX_THINGS`, in the order of their ids."""
        own = (
            thing
            for thing in self._directory.of_device(edge)
            if thing.organisation == organisation and not thing.retired and edge_of(thing) == edge
        )
        return sorted(own, key=lambda thing: thing.id)[:MAX_THINGS]

    async def messages(self, caller: Caller) -> AsyncGenerator[Down, None]:
        """Yield what the edge ``caller`` is to know: all of it first, then what changes, until it is not let in.

        A newer link of the same edge ends an older one. Raises `Overloaded` when too many are open.
        """
        edge = caller.principal
        before = self._links.get(edge)
        if before is None and len(self._links) >= MAX_LINKS:
            raise Overloaded(f"{MAX_LINKS} edges are connected: try again later", retry_after_s=30)
        if before is not None:
            before.replaced = True
            before.wake.set()
        link = self._links[edge] = _Link()
        state = self._states.setdefault(edge, EdgeState())
        state.connected, state.heard_us = True, self._clock.now_us()
        state.sent.clear()
        log.info("an edge is connected", edge=edge)
        try:
            yield Hello(self._clock.now_us(), self.rules.public_key())
            async for message in self._told(caller, link, state):
                yield message
        finally:
            if self._links.get(edge) is link:
                del self._links[edge]
                state.connected = False
                log.info("an edge is gone", edge=edge)

    async def report(self, caller: Caller, report: Report) -> None:
        """Take what an edge says of itself and of its orders."""
        state = self._states.setdefault(caller.principal, EdgeState())
        state.heard_us, state.report = self._clock.now_us(), report
        own = {thing.id for thing in self.things(caller.principal, caller.organisation)}
        for thing, revision in list(report.kept.items())[:MAX_THINGS]:
            if thing in own and state.sent.get(thing) == revision:
                state.kept[thing] = revision
                await self._delivered(state.carried.get(thing, ()))
        for said in report.progress[:MAX_REPORT_ITEMS]:
            if self._thing_of(said.command) in own:
                await self._commands.progress(said.command, said.state, said.reason[:500])

    # -- what is said -------------------------------------------------------------------------------------------

    async def _told(self, caller: Caller, link: _Link, state: EdgeState) -> AsyncGenerator[Down, None]:
        served: Serve | None = None
        stop: StopChanged | None = None
        rules: tuple[SignedRule, ...] | None = None
        beat_us, changes = self._clock.monotonic_us(), -1
        things: list[Thing] = []
        everything = True
        while not link.replaced and self._identity.holds(caller):
            spoke = False
            if changes != self._directory.changes:
                changes, everything = self._directory.changes, True
            if everything:
                things = self.things(caller.principal, caller.organisation)
                following = Serve(tuple(self._served(thing) for thing in things))
                if following != served:
                    served, spoke = following, True
                    yield following
            if (present := self._commands.commander.stopped or _NO_STOP) != stop:
                stop, spoke = present, True
                yield Stop(present)
            wanted, link.dirty = {thing.id for thing in things} if everything else link.dirty, set()
            everything = False
            for deliver in self._deliveries(things, wanted, state):
                spoke = True
                yield deliver
            if (signed := self.rules.signed(caller.principal, {thing.id for thing in things})) != rules:
                rules, spoke = signed, True
                yield Rules(signed)
            now_us = self._clock.monotonic_us()
            if spoke:
                beat_us = now_us
            elif now_us - beat_us >= BEAT_S * US:
                beat_us = now_us
                yield Beat(self._clock.now_us())
            await self._something(link)

    async def _something(self, link: _Link) -> None:
        """Wait for news, or a while: then it is asked again whether the edge is let in, and which Things it has."""
        waiting = asyncio.ensure_future(link.wake.wait())
        pause = asyncio.ensure_future(self._clock.sleep(_LOOK_S))
        try:
            await asyncio.wait({waiting, pause}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            pause.cancel()
        if link.wake.is_set():
            link.wake.clear()
            await self._clock.sleep(_GATHER_S)  # what happens at one moment is said in one go

    def _deliveries(self, things: Sequence[Thing], wanted: set[str], state: EdgeState) -> list[Deliver]:
        made = []
        for thing in things:
            if thing.id not in wanted:
                continue
            commands = self._for_edge(thing)
            leases = msgspec.json.encode([command.lease for command in commands])
            revision = hashlib.sha256(leases).hexdigest()[:16]
            if state.sent.get(thing.id) != revision:
                state.sent[thing.id] = revision
                state.carried[thing.id] = tuple(command.id for command in commands)
                made.append(Deliver(thing.id, revision, self._clock.now_us(), tuple(commands)))
        return made

    def _for_edge(self, thing: Thing) -> list[Command]:
        """Return the commands of a Thing that the edge is to hold; none while an emulator stands for the device.

        What waits for its turn under the cap on power moved is not handed out before it.
        """
        if self._commands.forms.of(thing.id) != "adapter":
            return []
        commander, now_us = self._commands.commander, self._clock.now_us()
        return [
            msgspec.structs.replace(command, key="", question="", changes=command.changes[-1:])
            for command in commander.commands(thing.id)
            if counts(command) and not self._in_line(command, now_us)
        ]

    def _in_line(self, command: Command, now_us: int) -> bool:
        lease = command.lease
        if lease.role != "setpoint" or not lease.in_force(now_us) or command.sent_us is not None:
            return False
        return self._commands.commander.waiting(lease.thing, lease.point, now_us).startswith("waits:")

    def _served(self, thing: Thing) -> ServedThing:
        connection = thing.connection.get("connection")
        return ServedThing(
            thing.id,
            thing.title,
            thing.organisation,
            thing.model,
            str(thing.connection.get("adapter", "")),
            connection if isinstance(connection, dict) else {},
            tuple(_served_point(point) for point in self._directory.model(thing).points),
        )

    # -- what happens -------------------------------------------------------------------------------------------

    def _on_events(self, events: Sequence[CommandEvent]) -> None:
        if not self._links:
            return
        for event in events:
            if isinstance(event, CommandChanged):
                self._touch(event.command.lease.thing)
            elif isinstance(event, OrderIssued):
                self._touch(event.order.thing)
            else:
                for edge, link in self._links.items():  # all-stop, local control, a tag: it may concern any Thing
                    link.dirty.update(self._states[edge].sent)
                    link.wake.set()

    def _touch(self, thing: str) -> None:
        try:
            edge = edge_of(self._directory.get(thing))
        except NotFound:
            return
        link = self._links.get(edge)
        if link is not None:
            link.dirty.add(thing)
            link.wake.set()

    def _wake(self, edge: str) -> None:
        if edge in self._links:
            self._links[edge].wake.set()

    async def _delivered(self, commands: Sequence[str]) -> None:
        """Note that an edge has these durably: from now on they need neither node nor network."""
        for id_ in commands:
            try:
                accepted = self._commands.commander.command(id_).state == "accepted"
            except NotFound:
                continue
            if accepted:
                await self._commands.progress(id_, "sent", "the edge has it")

    def _thing_of(self, command: str) -> str:
        try:
            return self._commands.commander.command(command).lease.thing
        except GridspineError:
            return ""


def edge_of(thing: Thing) -> str:
    """Return the principal of the edge that serves ``thing``, "" when none does."""
    edge = thing.connection.get("edge") if thing.adapter == ADAPTER else None
    return edge if isinstance(edge, str) and edge in thing.devices else ""


def _served_point(point: PointModel) -> ServedPoint:
    rule, thinned = point.screen, point.reading_type.deadband_allowed and not point.screen.settlement
    return ServedPoint(
        point.name,
        point.reading_type.unit,
        rule.effective_deadband if thinned else 0.0,
        rule.min_interval_s if thinned else 0.0,
        rule.max_silence_s,
        point.lease,
    )
