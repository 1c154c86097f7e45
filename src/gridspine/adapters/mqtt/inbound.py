"""One published message to the node: where it leads, what it says, whether it may; then intake, then the counters.

It returns when the message may be acknowledged to its device: readings are durable, a device's word on a command is
recorded, or the message was refused and the refusal is durable. It raises when it must not be acknowledged.
"""

import dataclasses
import logging

import msgspec
import numpy as np

from gridspine.adapters.mqtt.commands import Commands
from gridspine.adapters.mqtt.counters import ClientCounters, Counters
from gridspine.adapters.mqtt.topics import Destination, Routes
from gridspine.adapters.mqtt.wire import (
    Count,
    Payload,
    decode_acknowledgement,
    decode_readings,
    decode_values,
    relative_times,
    unreadable,
)
from gridspine.kernel.errors import DiskFull, Forbidden, Invalid, Overloaded
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import NamedReadings
from gridspine.things.adapter import AdapterContext, Source

log = logging.getLogger(__name__)

_OLD = int(Quality.QUESTIONABLE | Quality.OLD_DATA)


class Published(msgspec.Struct, frozen=True):
    """A message as it came: ``again`` when it was sent before (DUP), ``kept`` when a broker had kept it (retained)."""

    client: str
    topic: str
    body: bytes
    again: bool = False
    kept: bool = False
    count: Count | None = None


class Inbound:
    """Takes messages in; ``routes`` is replaced whole when the bindings change."""

    def __init__(self, context: AdapterContext, routes: Routes, counters: Counters, commands: Commands) -> None:
        self.routes = routes
        self._context = context
        self._counters = counters
        self._commands = commands

    async def take(self, message: Published, source: Source | None) -> None:
        """Take ``message`` in; ``source`` None means that the broker before us knew who it was.

        Raises `Forbidden` when the source may not publish there, `Overloaded` or `DiskFull` when nothing was kept.
        """
        counters = self._counters.of(message.client)
        counters.received += 1
        destination = self.routes.destination(message.topic)
        if destination is None or not self._permitted(destination, source):
            await self._forbid(message, source, counters)
            return
        source = source or self._context.source_of(destination.things[0])
        try:
            if destination.kind == "acknowledgements":
                await self._take_acknowledgement(message, destination, source, counters)
            else:
                await self._take_readings(message, destination, source, counters)
        except (Overloaded, DiskFull):
            counters.turned_away += 1
            raise

    def _permitted(self, destination: Destination, source: Source | None) -> bool:
        return source is None or all(self._context.may_publish(source, thing) for thing in destination.things)

    async def _forbid(self, message: Published, source: Source | None, counters: ClientCounters) -> None:
        """Refuse a message on a topic that is not the source's; the offence is the authenticated session's."""
        counters.refused += 1
        log.warning("publish refused: client=%s topic=%r", message.client, message.topic[:120])
        if source is None:
            return  # the broker's own lists let it through, and no Thing of ours is there
        await self._context.intake(unreadable(f"topic {message.topic[:200]!r}", reason="not-yours"), source)
        raise Forbidden(f"{source.principal} may not publish on {message.topic[:200]!r}")

    async def _take_readings(
        self, message: Published, destination: Destination, source: Source, counters: ClientCounters
    ) -> None:
        try:
            payload = self._decode(message, destination)
        except Invalid as error:
            await self._context.intake(unreadable(f"topic {message.topic[:200]!r}: {error.detail}"), source)
            counters.refused += 1
            return
        count = payload.count or message.count
        if count is not None:
            self._counters.note(message.client, count)
        counters.took(await self._context.intake(payload.readings, source))

    async def _take_acknowledgement(
        self, message: Published, destination: Destination, source: Source, counters: ClientCounters
    ) -> None:
        try:
            acknowledgement = decode_acknowledgement(message.body)
            if not await self._commands.acknowledged(acknowledgement, destination.things[0]):
                raise Invalid(f"{destination.things[0]} was given no command {acknowledgement.command[:80]!r}")
        except Invalid as error:
            log.warning("acknowledgement refused: client=%s %s", message.client, error.detail)
            await self._context.intake(unreadable(error.detail, reason="acknowledgement"), source)
            counters.refused += 1
            return
        counters.stored += 1

    def _decode(self, message: Published, destination: Destination) -> Payload:
        now_us = self._context.clock.now_us()
        if destination.kind == "values":
            payload = decode_values(message.body, destination.values, now_us=now_us)
            if not (message.again or message.kept):
                return payload
            later = decode_values(message.body, destination.values, now_us=now_us + 1)
            relative = np.asarray(payload.readings.observed_us != later.readings.observed_us)
        else:
            thing = destination.things[0]
            payload = decode_readings(message.body, thing=thing, now_us=now_us)
            if not (message.again or message.kept):
                return payload
            relative = relative_times(message.body, thing=thing, now_us=now_us)
        return Payload(_aged(payload.readings, relative, drop=message.kept), payload.count)


def _aged(readings: NamedReadings, relative: np.ndarray, *, drop: bool) -> NamedReadings:
    """Treat readings whose time would be *now* although they are older.

    What a broker had kept says nothing new: it is dropped. What is sent again is kept, marked questionable and old.
    """
    if not relative.any():
        return readings
    if not drop:
        return dataclasses.replace(readings, quality=np.where(relative, readings.quality | _OLD, readings.quality))
    keep = ~relative
    return NamedReadings(
        readings.names, readings.units, readings.name_index[keep], readings.item[keep],
        readings.observed_us[keep], readings.value[keep], readings.quality[keep], readings.problems,
    )  # fmt: skip
