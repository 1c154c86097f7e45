"""A node as client of the utility of `csip_utility`: what it follows, and what its Things say of it."""

import contextlib

from csip_utility import METER, Watched
from hosted_node import hosting

from gridspine.adapters.ieee2030_5.record import Book
from gridspine.apps.node.adapters import RegistryStore

LINK_MODEL = "https://gridspine.org/models/utility_connection"
LINK, METER_ID = "urn:example:link", "urn:example:home-meter"


class Home:
    """A node that follows the utility for its site."""

    def __init__(self, utility, folder):
        self.utility, self.folder = utility, folder
        self.issued = utility.pki.device("gateway")
        self.world, self.site, self._open = None, "", contextlib.AsyncExitStack()

    async def start(self, *, archive=False, listener=None, **more):
        access = {
            "url": f"{self.utility.url}/dcap", "certificate": str(self.issued.crt), "key": str(self.issued.pem),
            "ca": str(self.utility.pki.ca.crt), "poll_most_s": 0.2,
        }  # fmt: skip
        section = {"utilities": {"grid": access | more}, "pen": 12345, **(listener or {})}
        hosted = hosting(self.folder, section, Watched(), archive=archive)
        self.world, _ = await self._open.enter_async_context(hosted)

    async def stop(self):
        await self._open.aclose()

    async def settle(self, **more):
        """Know the client, make the site, and register the Thing that stands for the EndDevice."""
        op = self.world.op
        body = {"kind": "application", "name": "grid", "roles": ["operator", "owner"]}
        principal = (await op.post("/principals", json=body)).json()["id"]
        known = {"certificate": self.issued.crt.read_text()}
        answer = await op.post(f"/principals/{principal}/known-certificates", json=known)
        assert answer.status_code == 201, answer.text
        await self.world.thing(METER_ID, METER)
        answer = await op.post("/sites", json={"title": "Home", "things": [METER_ID], "connectionPointId": "NMI7"})
        self.site = answer.json()["id"]
        await self.link(**more)
        return principal

    async def link(self, **more):
        body = {
            "id": LINK, "title": "The grid", "model": LINK_MODEL, "adapter": "ieee2030_5",
            "connection": {"utility": "grid", "site": self.site, **more},
        }  # fmt: skip
        answer = await self.world.op.post("/things", json=body)
        assert answer.status_code == 201, answer.text

    async def says(self, **wanted):
        """Return whether the Thing that stands for the EndDevice says so."""
        found = (await self.world.op.get(f"/things/{LINK}/properties")).json()
        points = {one["name"]: one["value"] for one in found}
        return all(points[name] == value for name, value in wanted.items()) or None

    async def programmes(self):
        found = (await self.world.op.get("/programmes")).json()
        return [one for one in found if not one.get("retired")]

    async def events(self):
        return [
            event
            for one in await self.programmes()
            for event in (await self.world.op.get(f"/programmes/{one['id']}/events")).json()
        ] or None


async def registered(utility, home):
    """Let the utility know the home's gateway; return its Thing there."""
    principal = await utility.known(home.issued)
    return await utility.thing(principal, home.issued.lfdi)


async def responses(utility, home):
    """Return what the home answered: (subject, status)."""
    record = await Book(RegistryStore(utility.world.node.registry, "ieee2030_5")).device(home.issued.lfdi)
    return [(one.subject, one.status) for one in record.responses]
