"""Two whole nodes that roam: one that operates charge points (NL*CPO) and one whose drivers charge (DE*MSP)."""

import asyncio
import contextlib

import httpx
from running_node import World, settings_for, until

from gridspine.infra.runtime.settings import Adapters

PARTNER = "https://gridspine.org/models/roaming_partner"
ORGANISATION = "northside-networks"


class Side:
    """A node with OCPI, and its partner's Thing."""

    def __init__(self, world, partner):
        self.world, self.partner = world, partner
        self.op = world.op

    @property
    def url(self):
        host, port = self.world.node.adapters.listening["ocpi.http"]
        return f"http://{host}:{port}/ocpi"

    async def act(self, action, given=None, thing=""):
        """Invoke an action of the partner's Thing, or another, and return its output; raise what went wrong."""
        thing = thing or self.partner
        answer = await self.op.post(f"/things/{thing}/actions/{action}", json=given)
        assert answer.status_code == 201, answer.text
        async with asyncio.timeout(30):
            while True:
                found = (await self.op.get(answer.json()["href"])).json()
                if found["status"] not in {"running", "pending"}:
                    break
                await asyncio.sleep(0.01)
        if found["status"] == "failed":
            raise RuntimeError(found["error"]["detail"])
        return found.get("output")

    def http(self, token, **headers):
        return httpx.AsyncClient(headers={"authorization": f"Token {token}", **headers}, timeout=30)


@contextlib.asynccontextmanager
async def side(folder, *, country, party, allow=("ocpi",), others=None, **section):
    """Yield a `Side`."""
    given = {
        "country_code": country, "party_id": party, "name": f"{country} {party}", "plain": True,
        "allow": ["127.0.0.0/8"], **section,
    }  # fmt: skip
    adapters = Adapters(allow=list(allow), settings={"ocpi": given, **(others or {})})
    world = await World.start(folder, settings_for(adapters=adapters))
    try:
        await until(lambda: "ocpi.http" in world.node.adapters.listening)
        partner = await world.thing(
            f"urn:example:{party.lower()}-partner", PARTNER, adapter="ocpi", connection={"partner": "other"}
        )
        made = Side(world, partner)
        await until(lambda: world.node.adapters.requests.served("ocpi"))
        yield made
    finally:
        await world.stop()


@contextlib.asynccontextmanager
async def pair(folder, *, versions=("2.3.0", "2.2.1"), cpo=None, emsp=None):
    """Yield both sides, not registered yet."""
    async with contextlib.AsyncExitStack() as stack:
        one = side(folder / "cpo", country="NL", party="CPO", versions=list(versions), **(cpo or {}))
        two = side(folder / "emsp", country="DE", party="MSP", **(emsp or {}))
        yield await stack.enter_async_context(one), await stack.enter_async_context(two)


async def registered(cpo, emsp):
    """Let the eMSP register at the CPO."""
    invitation = await cpo.act("invite", {"party": "DE MSP"})
    return await emsp.act("register", invitation)
