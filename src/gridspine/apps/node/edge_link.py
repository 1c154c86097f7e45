"""One edge's link: what is known of the edge, what it was told, and what it is to be told next."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from gridspine.apps.edge.wire import (
    ADAPTER,
    Ask,
    Deliver,
    Down,
    ReadNow,
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
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.things.adapter import ActionRequest, ReadRequest
from gridspine.things.command import Command, StopChanged
from gridspine.things.directory import Directory
from gridspine.things.model import PointModel
from gridspine.things.thing import Thing

_MOST, _WORDS = 100, 500
_MAX_INT = (1 << 62) - 1
_NO_STOP = StopChanged(False, 0, "", "")


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
    requested: set[str] = field(default_factory=set)
    """Requests to carry out actions that were handed on and are not over: an answer may come by a later connection."""

    @property
    def behind(self) -> int:
        """Things whose present leases the edge has not said to have."""
        return sum(self.kept.get(thing) != revision for thing, revision in self.sent.items())


class Link:
    """One open stream: what has to be said on it."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.replaced = False
        self.dirty: set[str] = set()
        self.reads: list[ReadRequest] = []
        self.asked: set[str] = set()
        """Requests to read that were handed on and are not over."""
        self.requests: list[ActionRequest] = []


class Talk:
    """What is said on one link: each thing once, and again when it has changed."""

    def __init__(
        self, clock: Clock, directory: Directory, commands: Commands, rules: EdgeRules, link: Link, state: EdgeState
    ) -> None:
        self._clock, self._directory, self._commands, self._rules = clock, directory, commands, rules
        self._link, self._state = link, state
        self._things: list[Thing] = []
        self._changes = -1
        self._said_serve: Serve | None = None
        self._said_stop: StopChanged | None = None
        self._said_rules: tuple[SignedRule, ...] | None = None

    def news(self, edge: str, things: Callable[[], list[Thing]]) -> list[Down]:
        """Return what ``edge``, which serves ``things``, was not told yet, in the order it is to be said."""
        said: list[Down] = []
        wanted, self._link.dirty = self._link.dirty, set()
        if self._changes != self._directory.changes:
            self._changes, self._things = self._directory.changes, things()
            wanted = {thing.id for thing in self._things}
            serve = Serve(tuple(self._served(thing) for thing in self._things))
            if serve != self._said_serve:
                self._said_serve = serve
                said.append(serve)
        stop = self._commands.commander.stopped or _NO_STOP
        if stop != self._said_stop:
            self._said_stop = stop
            said.append(Stop(stop))
        said += self._deliveries(wanted)
        signed = self._rules.signed(edge, {thing.id for thing in self._things}, self._open)
        if signed != self._said_rules:
            self._said_rules = signed
            said.append(Rules(signed))
        asked, self._link.reads = self._link.reads, []
        said += [ReadNow(one.id, one.thing, one.points) for one in asked]
        requests, self._link.requests = self._link.requests, []
        now_us = self._clock.now_us()
        said += [
            Ask(one.id, one.thing, one.action, one.input, max(0.0, (one.until_us - now_us) / US), one.traceparent)
            for one in requests
        ]
        return said

    def _deliveries(self, wanted: set[str]) -> list[Deliver]:
        made = []
        for thing in self._things:
            if thing.id not in wanted:
                continue
            commands = self._for_edge(thing)
            leases = msgspec.json.encode([command.lease for command in commands])
            revision = hashlib.sha256(leases).hexdigest()[:16]
            if self._state.sent.get(thing.id) != revision:
                self._state.sent[thing.id] = revision
                self._state.carried[thing.id] = tuple(command.id for command in commands)
                made.append(Deliver(thing.id, revision, self._clock.now_us(), tuple(commands)))
        return made

    def _for_edge(self, thing: Thing) -> list[Command]:
        """Return the commands of a Thing that the edge is to hold; none while an emulator stands for the device.

        Under a cap on power moved, what has no room in the minute in which it begins waits for its turn here.
        """
        if self._commands.forms.of(thing.id) != "adapter":
            return []
        commander, now_us = self._commands.commander, self._clock.now_us()
        found = (commander.handed(one, now_us) for one in commander.commands(thing.id) if commander.counts(one))
        return [
            msgspec.structs.replace(command, key="", question="", changes=command.changes[-1:])
            for command in found
            if command is not None
        ]

    def _open(self, thing: str, point: str) -> bool:
        """Whether a rule may command a point: not while all is stopped, somebody stands there, or it is emulated."""
        if self._commands.forms.of(thing) != "adapter":
            return False
        return not self._commands.commander.closed(thing, point, self._clock.now_us())

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


def remembered(report: Report) -> Report:
    """Return what is kept of a report to be looked at, within bounds: an edge is a stranger's machine."""
    rules = (
        msgspec.structs.replace(one, name=one.name[:_WORDS], state=one.state[:_WORDS], detail=one.detail[:_WORDS])
        for one in report.rules[:_MOST]
    )
    if not -_MAX_INT <= report.clock_us <= _MAX_INT or any(abs(one) > _MAX_INT for one in _numbers(report)):
        raise Invalid("a report's numbers have at most 62 bits")
    adapters = {name[:_WORDS]: wrong[:_WORDS] for name, wrong in list(report.adapters.items())[:_MOST]}
    return Report(
        report.clock_us, rules=tuple(rules), buffer=report.buffer, adapters=adapters, version=report.version[:_WORDS],
        carries=report.carries,
    )  # fmt: skip


def _numbers(report: Report) -> Iterator[int]:
    for one in (*report.rules[:_MOST], *([report.buffer] if report.buffer else [])):
        yield from (value for value in msgspec.structs.astuple(one) if isinstance(value, int))


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
