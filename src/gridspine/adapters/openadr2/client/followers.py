"""VTNs that are followed, by mutual TLS: one `Follower` for each Thing that says so."""

import asyncio

from gridspine.adapters.openadr2.client.call import Remote, seal_of, tls_of
from gridspine.adapters.openadr2.client.connection import access_of, is_follower, read_connection
from gridspine.adapters.openadr2.client.follower import Follower
from gridspine.adapters.openadr2.settings import Settings
from gridspine.energy.upstream.followers import Followers
from gridspine.infra.runtime.guarded_http import log_no_addresses
from gridspine.things.adapter import AdapterContext, Binding


def followers_of(context: AdapterContext, settings: Settings) -> Followers[Follower]:
    """Return the followers of all Things of the adapter; they do nothing until they are run."""
    log_no_addresses()
    making = asyncio.Lock()

    async def make(binding: Binding) -> Follower:
        connection = read_connection(binding.connection)
        access = access_of(connection, settings.vtns, binding.organisation)
        tls = await asyncio.to_thread(tls_of, access)
        seal = await asyncio.to_thread(seal_of, access, context.clock, settings.signed_within_s)
        remote = Remote(connection.vtn, tls, context.trace, seal)
        return Follower(context, binding, connection, remote, making)

    return Followers(context, lambda one: is_follower(one.connection), make)
