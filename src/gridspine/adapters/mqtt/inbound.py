"""Published messages to the node: where each leads, what it says, whether it may; then intake, then the counters.

Messages of one client go in one batch at a time, and what arrives meanwhile makes up the next one: a client that sends
now and then waits for nobody, and one that sends much costs one decoding, one intake and one commit for many.

::

    connection ─ take ─► line of the client  │ batch on its way: decode ─► intake (durable) ─► counters │ ─► done
                         [ next batch … ]    └─────────────────────────────────────────────────────────┘

A future is done when its messages may be acknowledged: readings are durable, a device's word on a command is recorded,
or a message was refused and the refusal is durable. It fails when they must not be acknowledged.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Sequence

from gridspine.adapters.mqtt.commands import Commands
from gridspine.adapters.mqtt.counters import ClientCounters, Counters
from gridspine.adapters.mqtt.packs import Published, decode_batch
from gridspine.adapters.mqtt.topics import Destination, Routes
from gridspine.adapters.mqtt.wire import decode_acknowledgement, unreadable
from gridspine.kernel.errors import DiskFull, Forbidden, GridspineError, Invalid, Overloaded
from gridspine.things.adapter import AdapterContext, Source

log = logging.getLogger(__name__)

_AT_ONCE_BYTES = 256 << 10
"""Messages up to this size together are decoded on the event loop; more would keep grants and commands waiting."""


class _Line:
    """What one client waits for: the messages of the next batch, and the future that all of them share."""

    __slots__ = ("done", "messages", "task")

    def __init__(self) -> None:
        self.messages: list[Published] = []
        self.done: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None


class Inbound:
    """Takes messages in; ``routes`` is replaced whole when the bindings change."""

    def __init__(self, context: AdapterContext, routes: Routes, counters: Counters, commands: Commands) -> None:
        self.routes = routes
        self._context = context
        self._counters = counters
        self._commands = commands
        self._lines: dict[tuple[str, Source], _Line] = {}

    def permitted(self, destination: Destination, source: Source) -> bool:
        """Whether ``source`` may publish what leads to ``destination``."""
        return all(self._context.may_publish(source, thing) for thing in destination.things)

    def take(self, client: str, messages: Sequence[Published], source: Source) -> asyncio.Future[None]:
        """Start taking in messages that ``source`` may publish; ``client`` is who they are counted for.

        The future fails with `Overloaded` or `DiskFull` when nothing was kept. What was started goes on when nobody
        waits for it any more, until `close`; the caller bounds how much that is.
        """
        self._counters.of(client).received += len(messages)
        line = self._lines.get((client, source))
        if line is None:
            line = self._lines[client, source] = _Line()
            line.task = asyncio.ensure_future(self._work(client, source, line))
        line.messages += messages
        if line.done is None:
            line.done = _future()
        return line.done

    async def forbid(self, client: str, topic: str, source: Source) -> None:
        """Refuse a message on a topic that is not the source's: raises `Forbidden` once the refusal is durable.

        The offence is the authenticated session's.
        """
        counters = self._counters.of(client)
        counters.received += 1
        self._refuse(client, topic, counters)
        try:
            await self._context.intake(unreadable(f"topic {topic[:200]!r}", reason="not-yours"), source)
        except (Overloaded, DiskFull):
            counters.turned_away += 1
            raise
        raise Forbidden(f"{source.principal} may not publish on {topic[:200]!r}")

    def refuse(self, client: str, topic: str) -> None:
        """Count a message that a broker's own lists let through, and no Thing of ours is there."""
        counters = self._counters.of(client)
        counters.received += 1
        self._refuse(client, topic, counters)

    async def close(self) -> None:
        """Stop what is under way; its messages are not acknowledged."""
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refuse(self, client: str, topic: str, counters: ClientCounters) -> None:
        counters.refused += 1
        log.warning("publish refused: client=%s topic=%r", client, topic[:120])

    async def _work(self, client: str, source: Source, line: _Line) -> None:
        """Take in the client's messages, batch by batch, until there are none."""
        counters = self._counters.of(client)
        try:
            while line.done is not None:
                messages, done = line.messages, line.done
                line.messages, line.done = [], None
                await _settle(done, self._take(client, source, messages, counters))
        finally:
            if line.done is not None:
                line.done.cancel()
            del self._lines[client, source]

    async def _take(self, client: str, source: Source, messages: Sequence[Published], counters: ClientCounters) -> None:
        left = len(messages)
        try:
            for spoken, group in itertools.groupby(messages, _is_acknowledgement):
                together = list(group)
                if spoken:
                    for message in together:
                        await self._take_acknowledgement(client, message, source, counters)
                else:
                    await self._take_readings(client, together, source, counters)
                left -= len(together)
        except (Overloaded, DiskFull):
            counters.turned_away += left
            raise

    async def _take_readings(
        self, client: str, messages: Sequence[Published], source: Source, counters: ClientCounters
    ) -> None:
        few = sum(len(message.body) for message in messages) <= _AT_ONCE_BYTES
        batch = decode_batch(messages) if few else await asyncio.to_thread(decode_batch, messages)
        self._counters.note(client, batch.counts)
        outcome = await self._context.intake(batch.readings, source)
        counters.took(outcome, messages=len(messages), unreadable=batch.unreadable)

    async def _take_acknowledgement(
        self, client: str, message: Published, source: Source, counters: ClientCounters
    ) -> None:
        thing = message.destination.things[0]
        try:
            acknowledgement = decode_acknowledgement(message.body)
            if not await self._commands.acknowledged(acknowledgement, thing):
                raise Invalid(f"{thing} was given no command {acknowledgement.command[:80]!r}")
        except Invalid as error:
            log.warning("acknowledgement refused: client=%s %s", client, error.detail)
            await self._context.intake(unreadable(error.detail, reason="acknowledgement"), source)
            counters.refused += 1
            return
        counters.stored += 1


async def _settle(done: asyncio.Future[None], work: Awaitable[None]) -> None:
    """Tell ``done`` what became of ``work``."""
    try:
        await work
    except asyncio.CancelledError:
        done.cancel()
        raise
    except Exception as error:
        if not isinstance(error, GridspineError):
            log.exception("messages could not be taken in")
        if not done.done():
            done.set_exception(error)
    else:
        if not done.done():
            done.set_result(None)


def _is_acknowledgement(message: Published) -> bool:
    return message.destination.kind == "acknowledgements"


def _future() -> asyncio.Future[None]:
    """Return a future that may fail although nobody looks."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
