"""Who asks, and what they are shown: a client proven by its certificate, and what was rendered for it.

::

    certificate ─► LFDI ─► EndDevices it speaks for ─► `ClientView` ─► bodies, kept until anything changes, or time does

What is shown is made anew when documents, bindings, somebody's standing or the device's own words change, and when a
control begins or is over. Until then a request costs a look-up.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from gridspine.adapters.ieee2030_5.der_program import Assignment, assignments, next_change_us
from gridspine.adapters.ieee2030_5.end_device import Connection, EndDevice, EndDevices, key_of
from gridspine.adapters.ieee2030_5.identity import lfdi_of
from gridspine.adapters.ieee2030_5.metering import MAX_LATEST
from gridspine.adapters.ieee2030_5.mrid import mrid
from gridspine.adapters.ieee2030_5.record import Book
from gridspine.adapters.ieee2030_5.settings import Rates, Settings
from gridspine.adapters.ieee2030_5.view import ClientView, DeviceView, LastReading
from gridspine.energy.followed import Followed, FollowPort
from gridspine.kernel.errors import Forbidden, NotFound
from gridspine.kernel.time import MAX_US, US
from gridspine.things.adapter import AdapterContext, Source

MAX_CLIENTS, MAX_BODIES = 10_000, 400
"""Clients whose view is kept; bodies kept for one of them."""
_AHEAD_S = 300
"""How far ahead of the node's clock a reading's may be that keeps older ones out [s]."""


class Commands(Protocol):
    """What the leases on a device's points come to."""

    def assigned(self, device: EndDevice, followed: Followed) -> Assignment | None:
        """Return the assignment of their controls, None when there are none."""
        ...


class Shown:
    """What a client is shown, and the bodies rendered of it; `good` as long as nothing changed."""

    __slots__ = ("_events", "bodies", "certificate", "generation", "source", "things", "view")

    def __init__(self, view: ClientView, source: Source, generation: int, certificate: bytes) -> None:
        self.view, self.source, self.generation, self.certificate = view, source, generation, certificate
        self.things = tuple(one.device.thing for one in view.devices if one.device.thing)
        self.bodies: dict[str, bytes | None] = {}
        self._events: dict[str, dict[str, str]] = {}

    def keep(self, target: str, body: bytes | None) -> None:
        """Keep what was rendered for a target."""
        if len(self.bodies) >= MAX_BODIES:
            self.bodies.clear()
        self.bodies[target] = body

    def event(self, one: DeviceView, subject: str) -> str | None:
        """Return the event that the control with mRID ``subject`` is of, "" for one of none, None for no control."""
        found = self._events.get(one.device.lfdi)
        if found is None:
            found = self._events[one.device.lfdi] = dict(_controls(one, self.view.settings.pen))
        return found.get(subject)


def _controls(one: DeviceView, pen: int) -> list[tuple[str, str]]:
    """Return mRID and event of all controls of a device, also those that are over."""
    present = [control for own in one.assignments for program in own.programs for control in program.controls]
    found = [(mrid("DERControl", *control.names, pen=pen), control.event) for control in present]
    for part in one.followed.parts:
        for event in part.events:
            if event.aimed_at(part.enrolment.words):
                places = range(len(event.intervals))
                found += [(mrid("DERControl", event.id, str(at), pen=pen), event.id) for at in places]
    return found


class Sessions:
    """All clients. Lives on the event loop."""

    def __init__(
        self, context: AdapterContext, settings: Settings, book: Book, follow: FollowPort, commands: Commands
    ) -> None:
        self.rates: Rates = settings.rates
        self.devices = EndDevices(())
        self.book = book
        self.changed = asyncio.Event()
        """Set whenever anything changed that may be shown."""
        self.watched: frozenset[str] = frozenset()
        """mRIDs of the readings that somebody wants to be told of."""
        self._latest: OrderedDict[str, LastReading] = OrderedDict()
        self._context, self._settings, self._follow, self._commands = context, settings, follow, commands
        self._generation = 0
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._shown: OrderedDict[bytes, Shown] = OrderedDict()

    def turn(self, lfdi: str) -> asyncio.Lock:
        """Return what is held by whoever changes what is kept of a client, or of its EndDevices."""
        found = self._turns.get(lfdi)
        if found is None:
            found = self._turns[lfdi] = asyncio.Lock()
        return found

    async def rebind(self, devices: EndDevices) -> None:
        """Show other EndDevices; of those that are gone nothing is kept, and those that came wait no more."""
        before, self.devices = self.devices, devices
        self.renew()
        for one in before.all():
            if devices.get(one.lfdi) is None:
                async with self.turn(one.speaks):
                    await self.book.forget(one.lfdi)
        for one in devices.all():
            if before.get(one.lfdi) is None:
                async with self.turn(one.speaks):
                    await self.book.welcome(one.speaks, one.lfdi)
        self.renew()

    def renew(self) -> None:
        """Show nothing any more that was rendered before."""
        self._generation += 1
        self.changed.set()

    def forget_readings(self, mrids: Iterable[str]) -> None:
        """Remember nothing any more of kinds that are given up: their mRIDs may be others' next."""
        for one in mrids:
            self._latest.pop(one, None)

    def read(self, mrid: str, last: LastReading | None) -> None:
        """Remember the newest reading of a kind; what is older than what is known changes nothing.

        Unless that was of a clock that was far ahead.
        """
        known, ahead_s = self._latest.get(mrid), self._context.clock.now_us() // US + _AHEAD_S
        newer = known is not None and last is not None and last.timed and last.until_s < known.until_s < ahead_s
        if last is None or newer:
            return
        self._latest[mrid] = last
        self._latest.move_to_end(mrid)
        if len(self._latest) > MAX_LATEST:
            self._latest.popitem(last=False)
        if mrid in self.watched:
            self.changed.set()

    def quick(self, certificate_der: bytes, target: str, now_us: int) -> tuple[bytes | None] | None:
        """Return the body that was rendered for a target, in a tuple (None: there is none); None: it must be asked."""
        shown = self._shown.get(certificate_der)
        if shown is None or not self._is_fresh(shown, now_us):
            return None
        if target not in shown.bodies or not self.holds(shown):
            return None
        return (shown.bodies[target],)

    async def client(self, certificate_der: bytes | None) -> Shown:
        """Return what the client with this certificate is shown; raise `Forbidden` for one that nobody knows."""
        if certificate_der is None:
            raise Forbidden("a client certificate is needed")
        now_us = self._context.clock.now_us()
        shown = self._shown.get(certificate_der)
        if shown is not None and self._is_fresh(shown, now_us) and self.holds(shown):
            return shown
        source = await self._context.authorise("", "", certificate_der)
        if source is None:
            self._shown.pop(certificate_der, None)
            raise Forbidden("the client certificate is not one that is known here")
        generation = self._generation
        view = await self.view(lfdi_of(certificate_der), source)
        made = self._shown[certificate_der] = Shown(view, source, generation, certificate_der)
        self._shown.move_to_end(certificate_der)
        while len(self._shown) > MAX_CLIENTS:
            self._shown.popitem(last=False)
        return made

    async def subscriber(self, lfdi: str) -> Shown:
        """Return what a subscriber is shown, by the certificate it subscribed with; raise `Forbidden` as `client`."""
        return await self.client((await self.book.client(lfdi)).certificate or None)

    async def view(self, lfdi: str, source: Source) -> ClientView:
        """Return what the client with that LFDI is shown."""
        now_us = self._context.clock.now_us()
        record = await self.book.client(lfdi)
        shown = [await self._device(one, source, now_us) for one in self._own(lfdi, source)]
        present = {one.device.lfdi for one in shown}
        for announced in record.announced:
            if announced.lfdi not in present and self.devices.get(announced.lfdi) is None:
                device = EndDevice(
                    key_of(announced.lfdi), announced.lfdi, category=announced.category, announced_us=announced.at_us,
                    connection=Connection(announced.lfdi, aggregator="" if announced.lfdi == lfdi else lfdi),
                )  # fmt: skip
                shown.append(await self._device(device, source, now_us))
        next_us = min((next_change_us(one.assignments, one.followed, now_us) for one in shown), default=MAX_US)
        return ClientView(lfdi, shown, record, self._settings, self.rates, now_us, next_us, self._latest)

    def _own(self, lfdi: str, source: Source) -> Sequence[EndDevice]:
        return [one for one in self.devices.of_client(lfdi) if self._context.may_publish(source, one.thing)]

    async def _device(self, device: EndDevice, source: Source, now_us: int) -> DeviceView:
        followed = Followed()
        if device.thing and not device.aggregator:
            try:
                followed = self._follow.followed(source, device.thing)
            except NotFound:  # its Thing went this moment: bindings follow
                followed = Followed()
        assigned = assignments(followed, now_us, self._settings.envelope_primacy)
        commanded = self._commands.assigned(device, followed)
        if commanded is not None:
            assigned.append(commanded)
        href = f"{self._settings.path}/edev/{device.key}"
        lfdi, thing = device.lfdi, device.thing
        record = await self.book.of_thing(lfdi, thing, now_us) if thing else await self.book.device(lfdi)
        return DeviceView(device, record, followed, assigned, href)

    def _is_fresh(self, shown: Shown, now_us: int) -> bool:
        """Whether nothing changed since, nor did time make another answer of it; a clock that was set back does."""
        return shown.generation == self._generation and shown.view.now_us <= now_us < shown.view.next_us

    def holds(self, shown: Shown) -> bool:
        """Whether who is shown it may still be: one who speaks for nothing is asked anew each time."""
        return bool(shown.things) and self._context.may_publish(shown.source, shown.things[0])
