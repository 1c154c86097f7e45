"""A node that follows a VTN as a VEN: a battery, and the Thing that says so."""

import asyncio
import contextlib
import os
import time
from unittest import mock

from openadr3_said import event
from running_node import BATTERY, World, settings_for, until

from gridspine.infra.runtime.settings import Adapters

VEN = "https://gridspine.org/models/ven"
SECRET = "GRIDSPINE_SECRET_OPENADR3_UTILITY"
OVER = {"cancelled", "ended", "superseded"}


class Home:
    """A node that follows a VTN: ``world``, and what its Thing's connection says."""

    def __init__(self, world, connection):
        self.world, self.connection = world, connection

    async def follow(self, **more):
        """Register the battery and the Thing that follows the VTN."""
        await self.world.thing("urn:example:b1", BATTERY)
        speaker, _ = self.world.client("northside-networks", "owner", "operator")
        connection = {**self.connection, "thing": "urn:example:b1", "modes": ["importLimitW"], **more}
        await self.world.thing("urn:example:ven", VEN, adapter="openadr3", devices=[speaker], connection=connection)

    async def connect(self, **more):
        """Let the owner say another connection."""
        connection = {**self.connection, "thing": "urn:example:b1", **more}
        headers = {"content-type": "application/merge-patch+json"}
        body = {"gs:connection": connection}
        answer = await self.world.op.patch("/things/urn:example:ven", json=body, headers=headers)
        assert answer.status_code in {200, 204}, answer.text

    async def standing(self):
        """Return what the battery is commanded."""
        return [one["value"] for one in await self.commands() if one["state"] not in OVER]

    async def programmes(self):
        return (await self.world.op.get("/programmes")).json()

    async def events(self):
        return [
            one
            for of in await self.programmes()
            for one in (await self.world.op.get(f"/programmes/{of['id']}/events")).json()
        ]

    async def commands(self):
        return (await self.world.op.get("/commands", params={"thing": "urn:example:b1"})).json()

    async def connected(self):
        points = (await self.world.op.get("/things/urn:example:ven/properties")).json()
        return next(one["value"] for one in points if one["name"] == "connected")


async def eventually(ask, wanted, seconds=60):
    """Return when ``ask`` gives what is ``wanted`` (a value, or what takes one)."""
    end = time.monotonic() + seconds
    while True:
        found = await ask()
        if wanted(found) if callable(wanted) else found == wanted:
            return found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def home(folder, vtn, edition="3.1.0", client=None, **more):
    """Yield a `Home` whose node may follow ``vtn``."""
    id_, secret = client or await asyncio.to_thread(vtn.credentials, "owner")
    host = "http://" + vtn.url.split("/")[2]
    section = {
        "allow": ["127.0.0.0/8"], "plain_vtns": True, "plain_callbacks": True,
        "vtns": {"utility": {"origins": [host], "organisations": ["northside-networks"]}}, **more,
    }  # fmt: skip
    with mock.patch.dict(os.environ, {SECRET: secret}):
        settings = settings_for(archive=True, adapters=Adapters(allow=["openadr3"], settings={"openadr3": section}))
        world = await World.start(folder, settings)
        try:
            await until(lambda: "openadr3.http" in world.node.adapters.listening)
            connection = {"vtn": f"{vtn.url}/{edition}", "edition": edition, "clientId": id_, "secret": "utility",
                          "venName": "home", "pollS": 1}  # fmt: skip
            yield Home(world, connection)
        finally:
            await world.stop()


def limited(of, kw, begin_s=0, **more):
    payloads = [{"type": "IMPORT_CAPACITY_LIMIT", "values": [kw]}, {"type": "PRICE", "values": [0.3]}]
    return event(of, begin_s, **more) | {"intervals": [{"id": 0, "payloads": payloads}]}
