"""All VTNs that are followed, one by each Thing that says so, and Things that VENs report of: as they come and go."""

import asyncio
import logging
from typing import NamedTuple

import httpx
import msgspec

from gridspine.adapters.openadr3.follow import Follower
from gridspine.adapters.openadr3.remote import read_connection
from gridspine.adapters.openadr3.remote_call import new_client
from gridspine.adapters.openadr3.reported import Reported, ResourceConnection
from gridspine.adapters.openadr3.settings import Settings
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


class FollowedVtns:
    """The followers. Lives on the event loop; `run` does the work."""

    def __init__(self, context: AdapterContext, settings: Settings, reported: Reported) -> None:
        self._context, self._settings, self._reported = context, settings, reported
        self._served: dict[str, _Served] = {}
        self._making = asyncio.Lock()

    async def run(self) -> None:
        """Follow what Things say, until cancelled."""
        for name in ("httpx", "httpcore"):  # both log addresses
            logging.getLogger(name).setLevel(logging.WARNING)
        client = new_client(self._settings)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._sync(group, client)
                    await self._context.bindings_changed()
        finally:
            self._served.clear()
            await client.aclose()

    def notified(self, key: str, authorisation: str) -> bool:
        """Whether what came to a callback is of a VTN that is followed; it is read then."""
        return any(
            one.follower.key == key and one.follower.notified(authorisation) for one in self._served.values()
        )  # fmt: skip

    def read_soon(self, thing: str) -> bool:
        """Whether a Thing follows a VTN; that is read at once then."""
        one = self._served.get(thing)
        if one is not None:
            one.follower.read_soon()
        return one is not None

    async def _sync(self, group: asyncio.TaskGroup, client: httpx.AsyncClient) -> None:
        wanted = {binding.thing: binding for binding in self._context.bindings() if "vtn" in binding.connection}
        self._reported.sync([
            (binding, msgspec.convert(binding.connection, ResourceConnection))
            for binding in self._context.bindings()
            if isinstance(binding.connection.get("resource"), str) and len(binding.connection) == 1
        ])  # fmt: skip
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
            except Invalid as error:
                _LOG.warning("%s follows no VTN: connection: %s", thing, error.detail)
                continue
            if len(self._served) >= MOST:
                _LOG.warning("%s follows no VTN: %d are followed, and no more", thing, MOST)
                continue
            follower = Follower(self._context, binding, connection, self._settings, client, self._making)
            task = group.create_task(self._follow(thing, follower), name=f"openadr3 {thing}")
            self._served[thing] = _Served(binding, follower, task)

    async def _follow(self, thing: str, follower: Follower) -> None:
        while True:
            try:
                await follower.run()
            except Exception:  # what one VTN says never ends the others
                _LOG.exception("%s could not follow its VTN; it begins anew", thing)
                await self._context.clock.sleep(_AGAIN_S)
