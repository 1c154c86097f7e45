"""The OpenADR 2.0b `Adapter`: a VTN over the node's programmes, and a VEN of each VTN that a Thing follows."""

import asyncio
import logging

from gridspine.adapters.openadr2.book import Book
from gridspine.adapters.openadr2.client.follower import Follower
from gridspine.adapters.openadr2.client.followers import followers_of
from gridspine.adapters.openadr2.desk import Desk
from gridspine.adapters.openadr2.push import Pusher
from gridspine.adapters.openadr2.session import App
from gridspine.adapters.openadr2.settings import LISTENER, Settings, read_settings
from gridspine.adapters.openadr2.signing import Signing, make_signing
from gridspine.energy.control_port import controls_of
from gridspine.energy.upstream.followers import Followers
from gridspine.infra.runtime.waiting import first_to_end
from gridspine.things.adapter import AdapterContext

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.5
_ONLY_SPEAKS = "a VEN is told of programmes, not of leases: enrol its Thing, or the site it is behind, in one"

_NOT_READ = "a VEN reports by itself, and is not asked"


class OpenAdr2Adapter:
    """A VTN of OpenADR 2.0b, and VENs."""

    name = "openadr2"

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled; raises `Invalid` when the settings are wrong."""
        settings = read_settings(context.settings)
        book = Book(context.store)
        await book.load()
        followers = followers_of(context, settings)
        desk = Desk(context, settings, book, controls_of(context), await _signing(context, settings))
        await first_to_end(
            _serve(context, desk), _push(desk), _follow_bindings(desk), _follow_controls(desk), _refuse_orders(context),
            _read_soon(context, followers), followers.run(),
        )  # fmt: skip


async def _signing(context: AdapterContext, settings: Settings) -> Signing | None:
    if settings.signature == "none" or not settings.vtn:
        return None
    files = settings.vtn["certificate"], settings.vtn["key"]
    return await asyncio.to_thread(make_signing, context.clock, *files, settings.signed_within_s)


async def _serve(context: AdapterContext, desk: Desk) -> None:
    if not desk.settings.vtn:
        await asyncio.get_running_loop().create_future()
    host, port = await context.serve(LISTENER, App(desk))
    _LOG.info("serving: %s:%d%s", host, port, desk.settings.path)
    await asyncio.get_running_loop().create_future()


async def _push(desk: Desk) -> None:
    if desk.settings.push is None or not desk.settings.vtn:
        await asyncio.get_running_loop().create_future()
    else:
        await Pusher(desk, desk.settings.push).run()


async def _follow_bindings(desk: Desk) -> None:
    said: set[str] = set()
    while True:
        await desk.rebind()
        for problem in desk.vens.problems:
            if problem not in said:
                _LOG.error("binding left out: %s", problem)
        said = set(desk.vens.problems)
        await desk.context.bindings_changed()
        desk.doubt()  # whose standing changed is asked for anew at once
        await desk.clock.sleep(_LOOK_S)


async def _follow_controls(desk: Desk) -> None:
    while True:
        changes = desk.controls.changes()
        desk.renew()
        async for _ in changes:
            desk.renew()


async def _refuse_orders(context: AdapterContext) -> None:
    async for order in context.orders():
        await context.progress(order.command, "rejected", _ONLY_SPEAKS, sequence=order.sequence)


async def _read_soon(context: AdapterContext, followers: Followers[Follower]) -> None:
    async for request in context.reads():
        context.read_ended(request.id, "" if followers.read_soon(request.thing) else _NOT_READ)
