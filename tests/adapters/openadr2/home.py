"""A node that follows a VTN as a VEN: a site with a meter, and the Thing that says so."""

import asyncio
import contextlib

import pytest
from csip_utility import Utility
from hosted_node import hosting
from openadr2_vtn import Watched

from gridspine.adapters.openadr2.client import call, telemetry
from gridspine.energy.upstream import pace

VEN = "https://gridspine.org/models/ven"


class Home(Utility):
    """The node of the VEN: a site with a meter, and the Thing that follows the VTN."""

    async def start(self):
        hosted = hosting(self.folder / "data", self.section, Watched())
        self.world, self.context = await self._open.enter_async_context(hosted)

    async def follow(self, vtn, subject, *, modes=("targetW",), **more):
        speaker = {"kind": "application", "name": "VEN", "roles": ["owner", "operator"]}
        principal = (await self.world.op.post("/principals", json=speaker)).json()["id"]
        connection = {"vtn": f"{vtn.url}/OpenADR2/Simple/2.0b", "access": "utility", "site": subject, "pollS": 1}
        connection |= more
        body = {"title": "Utility", "model": VEN, "adapter": "openadr2", "devices": [principal]}
        answer = await self.world.op.post("/things", json={**body, "connection": connection | {"modes": list(modes)}})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def ask(self, path):
        answer = await self.world.op.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def events(self):
        """Return all events that stand, by their programmes' titles."""
        found = []
        for one in await self.ask("/programmes"):
            found += [(one["title"], event) for event in await self.ask(f"/programmes/{one['id']}/events")]
        return [(title, event) for title, event in found if not event["cancelled"]]


async def until(ask, timeout_s=60.0):
    async with asyncio.timeout(timeout_s):
        while not (found := await ask()):
            await asyncio.sleep(0.05)
    return found


@contextlib.asynccontextmanager
async def at_home(vtn, folder):
    """Yield a `Home` in ``folder`` that may follow ``vtn``, by the certificate ``issued``; it asks again soon."""
    issued = vtn.pki.device(folder.name)
    access = {
        "certificate": str(issued.crt), "key": str(issued.pem), "ca": str(vtn.pki.ca.crt),
        "origins": [vtn.url], "organisations": ["northside-networks"],
    }  # fmt: skip
    made = Home(vtn.pki, folder, {"vtns": {"utility": access}})
    made.issued = issued
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "GRACE_S", 0.0)
        patch.setattr(call, "TIMEOUT_S", 2.0)
        patch.setattr(pace, "LONGEST_S", 1.0)
        patch.setattr(call, "KEPT_S", 0.0)  # asyncio's TLS waits long for a peer that is idle
        await made.start()
        try:
            yield made
        finally:
            await made.stop()
