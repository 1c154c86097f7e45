"""The book of leases at the edge: what the node delivered and what rules ask for, carried out by the clock.

::

    Deliver ─► merge ─► durable ─► Commander ─ tick ─► orders ─► adapters ─► progress ─► told to the node

What the node delivers is durable before it counts, and only then acknowledged. What follows from the clock alone (an
end, a fallback, the next lease) is carried out even when the disk takes nothing: it would follow again after a restart.

**The clock may jump.** While the edge runs, leases in force last as long as they would have, and those to come begin by
the node's time: the edge keeps how far its clock is ahead of the node's, by what the node says and by the jumps it sees
itself, where that is more than `SHIFT_US`. An edge that wakes up with a clock behind what it last saw cannot know how
much of a lease is left: those then in force end.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

import msgspec
import structlog

from gridspine.apps.edge.documents import Documents, Put
from gridspine.apps.edge.merge import COMMAND, DELIVERED, LOCAL, ORDER, STOP, merged, put_of
from gridspine.apps.edge.wire import Deliver, Progress, ServedThing
from gridspine.infra.runtime.clock import Clock, Steps
from gridspine.infra.runtime.takers import Takers
from gridspine.kernel.errors import DiskFull, NotFound, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import Order, ProgressState
from gridspine.things.adapter_host import ORDERS_WAITING
from gridspine.things.command import (
    Command,
    CommandChanged,
    CommandEvent,
    OrderIssued,
    State,
    StopChanged,
    become,
    decode_event,
    may_become,
)
from gridspine.things.commander import Commander
from gridspine.things.lease import Lease, shifted
from gridspine.things.model import LeaseRule

SHIFT_US = 2 * US
"""Clocks that differ by less are taken for the same [µs]."""
PROGRESS = "progress"
SEEN, AHEAD = "seen", "ahead"
_SEEN_EVERY_US = 10 * US
_KEEP_FINISHED = 1_000
_FORGET_US = 86_400 * US
log = structlog.get_logger(__name__)


class OrderBook:
    """All leases of the Things that this edge serves."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents, self._clock, self._steps = documents, clock, Steps(clock)
        self._things: dict[str, ServedThing] = {}
        self._delivered: dict[str, Lease] = {}
        """Leases as the node gave them, by command."""
        self._takers: Takers[Order] = Takers(ORDERS_WAITING)
        self._lock = asyncio.Lock()
        self._unkept: dict[tuple[str, str], bytes | None] = {}
        self._seen_us = 0
        self._ahead_us = 0
        """How far this clock is ahead of the node's [µs]; 0 where they are taken for the same."""
        self.progress: dict[str, Progress] = {}
        """What the node was not told yet, by command: the last word only."""
        self.told = asyncio.Event()
        """Set when there is something to tell the node."""
        self.commander = Commander(self._rule_of, lambda *_: None, keep_finished=_KEEP_FINISHED)

    async def load(self, things: Iterable[ServedThing]) -> None:
        """Take up what was kept; leases whose time cannot be told any more end."""
        self._things = {thing.id: thing for thing in things}
        for id_, body in (await self._documents.all(DELIVERED)).items():
            self._delivered[id_] = msgspec.json.decode(body, type=Lease)
        for kind in (STOP, COMMAND, ORDER):
            for body in (await self._documents.all(kind)).values():
                self.commander.apply(decode_event(body))
        for id_, body in (await self._documents.all(PROGRESS)).items():
            self.progress[id_] = msgspec.json.decode(body, type=Progress)
        self._seen_us = int(await self._documents.get(SEEN, SEEN) or 0)
        self._ahead_us = int(await self._documents.get(AHEAD, AHEAD) or 0)
        behind_us = self._seen_us - self._clock.now_us()
        if behind_us > SHIFT_US:
            log.warning("the clock is behind what it showed before: leases in force end", behind_s=behind_us // US)
            why = "the edge started with a clock behind its last: how much of the lease was left is not known"
            running = [one for one in self.commander.commands() if one.lease.in_force(self._seen_us)]
            running = [one for one in running if may_become(one, "failed")]
            await self._carry_out([self._final(one, "failed", why) for one in running])
            for one in running:
                await self._tell_node(one, "failed", why)
            self._seen_us = 0
        await self.tick()

    def serve(self, things: Iterable[ServedThing]) -> None:
        """Serve other Things from now on."""
        self._things = {thing.id: thing for thing in things}

    async def deliver(self, delivered: Deliver) -> None:
        """Take what the node holds for a Thing; durable when this returns. Raises `DiskFull`: nothing changed then."""
        await self.node_time(delivered.now_us)
        async with self._lock:
            events, puts = merged(delivered, self._delivered, self.commander, self._ahead_us, self._clock.now_us())
            await self._documents.put_all([*puts, *map(put_of, events)])
            for event in events:
                self.commander.apply(event)
            for id_ in [put[1] for put in puts if put[0] == DELIVERED and put[2] is None]:
                self._delivered.pop(id_, None)
            self._delivered |= {one.id: one.lease for one in delivered.commands}
        await self.tick()

    async def node_time(self, now_us: int) -> None:
        """Hear the node's time [µs since 1970]: what is to come begins by it."""
        ahead_us = self._clock.now_us() - now_us
        if abs(ahead_us - self._ahead_us) > SHIFT_US:
            async with self._lock:
                await self._set_ahead(ahead_us)

    async def stop(self, event: StopChanged) -> None:
        """Take over all-stop from the node, or its release."""
        present = self.commander.stopped
        if event == present or (present is None and not event.stopped):
            return
        async with self._lock:
            await self._carry_out([event])
            cancelled = [CommandChanged(one) for one in self.commander.commands() if one.state == "cancelled"]
            await self._keep(list(map(put_of, cancelled)))
        await self.tick()

    async def request(self, lease: Lease) -> Command:
        """Ask for a lease on behalf of a rule; return the command, accepted or refused."""
        async with self._lock:
            command, events = self.commander.request(lease, "", self._clock.now_us())
            await self._carry_out(events)
        await self.tick()
        return command

    async def cancel_all(self, principal: str, reason: str) -> None:
        """End all that ``principal``, a rule, asked for."""
        async with self._lock:
            own = [one for one in self.commander.commands() if one.lease.principal == principal]
            await self._carry_out([self._final(one, "cancelled", reason) for one in own if not one.final])
        await self.tick()

    async def report(self, command: str, state: ProgressState, reason: str = "", *, sequence: int = 0) -> None:
        """Note how far an order got; the node is told when it can be."""
        async with self._lock:
            try:
                known = self.commander.command(command)
            except NotFound:
                return
            events = self.commander.on_progress(command, state, self._clock.now_us(), reason, sequence=sequence)
            if events:
                await self._carry_out(events)
                await self._tell_node(known, state, reason)

    async def heard(self, told: Sequence[Progress]) -> None:
        """Forget what the node was told, unless there is news since."""
        done = [one.command for one in told if self.progress.get(one.command) == one]
        for command in done:
            del self.progress[command]
        await self._keep([(PROGRESS, command, None) for command in done])

    async def tick(self) -> None:
        """Let time do its work: leases begin and end, orders go out."""
        async with self._lock:
            step_us, _ = self._steps.take()
            now_us = self._clock.now_us()
            if step_us:
                log.warning("the clock was set: leases in force last as long as they would have", step_us=step_us)
                await self._carry_out(self.commander.on_step(step_us, now_us - step_us))
                await self._set_ahead(self._ahead_us + step_us)
                self._seen_us = 0
            while events := self.commander.tick(now_us):
                await self._carry_out(events)
            if now_us - self._seen_us > _SEEN_EVERY_US:
                self._seen_us = now_us
                old = [(kind, id_, None) for kind, id_ in self._forgotten(now_us)]
                await self._keep([(SEEN, SEEN, str(now_us).encode()), *old])

    def orders(self, adapter: str) -> AsyncIterator[Order]:
        """Yield the orders for Things that ``adapter`` serves: those in force first, then each new one."""
        return self._takers.taken(adapter, lambda: self._begin(adapter))

    async def _set_ahead(self, ahead_us: int) -> None:
        """Take the clock for so far ahead of the node's; move what is to come accordingly."""
        self._ahead_us = ahead_us if abs(ahead_us) > SHIFT_US else 0
        await self._keep([(AHEAD, AHEAD, str(self._ahead_us).encode())])
        now_us, moved = self._clock.now_us(), []
        for command in self.commander.commands():
            given = self._delivered.get(command.id)
            if given is None or command.final or command.lease.from_us <= now_us:
                continue
            lease = shifted(given, self._ahead_us)
            if lease != command.lease:
                moved.append(CommandChanged(msgspec.structs.replace(command, lease=lease)))
        await self._carry_out(moved)

    # -- inside -------------------------------------------------------------------------------------------------

    async def _tell_node(self, command: Command, state: ProgressState, reason: str) -> None:
        """Have the node told how far an order got; what a rule asked for, it does not know."""
        if not command.lease.principal.startswith(LOCAL):
            said = Progress(command.id, state, reason[:500], self._clock.now_us())
            self.progress[command.id] = said
            await self._keep([(PROGRESS, command.id, msgspec.json.encode(said))])
            self.told.set()

    def _final(self, command: Command, state: State, reason: str) -> CommandChanged:
        return CommandChanged(become(command, state, self._clock.now_us(), reason))

    async def _carry_out(self, events: Iterable[CommandEvent]) -> None:
        """Keep, apply and send; whatever the disk says, for these follow from the clock or make a device safer."""
        events = tuple(events)
        await self._keep(list(map(put_of, events)))
        for event in events:
            self.commander.apply(event)
        for event in events:
            if isinstance(event, OrderIssued):
                self._send(event.order)

    async def _keep(self, puts: list[Put]) -> None:
        self._unkept |= {(kind, id_): body for kind, id_, body in puts}
        if not self._unkept:
            return
        wanted = dict(self._unkept)
        try:
            await self._documents.put_all([(kind, id_, body) for (kind, id_), body in wanted.items()])
        except (DiskFull, Unavailable) as error:
            log.error("what became of orders is not kept: it will be, when the disk takes it", why=error.detail)
        else:
            self._unkept = {key: body for key, body in self._unkept.items() if body != wanted.get(key, b"-")}

    def _forgotten(self, now_us: int) -> list[tuple[str, str]]:
        """Return the documents of commands that ended a day ago."""
        ended = [one.id for one in self.commander.commands() if one.final and one.lease.until_us < now_us - _FORGET_US]
        for id_ in ended:
            self._delivered.pop(id_, None)
        return [(kind, id_) for id_ in ended for kind in (COMMAND, DELIVERED)]

    def _send(self, order: Order) -> None:
        thing = self._things.get(order.thing)
        if thing is not None and not self._takers.put(thing.adapter, order):
            self._takers.begin_again(thing.adapter)  # one that does not run is told what is in force when it does

    def _begin(self, adapter: str) -> Iterator[Order]:
        for order in self.commander.in_force(self._clock.now_us()):
            thing = self._things.get(order.thing)
            if thing is not None and thing.adapter == adapter:
                yield order

    def _rule_of(self, thing: str, point: str) -> LeaseRule | None:
        served = self._things.get(thing)
        return next((one.lease for one in served.points if one.name == point), None) if served else None
