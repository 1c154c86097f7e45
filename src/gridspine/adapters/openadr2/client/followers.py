"""All VTNs that are followed: one follower for each Thing that says so, as Things come, change and go."""

import asyncio
import logging
from typing import NamedTuple

from gridspine.adapters.openadr2.client.call import Remote, tls_of
from gridspine.adapters.openadr2.client.connection import access_of, is_follower, read_connection
from gridspine.adapters.openadr2.client.follower import Follower
from gridspine.adapters.openadr2.settings import Settings
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import AdapterContext, Binding

MOST = 100
"""VTNs that are followed at once."""
_AGAIN_S = 10.0
_LOG = logging.getLogger(__name__)


class _Served(NamedTuple):
    binding: Binding
    follower: Follower
    task: asyncio.Task[None]


class Followers:
    """The followers. Lives on the event loop; `run` does the work."""

    def __init__(self, context: AdapterContext, settings: Settings) -> None:
        self._context, self._settings = context, settings
        self._served: dict[str, _Served] = {}
        self._making = asyncio.Lock()

    async def run(self) -> None:
        """Follow what Things say, until cancelled."""
        for name in ("httpx", "httpcore"):  # both log addresses
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._sync(group)
                    await self._context.bindings_changed()
        finally:
            self._served.clear()

    def read_soon(self, thing: str) -> bool:
        """Whether a Thing follows a VTN; that is polled at once then."""
        one = self._served.get(thing)
        if one is not None:
            one.follower.read_soon()
        return one is not None

    async def _sync(self, group: asyncio.TaskGroup) -> None:
        wanted = {one.thing: one for one in self._context.bindings() if is_follower(one.connection)}
        for thing, served in list(self._served.items()):
            if wanted.get(thing) != served.binding:
                del self._served[thing]
                served.task.cancel()
                await asyncio.wait([served.task])  # two of one Thing would publish twice
        for thing, binding in wanted.items():
            if thing in self._served:
                continue
            try:
                connection = read_connection(binding.connection)
                access = access_of(connection, self._settings.vtns, binding.organisation)
                tls = await asyncio.to_thread(tls_of, access)
            except Invalid as error:
                _LOG.warning("%s follows no VTN: connection: %s", thing, error.detail)
                continue
            if len(self._served) >= MOST:
                _LOG.warning("%s follows no VTN: %d are followed, and no more", thing, MOST)
                continue
            remote = Remote(connection.vtn, tls, self._context.trace)
            follower = Follower(self._context, binding, connection, remote, self._making)
            task = group.create_task(self._follow(thing, follower, remote), name=f"openadr2 {thing}")
            self._served[thing] = _Served(binding, follower, task)

    async def _follow(self, thing: str, follower: Follower, remote: Remote) -> None:
        try:
            while True:
                try:
                    await follower.run()
                except Exception:  # what one VTN says never ends the others
                    _LOG.exception("%s could not follow its VTN; it begins anew", thing)
                    await self._context.clock.sleep(_AGAIN_S)
        finally:
            await remote.close()
