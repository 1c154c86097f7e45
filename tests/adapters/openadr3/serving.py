"""A node that serves OpenADR 3, and clients of it, shared by tests."""

import asyncio
import contextlib

import httpx
from running_node import World, settings_for, until

from gridspine.infra.runtime.settings import Adapters


class Vtn:
    """A VTN: ``url`` without an edition; its node, and what was opened."""

    def __init__(self, world, url):
        self.world, self.url, self._clients = world, url, []

    def credentials(self, *roles, organisation="northside-networks"):
        """Return client id and secret of a new principal."""
        id_, _ = self.world.client(organisation, *roles)
        return id_, self.world.node.identity.new_device_password(id_)

    async def client(self, *roles, edition="3.1.0", organisation="northside-networks", scope=""):
        """Return a client of an edition with a token, and its client id."""
        id_, secret = await asyncio.to_thread(self.credentials, *roles, organisation=organisation)
        http = httpx.AsyncClient(base_url=f"{self.url}/{edition}", timeout=30)
        self._clients.append(http)
        form = {"grant_type": "client_credentials", "client_id": id_, "client_secret": secret}
        answer = await http.post("/auth/token", data=form | ({"scope": scope} if scope else {}))
        assert answer.status_code == 200, answer.text
        http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        http.scope = answer.json()["scope"].split()
        http.id = id_
        return http

    def again(self, http, edition):
        """Return a client that asks in another edition."""
        made = httpx.AsyncClient(base_url=f"{self.url}/{edition}", headers=http.headers, timeout=30)
        self._clients.append(made)
        return made

    async def close(self):
        for http in self._clients:
            await http.aclose()


@contextlib.asynccontextmanager
async def serving(folder, section=None, more=None):
    """Yield a `Vtn` on a free port, beside ``more`` adapters by their settings."""
    given = {"plain_callbacks": True, "allow": ["127.0.0.0/8"], **(section or {})}
    adapters = Adapters(allow=["openadr3", *(more or {})], settings={"openadr3": given, **(more or {})})
    world = await World.start(folder, settings_for(adapters=adapters))
    try:
        await until(lambda: "openadr3.http" in world.node.adapters.listening)
        host, port = world.node.adapters.listening["openadr3.http"]
        vtn = Vtn(world, f"http://{host}:{port}/openadr3")
        try:
            yield vtn
        finally:
            await vtn.close()
    finally:
        await world.stop()
