"""The `Adapter`: a server of IEEE 2030.5 with CSIP-AUS for devices and aggregators, and a client of utilities'."""

import asyncio
import logging
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec

from gridspine.adapters.ieee2030_5.announced import announced
from gridspine.adapters.ieee2030_5.client.end_device import is_upstream
from gridspine.adapters.ieee2030_5.client.utility import follow_utilities
from gridspine.adapters.ieee2030_5.commands import LeasedControls
from gridspine.adapters.ieee2030_5.end_device import EndDevices
from gridspine.adapters.ieee2030_5.mirror import Mirror
from gridspine.adapters.ieee2030_5.notify import Notifier
from gridspine.adapters.ieee2030_5.record import Book
from gridspine.adapters.ieee2030_5.server import Server
from gridspine.adapters.ieee2030_5.session import Sessions
from gridspine.adapters.ieee2030_5.settings import LISTENER, Rates, Settings, read_settings
from gridspine.adapters.ieee2030_5.writes import Writes
from gridspine.energy.control_port import Controls, controls_of
from gridspine.energy.followed import Followed, FollowPort
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.infra.runtime.waiting import first_to_end
from gridspine.kernel.errors import Invalid, NotFound, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding, Order, Source
from gridspine.things.adapter_orders import Deliver

log = logging.getLogger(__name__)
_LOOK_S = 0.5
"""How long a change of bindings, or of the file of rates, may wait at most [s]."""


class Ieee20305Adapter:
    """The adapter ``ieee2030_5``."""

    name = "ieee2030_5"

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled; raises `Invalid` for wrong settings."""
        settings = read_settings(context.settings)
        controls = _controls(context)
        follow: FollowPort = _Nobody() if controls is None else controls.following
        commands = LeasedControls(context, settings)
        sessions = Sessions(context, settings, Book(context.store), follow, commands)
        mirror = Mirror(context, settings, sessions)
        writes = Writes(context, settings, sessions, follow, mirror, commands)
        server = Server(context, settings, sessions, writes, commands)
        sessions.devices = EndDevices(_served(context))
        await first_to_end(
            _serve(context, settings, server),
            _follow_bindings(context, sessions),
            _follow_controls(controls, sessions),
            _follow_rates(context, settings, sessions),
            commands.orders.follow(_deliver(sessions, commands)),
            commands.orders.expire(_ended(sessions, commands)),
            Notifier(context, settings, sessions).run(),
            _follow_utilities(context, controls, settings),
        )


def adapter() -> Ieee20305Adapter:
    """Return the adapter, for the entry point group ``gridspine.adapters``."""
    return Ieee20305Adapter()


class _Nobody:
    """What Things follow where there are no sites and programmes: nothing."""

    def followed(self, source: Source, thing: str) -> Followed:
        return Followed()

    def answers_for(self, source: Source, thing: str, enrolment: ProgrammeEnrolment) -> bool:
        return False

    async def opt(self, source: Source, thing: str, event: str, *, out: bool, reason: str = "") -> bool:
        raise NotFound("there is no such event")

    async def opt_out_of(
        self, source: Source, thing: str, programme: str, times: tuple[int, int], *, reason: str = ""
    ) -> str:
        raise NotFound("there is no such programme")

    async def opt_back(self, source: Source, thing: str, opt: str) -> None:
        return


def _controls(context: AdapterContext) -> Controls | None:
    try:
        return controls_of(context)
    except Unavailable:
        log.warning("there are no sites and programmes here: devices are told of leases on their points only")
        return None


async def _serve(context: AdapterContext, settings: Settings, server: Server) -> None:
    if settings.utilities and LISTENER not in context.settings:
        await asyncio.get_running_loop().create_future()  # it is a client only
    host, port = await context.serve(LISTENER, server)
    log.info("serving: %s:%d%s/dcap", host, port, settings.path)
    announcement = await announced(settings, host, port) if settings.announce else None
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        if announcement is not None:
            await announcement.close()


async def _follow_bindings(context: AdapterContext, sessions: Sessions) -> None:
    said: set[str] = set()
    before: object = None
    clock = context.clock
    while True:
        present, began_us = _served(context), clock.monotonic_us()
        if present != before:
            await sessions.rebind(EndDevices(present))
            before = present
        for problem in sessions.devices.problems:
            if problem not in said:
                log.error("binding left out: %s", problem)
        said = set(sessions.devices.problems)
        took_s = (clock.monotonic_us() - began_us) / US
        await context.bindings_changed()
        sessions.renew()  # whose standing changed is asked for anew at once
        # While a fleet is registered, one by one, no more than a tenth of the time goes into looking.
        await clock.sleep(min(_LOOK_S, 9 * took_s))


def _served(context: AdapterContext) -> list[Binding]:
    """Return the Things that are EndDevices here, and not at a utility's server."""
    return [one for one in context.bindings() if not is_upstream(one.connection)]


async def _follow_utilities(context: AdapterContext, controls: Controls | None, settings: Settings) -> None:
    if settings.utilities and controls is not None:
        await follow_utilities(context, controls, settings.utilities, settings.pen)
    if settings.utilities:
        log.error("utilities are not followed here: there are no sites and programmes")
    await asyncio.get_running_loop().create_future()


async def _follow_controls(controls: Controls | None, sessions: Sessions) -> None:
    while controls is not None:
        changes = controls.changes()
        sessions.renew()
        async for _ in changes:
            sessions.renew()
    await asyncio.get_running_loop().create_future()


async def _follow_rates(context: AdapterContext, settings: Settings, sessions: Sessions) -> None:
    """Read the file of rates whenever it changes; what cannot be read changes nothing."""
    if not settings.rates_file:
        await asyncio.get_running_loop().create_future()
    seen: bytes | None = None
    while True:
        content = await asyncio.to_thread(_content, settings.rates_file)
        if content != seen:
            seen = content
            try:
                sessions.rates = _rates(content, settings.rates)
                sessions.renew()
            except Invalid as error:
                log.error("rates_file: %s", error.detail)
        await context.clock.sleep(_LOOK_S)


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _rates(content: bytes, usual: Rates) -> Rates:
    try:
        given = msgspec.to_builtins(usual) | tomllib.loads(content.decode())
        rates = msgspec.convert(given, Rates)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(str(error)) from error
    rates.check()
    return rates


def _deliver(sessions: Sessions, commands: LeasedControls) -> Deliver:
    async def deliver(order: Order) -> None:
        commands.begins(order)
        device = sessions.devices.of_thing(order.thing)
        if device is not None and order.value is not None and not commands.known(device, order.point):
            reason = f"leases on {order.point} become no control: see commands in the Thing's connection"
            await commands.orders.progress(order, "rejected", reason)
        sessions.renew()

    return deliver


def _ended(sessions: Sessions, commands: LeasedControls) -> Callable[[Order], None]:
    def ended(order: Order) -> None:
        commands.ended(order)
        sessions.renew()

    return ended
