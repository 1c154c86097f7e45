"""One EndDevice, followed: what its server says is carried, answered, and told of; look by look.

::

    look ─► EndDevice there? ─ no ─► announced, and waited for
              └ yes ─► PIN right? ─► programs carried ─► responses queued ─► kept ─► responses and readings posted
    server away: what was carried goes on; what is to be answered waits, as do readings
"""

import logging

import msgspec

from gridspine.adapters.ieee2030_5.client import reading
from gridspine.adapters.ieee2030_5.client.answer import due, response, wanted
from gridspine.adapters.ieee2030_5.client.carried import Carrier
from gridspine.adapters.ieee2030_5.client.connection import Connection, Failed
from gridspine.adapters.ieee2030_5.client.der_control import SeenControl, SeenProgram
from gridspine.adapters.ieee2030_5.client.end_device import Upstream
from gridspine.adapters.ieee2030_5.client.mirror import Mirror
from gridspine.adapters.ieee2030_5.client.record import MAX_ANSWERS, Answer, Book, Record
from gridspine.adapters.ieee2030_5.client.walk import Programs, Walk, link_of, own
from gridspine.adapters.ieee2030_5.identity import sfdi_of
from gridspine.adapters.ieee2030_5.wire import Element
from gridspine.energy.control_port import ControlPort
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import (
    Conflict,
    Forbidden,
    GridspineError,
    Invalid,
    NotFound,
    Overloaded,
    TooLarge,
    Unavailable,
)
from gridspine.kernel.time import US

log = logging.getLogger(__name__)
_DOCUMENTS_US, _AGAIN_US = 3_600 * US, 60 * US
"""How often what is said of the DER is said again [µs]; when, where it was not taken."""
_MOVED_US = 300 * US
"""How often all is read anew at most where what one EndDevice is told leads nowhere [µs]."""
MODES_SUPPORTED, DOE_MODES = 0x0050_0000, 0x0F
"""What DERCapability says is supported: opModMaxLimW, opModTargetW; of CSIP-AUS all four limits.

Source: DERControlType and DOEControlType of the schemas, by the bits that their open implementations name.
"""


class Follower:
    """Follows one EndDevice; ``thing`` stands for it, ``lfdi`` is its LFDI."""

    def __init__(
        self, clock: Clock, book: Book, walk: Walk, thing: str, upstream: Upstream, lfdi: str, pen: int
    ) -> None:
        self.thing, self.upstream, self.lfdi = thing, upstream, lfdi
        self._clock, self._book, self._walk, self._pen = clock, book, walk, pen
        self._seen: dict[str, dict[str, SeenControl | None]] = {}
        self._documents_us = self._moved_us = 0
        self._said = ""
        self.next_us = 0
        """When something is to be done without the server's word [µs since 1970]."""
        self.listed = self.held = self.unread = 0
        """Controls that the server lists, those of which anything holds, and those that cannot be read."""

    async def look(self, port: ControlPort, *, away: bool = False) -> None:
        """Do all that is due, in the name of ``port``; ``away``: the server does not answer.

        Raises `Unavailable` when it is not reached, or `GridspineError` for what it said (of this EndDevice alone
        `Failed`, or `NotFound`), after everything was done that needs no server.
        """
        record = await self._current(port)
        carrier = Carrier(port, self._clock, self.thing, self.upstream)
        before = record
        problem: GridspineError | None = None
        device: Element | None = None
        try:
            if not away:
                device, record = await self._carry(carrier, record)
        except GridspineError as error:
            problem = error
        if problem is not None or away:
            self._seen = {}
        record = self._answered(carrier, record)
        if record != before:
            await self._book.put(self.thing, record)
        if device is not None:
            before, record = record, await self._tell(record)
            await self._describe(port, device)
            record = await self._mirrored(port, carrier, record)
            if record != before:
                await self._book.put(self.thing, record)
        if problem is not None:
            raise problem

    async def _current(self, port: ControlPort) -> Record:
        """Return what is kept of it; what was made for another site, or another organisation, is ended."""
        record, subject = await self._book.get(self.thing), self.upstream.site or self.upstream.thing
        organisation = port.source.organisation
        if record.subject not in {"", subject} or record.organisation not in {"", organisation}:
            await end(self._book, port, self._clock, self.thing)
            record = Record()
        return msgspec.structs.replace(record, subject=subject, organisation=organisation)

    # -- what the server says ------------------------------------------------------------------------------------------

    async def _carry(self, carrier: Carrier, record: Record) -> tuple[Element | None, Record]:
        device, (seen, whole) = await self._read()
        if device is None:
            return None, record
        self.unread = sum(len(one.unread) for one in seen)
        self._note(f"{self.unread} controls cannot be read, what stands of them goes on" if self.unread else "")
        self._seen = {mrid: {} for mrid in record.programs} if whole else {}
        self._seen |= {one.mrid: _known(one, record) for one in seen}
        self.listed = len({mrid for controls in self._seen.values() for mrid in controls})
        return device, await carrier.carry(record, seen, self._walk.offset_us, whole=whole)

    async def _read(self) -> tuple[Element | None, Programs]:
        """Return the EndDevice and its programs; where the server moved something, all is read anew.

        Seldom where that does not help: the other EndDevices would be, too.
        """
        try:
            found = await self._found()
        except NotFound:
            now_us = self._clock.monotonic_us()
            if now_us < self._moved_us:
                raise
            self._moved_us = now_us + _MOVED_US
            self._walk.forget()
            found = await self._found()
        self._moved_us = 0
        return found

    async def _found(self) -> tuple[Element | None, Programs]:
        device = await self._device()
        none = Programs([])
        return device, none if device is None else await self._walk.programs(device, self.upstream.rated_power_w)

    async def _device(self) -> Element | None:
        """Return the EndDevice; None where it is not there, or not the one that is meant."""
        try:
            devices = await self._walk.end_devices()
        except (NotFound, Failed) as error:  # it is so for every EndDevice
            self._walk.forget()
            raise Unavailable(error.detail) from error
        device = own(devices, self.lfdi)
        if device is None and self.upstream.register:
            await self._register()
        if device is None:
            self._note("the server does not show the EndDevice: the utility has to register it")
            return None
        if self.upstream.pin and (href := link_of(device, "RegistrationLink")):
            said = (await self._walk.connection.get(href)).whole("pIN", 0, 999_999)
            if said != self.upstream.pin:
                self._note("the server shows another PIN: this is not the server that the site was registered at")
                return None
        return device

    async def _register(self) -> None:
        """Announce the EndDevice in-band; a server that knows it, or takes none, is left alone."""
        href = link_of(await self._walk.capability(), "EndDeviceListLink")
        made = reading.end_device(self.lfdi, sfdi_of(self.lfdi), self.upstream.category, self._clock.now_us())
        try:
            await self._walk.connection.post(href, made)
            self._walk.forget()
        except (Conflict, Forbidden, Invalid, NotFound, Overloaded) as error:
            log.info("the EndDevice was not announced: thing=%s %s", self.thing, error.detail)

    # -- what is answered ----------------------------------------------------------------------------------------------

    def _answered(self, carrier: Carrier, record: Record) -> Record:
        """Return the record with the responses that are due now, and note when the next may be."""
        now_us = self._clock.now_us()
        programs, answers = dict(record.programs), list(record.answers)
        edges, held = [], 0
        for program, mrid, control, stands in list(carrier.standings(record, self._seen)):
            said = list(due(control.told, stands, now_us))
            held += stands.held and stands.begin_us <= now_us < stands.end_us
            edges += [edge for edge in (stands.begin_us, stands.end_us) if edge > now_us]
            if said:
                told = msgspec.structs.replace(control, told=(*control.told, *said)[-50:])
                one = programs[program]
                programs[program] = msgspec.structs.replace(one, controls={**one.controls, mrid: told})
                answers += [
                    Answer(control.reply_to, mrid, status, now_us)
                    for status in said
                    if control.reply_to and wanted(status, control.required)
                ]
        self.held, self.next_us = held, min(edges, default=0)
        return msgspec.structs.replace(record, programs=programs, answers=tuple(answers[-MAX_ANSWERS:]))

    async def _tell(self, record: Record) -> Record:
        """Post the responses that wait, the oldest first; those that the server refuses are let go."""
        waiting = list(record.answers)
        try:
            while waiting:
                one = waiting[0]
                made = response(one.subject, one.status, self.lfdi, one.at_us + self._walk.offset_us)
                try:
                    await self._walk.connection.post(one.reply_to, made)
                except (Invalid, Forbidden, NotFound, Conflict, TooLarge) as error:
                    log.warning("a response was refused: mRID=%s status=%d %s", one.subject, one.status, error.detail)
                waiting.pop(0)
        except Unavailable:
            pass  # they wait: the next look finds out whether the server is there
        return msgspec.structs.replace(record, answers=tuple(waiting))

    # -- what is told --------------------------------------------------------------------------------------------------

    async def _describe(self, port: ControlPort, device: Element) -> None:
        """Say what the DER can, how it is, and where it is connected, once in a while."""
        now_us, monotonic_us = self._clock.now_us(), self._clock.monotonic_us()
        if monotonic_us < self._documents_us:
            return
        self._documents_us = monotonic_us + _DOCUMENTS_US
        connection, rated_w = self._walk.connection, self.upstream.rated_power_w
        try:
            await self._connected(connection, port, device)
            for der in await self._walk.children(device, "DERListLink", "DER"):
                if rated_w > 0 and (href := link_of(der, "DERCapabilityLink")):
                    await connection.put(
                        href, reading.capability(rated_w, self.upstream.der_type, MODES_SUPPORTED, DOE_MODES)
                    )
                if rated_w > 0 and (href := link_of(der, "DERSettingsLink")):
                    await connection.put(href, reading.settings(rated_w, MODES_SUPPORTED, DOE_MODES, now_us))
                if href := link_of(der, "DERStatusLink"):
                    await connection.put(href, reading.status(now_us + self._walk.offset_us))
        except GridspineError as error:
            self._documents_us = monotonic_us + _AGAIN_US
            log.warning("the server did not take what was said of the DER: thing=%s %s", self.thing, error.detail)

    async def _connected(self, connection: Connection, port: ControlPort, device: Element) -> None:
        href = link_of(device, "csipaus:ConnectionPointLink")
        if not href or not self.upstream.site:
            return
        if id_ := port.sites.get(self.upstream.site).connection_point_id:
            try:
                said = (await connection.get(href)).said("csipaus:connectionPointId") or ""
            except NotFound:
                said = ""
            if said != id_:
                await connection.put(href, reading.connection_point(id_))

    async def _mirrored(self, port: ControlPort, carrier: Carrier, record: Record) -> Record:
        """Post readings that are due; what the server or the node does not have now is tried again."""
        if not self.upstream.mirror:
            return record
        try:
            record = await carrier.mirror(record)
            if record.mirror is None or carrier.enrolment(record.mirror) is None:
                return record  # it was retired here, and let go: nothing is told any more
            mirror = Mirror(port, self._clock, self._walk.connection, self.upstream, self._pen)
            record = mirror.settled(record)
            if self._clock.now_us() >= mirror.due_us(record):
                href = link_of(await self._walk.capability(), "MirrorUsagePointListLink")
                if not href:
                    return record
                record = await mirror.post(record, self.lfdi, href)
            due_us = mirror.due_us(record)
            self.next_us = min(self.next_us or due_us, due_us)
        except GridspineError as error:
            log.warning("readings were not posted: thing=%s %s", self.thing, error.detail)
            self.next_us = self._clock.now_us() + 10 * US
        return record

    def _note(self, words: str) -> None:
        """Say once what is in the way."""
        if words and words != self._said:
            log.warning("%s: thing=%s lfdi=%s…", words, self.thing, self.lfdi[:8])
        self._said = words


def _known(seen: SeenProgram, record: Record) -> dict[str, SeenControl | None]:
    """Return the controls of a program by their mRIDs, None for one that was known, and may not be readable now."""
    before = record.programs[seen.mrid].controls if seen.mrid in record.programs else {}
    unread: dict[str, SeenControl | None] = dict.fromkeys(seen.may_list(before))
    return unread | {one.mrid: one for one in seen.controls}


async def end(book: Book, port: ControlPort, clock: Clock, thing: str) -> None:
    """End what was made for the EndDevice that ``thing`` stood for, and forget it."""
    record = await book.get(thing)
    await Carrier(port, clock, thing, Upstream("")).end(record)
    await book.forget(thing)
