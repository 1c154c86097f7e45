"""Edges: each is told of its Things, of all their leases and of its rules, and tells how it does.

::

    commands, directory, rules ── changed ──► a link's stream wakes ─► what the edge was not told yet
    report: kept ─► `sent`      progress ─► the commands' own      the rest is remembered, to be looked at

An edge is a device principal: it serves the Things whose adapter is `edge`, whose connection names it, and that it
speaks for.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

import structlog

from gridspine.apps.edge.wire import (
    ADAPTER,
    BEAT_S,
    MAX_REPORT_ITEMS,
    MAX_THINGS,
    Beat,
    Down,
    Ended,
    Hello,
    Report,
)
from gridspine.apps.node.commands import Commands
from gridspine.apps.node.edge_link import EdgeState, Link, Talk, edge_of, remembered
from gridspine.apps.node.read_now import Reads
from gridspine.apps.node.requests import Requests
from gridspine.apps.node.rules import EdgeRules
from gridspine.infra.identity.caller import Caller
from gridspine.infra.identity.service import Identity
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.waiting import first_to_end
from gridspine.kernel.errors import GridspineError, NotFound, Overloaded
from gridspine.kernel.time import US
from gridspine.things.command import CommandChanged, CommandEvent, OrderIssued
from gridspine.things.directory import Directory
from gridspine.things.thing import Thing

MAX_LINKS = 1_000
_LOOK_S, _GATHER_S = 1.0, 0.02
NOT_CONNECTED = "the edge that serves it is not connected: nothing was sent"
log = structlog.get_logger(__name__)


class Edges:
    """The edges of this node."""

    def __init__(
        self, clock: Clock, identity: Identity, directory: Directory, commands: Commands, rules: EdgeRules
    ) -> None:
        self._clock, self._identity, self._directory, self._commands = clock, identity, directory, commands
        self.rules = rules
        rules.beneath(commands.cap_w, commands.most_w, commands.commander.set_aside)
        self._links: dict[str, Link] = {}
        self._states: dict[str, EdgeState] = {}
        self._reads: Reads | None = None
        self._requests: Requests | None = None
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
        link = self._links[edge] = Link()
        state = self._states.setdefault(edge, EdgeState())
        state.connected, state.heard_us = True, self._clock.now_us()
        state.sent.clear()
        log.info("an edge is connected", edge=edge)
        try:
            yield Hello(self._clock.now_us(), self.rules.public_key())
            talk = Talk(self._clock, self._directory, self._commands, self.rules, link, state)
            beat_us = self._clock.monotonic_us()
            while not link.replaced and self._identity.holds(caller):
                news = talk.news(caller.principal, lambda: self.things(caller.principal, caller.organisation))
                for message in news:
                    yield message
                now_us = self._clock.monotonic_us()
                if news or now_us - beat_us >= BEAT_S * US:
                    beat_us = now_us
                    if not news:
                        yield Beat(self._clock.now_us())
                await self._something(link)
        finally:
            if self._links.get(edge) is link:
                del self._links[edge]
                state.connected = False
                log.info("an edge is gone", edge=edge)
            if self._requests is not None:
                for request in link.requests:
                    self._requests.ended(request.id, "failed", None, NOT_CONNECTED)

    async def report(self, caller: Caller, report: Report) -> None:
        """Take what an edge says of itself and of its orders."""
        state = self._states.setdefault(caller.principal, EdgeState())
        state.heard_us, state.report = self._clock.now_us(), remembered(report)
        own = {thing.id for thing in self.things(caller.principal, caller.organisation)}
        for thing, revision in list(report.kept.items())[:MAX_THINGS]:
            if thing in own and state.sent.get(thing) == revision:
                state.kept[thing] = revision
                await self._delivered(state.carried.get(thing, ()))
        for said in report.progress[:MAX_REPORT_ITEMS]:
            if self._thing_of(said.command) in own:
                await self._commands.progress(said.command, said.state, said.reason[:500])
        self._reads_over(caller.principal, report.reads)
        self._requests_over(caller.principal, report.requests)

    async def hand_on(self, reads: Reads, requests: Requests) -> None:
        """Hand requests to read a Thing, or to carry out its actions, to its edge, until cancelled."""
        self._reads, self._requests = reads, requests
        await first_to_end(self._hand_on_reads(reads), self._hand_on_requests(requests))

    async def _hand_on_requests(self, requests: Requests) -> None:
        async for request in requests.requests(ADAPTER):
            edge = edge_of(self._directory.get(request.thing))
            link, state = self._links.get(edge), self.state(edge)
            report = state.report
            if link is None:
                reason = NOT_CONNECTED
            elif report is None or not report.carries:
                reason = "the edge that serves it carries out no actions, or did not say yet that it does"
            else:
                link.requests.append(request)
                state.requested = {id_ for id_ in state.requested if requests.waits(id_)} | {request.id}
                link.wake.set()
                continue
            requests.ended(request.id, "failed", None, reason)

    async def _hand_on_reads(self, reads: Reads) -> None:
        async for request in reads.requests(ADAPTER):
            link = self._links.get(edge_of(self._directory.get(request.thing)))
            if link is None:
                reads.ended(request.id, "the edge that serves it is not connected")
                continue
            link.reads.append(request)
            link.asked.add(request.id)
            link.wake.set()

    # -- what is said -------------------------------------------------------------------------------------------

    async def _something(self, link: Link) -> None:
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

    def _reads_over(self, edge: str, over: Mapping[str, str]) -> None:
        link = self._links.get(edge)
        if link is None or self._reads is None:
            return
        for id_ in link.asked & over.keys():
            link.asked.discard(id_)
            self._reads.ended(id_, over[id_][:500])

    def _requests_over(self, edge: str, over: Mapping[str, Ended]) -> None:
        state = self.state(edge)
        if self._requests is None:
            return
        for id_ in state.requested & over.keys():
            state.requested.discard(id_)
            one = over[id_]
            self._requests.ended(id_, one.state, one.output, one.reason)

    def _thing_of(self, command: str) -> str:
        try:
            return self._commands.commander.command(command).lease.thing
        except GridspineError:
            return ""
