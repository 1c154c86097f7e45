"""All VTNs that are followed, one by each Thing that says so, and Things that VENs report of: as they come and go."""

import asyncio

import msgspec

from gridspine.adapters.openadr3.follow import Follower
from gridspine.adapters.openadr3.remote import read_connection
from gridspine.adapters.openadr3.remote_call import new_client
from gridspine.adapters.openadr3.reported import Reported, ResourceConnection
from gridspine.adapters.openadr3.settings import Settings
from gridspine.energy.upstream.followers import Followers
from gridspine.infra.runtime.guarded_http import log_no_addresses
from gridspine.infra.runtime.waiting import first_to_end
from gridspine.things.adapter import AdapterContext, Binding


class FollowedVtns:
    """The followers, and the Things that are reported of. Lives on the event loop; `run` does the work."""

    def __init__(self, context: AdapterContext, settings: Settings, reported: Reported) -> None:
        self._context, self._settings, self._reported = context, settings, reported
        self._client = new_client(settings)
        self._making = asyncio.Lock()
        self._followers = Followers(context, lambda one: "vtn" in one.connection, self._follower)

    async def run(self) -> None:
        """Follow what Things say, until cancelled."""
        log_no_addresses()
        try:
            await first_to_end(self._followers.run(), self._follow_resources())
        finally:
            await self._client.aclose()

    def notified(self, key: str, authorisation: str) -> bool:
        """Whether what came to a callback is of a VTN that is followed; it is read then."""
        return any(one.key == key and one.notified(authorisation) for one in self._followers)

    def opted(self, enrolment: str) -> None:
        """Hear that an enrolment changed: a VTN may have to be told."""
        for one in self._followers:
            one.opted(enrolment)

    def read_soon(self, thing: str) -> bool:
        """Whether a Thing follows a VTN; that is read at once then."""
        return self._followers.read_soon(thing)

    async def _follower(self, binding: Binding) -> Follower:
        connection = read_connection(binding.connection)
        return Follower(self._context, binding, connection, self._settings, self._client, self._making)

    async def _follow_resources(self) -> None:
        while True:
            self._reported.sync([
                (binding, msgspec.convert(binding.connection, ResourceConnection))
                for binding in self._context.bindings()
                if isinstance(binding.connection.get("resource"), str) and len(binding.connection) == 1
            ])  # fmt: skip
            await self._context.bindings_changed()
