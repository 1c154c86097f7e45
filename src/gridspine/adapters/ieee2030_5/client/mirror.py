"""Readings of the node, as the server wants them: made of history, posted in order, kept until the server took them.

::

    history ─ a report of each point, interval by interval ─► MirrorUsagePoint of each Thing ─► posted until …
                                                                           server away: later, all that it missed

They are had by a programme of the node's own that commands nothing and asks to be told of them: so each post has a
report in the node, which says what was told. What lies longer than ``_BACK_US`` in the past is not told any more.
"""

import logging
from collections.abc import Sequence

import msgspec

from gridspine.adapters.ieee2030_5.client.connection import Connection
from gridspine.adapters.ieee2030_5.client.end_device import Upstream
from gridspine.adapters.ieee2030_5.client.reading import KINDS, Read, posted, slots, usage_point
from gridspine.adapters.ieee2030_5.client.record import ProgramRecord, Record
from gridspine.energy.control_port import ControlPort
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, NotFound
from gridspine.kernel.time import US

log = logging.getLogger(__name__)
SETTLE_S = 15
"""How long after an interval its readings are read [s]: those that were made in it may still be on their way."""
_BACK_US = 7 * 86_400 * US
_AT_ONCE = 100
"""Intervals of one post at most."""


class Mirror:
    """Posts for one EndDevice, with ``lfdi``; ``href`` is the server's MirrorUsagePointList."""

    def __init__(self, port: ControlPort, clock: Clock, connection: Connection, upstream: Upstream, pen: int) -> None:
        self._port, self._clock, self._connection = port, clock, connection
        self._upstream, self._pen = upstream, pen

    def due_us(self, record: Record) -> int:
        """Return when there is something to post [µs since 1970], 0 where nothing is mirrored."""
        return record.posted_us + (self._upstream.post_s + SETTLE_S) * US if record.mirror is not None else 0

    def settled(self, record: Record) -> Record:
        """Return the record; where the clock was set back since it posted, as one that posted until now."""
        every_us, now_us = self._upstream.post_s * US, self._clock.now_us()
        if record.posted_us <= now_us + every_us:
            return record
        return msgspec.structs.replace(record, posted_us=now_us // every_us * every_us)

    async def post(self, record: Record, lfdi: str, href: str) -> Record:
        """Post what is due and was not posted yet; returns what is to be kept. Raises what the server answers."""
        if record.mirror is None:
            return record
        begin_us, end_us = self._time(record, record.mirror)
        if end_us <= begin_us:
            return msgspec.structs.replace(record, posted_us=begin_us)
        things: dict[str, dict[str, Sequence[Read]]] = {}
        for point in self._upstream.mirror:
            for thing, reads in (await self._told(record.mirror, point, begin_us, end_us)).items():
                things.setdefault(thing, {})[point] = reads
        mirrored = dict(record.mirrored)
        for thing, found in sorted(things.items()):
            mirrored[thing] = await self._deliver(thing, found, lfdi, href, mirrored.get(thing, ""))
        return msgspec.structs.replace(record, mirrored=mirrored, posted_us=end_us)

    def _time(self, record: Record, mirror: ProgramRecord) -> tuple[int, int]:
        """Return from when until when is to be told [µs since 1970], in whole intervals."""
        every_us = self._upstream.post_s * US
        now_us = self._clock.now_us()
        enrolment = self._port.enrolments.get(mirror.programme, mirror.enrolment)
        since_us = max(record.posted_us, enrolment.from_us, now_us - _BACK_US)
        begin_us = -(-since_us // every_us) * every_us
        end_us = (now_us - SETTLE_S * US) // every_us * every_us
        return begin_us, min(end_us, begin_us + _AT_ONCE * every_us)

    async def _told(self, mirror: ProgramRecord, point: str, begin_us: int, end_us: int) -> dict[str, list[Read]]:
        """Return the readings of a point, by the Things that have it."""
        try:
            report = await self._port.reports.deliver(
                mirror.programme, mirror.enrolment, "READING", begin_us, end_us, point=point
            )
        except Conflict as error:  # no Thing of the site has the point
            log.info("nothing to mirror: point=%s %s", point, error.detail)
            return {}
        found = await self._port.reports.values(report)
        register = KINDS[point].register
        return {
            one.thing: slots(one.values, begin_us, self._upstream.post_s, register=register)
            for one in found.resources
        }  # fmt: skip

    async def _deliver(
        self, thing: str, found: dict[str, Sequence[Read]], lfdi: str, href: str, known: str
    ) -> str:  # fmt: skip
        """Post the readings of a Thing; its usage point is made where the server has none. Returns where that is."""
        every_s = self._upstream.post_s
        body = posted(lfdi, thing, found, every_s=every_s, pen=self._pen)
        if not any(found.values()):
            return known
        if known:
            try:
                await self._connection.post(known, body)
                return known
            except NotFound:
                log.info("the server has forgotten a usage point: it is made anew: thing=%s", thing)
        site = thing == self._upstream.meter
        made = usage_point(
            lfdi, thing, thing.rpartition(":")[2], tuple(self._upstream.mirror), site=site, every_s=every_s,
            pen=self._pen,
        )  # fmt: skip
        there = await self._connection.post(href, made)
        if not there:
            raise NotFound("the server does not say where the usage point is that it took")
        await self._connection.post(there, body)
        return there
