"""A whole node with an adapter that does nothing but hand its context to the test."""

import asyncio
import contextlib
import functools
from unittest import mock

from running_node import World, settings_for

from gridspine.apps.node.engines import Engines
from gridspine.apps.node.run import start
from gridspine.infra.identity import user
from gridspine.infra.runtime.settings import Adapters


class Handed:
    """The adapter: ``context`` is what it was given."""

    name = "handed"

    def __init__(self):
        self.context = None
        self.there = asyncio.Event()

    async def run(self, context):
        self.context = context
        self.there.set()
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def hosting(folder, section=None, adapter=None, **more):
    """Yield a world and the adapter's context; ``section`` are the adapter's settings."""
    made = adapter or Handed()
    adapters = Adapters(allow=[made.name], settings={made.name: section or {}})
    settings = settings_for(adapters=adapters, **more)
    with mock.patch.object(user, "Cost", functools.partial(user.Cost, n=16, p=1)):
        running = await start(settings, folder, engines=Engines(adapters={made.name: lambda: made}))
    world = World(running, folder)
    try:
        async with asyncio.timeout(60):
            await made.there.wait()
        yield world, made.context
    finally:
        await world.stop()
