"""A node that serves IEEE 2030.5, what an operator does there, and clients with their certificates."""

import asyncio
import contextlib
import ssl
from xml.etree import ElementTree

import httpx
from csip_pki import Pki
from hosted_node import hosting

from gridspine.adapters.ieee2030_5 import Ieee20305Adapter

SEP, CSIP = "{urn:ieee:std:2030.5:ns}", "{https://csipaus.org/ns}"
PV, BATTERY, METER = (f"https://gridspine.org/models/{name}" for name in ("pv_inverter", "battery", "meter"))
MODES = [
    "importLimitW", "exportLimitW", "generationLimitW", "loadLimitW", "connect", "energise", "rampS",
    "gradientPercentPerS",
]  # fmt: skip
XML = {"content-type": "application/sep+xml"}


class Watched(Ieee20305Adapter):
    def __init__(self):
        super().__init__()
        self.there, self.context = asyncio.Event(), None

    async def run(self, context):
        self.context = context
        self.there.set()
        await super().run(context)


class Utility:
    def __init__(self, pki, folder, section):
        self.pki, self.folder, self.section = pki, folder, section
        self.world, self.url, self.clients = None, "", []
        self._open = contextlib.AsyncExitStack()

    async def start(self):
        hosted = hosting(self.folder / "data", self.section, Watched())
        self.world, _ = await self._open.enter_async_context(hosted)
        listening = self.world.node.adapters.listening
        async with asyncio.timeout(40):
            while "ieee2030_5.server" not in listening:
                await asyncio.sleep(0.01)
        host, port = listening["ieee2030_5.server"]
        self.url = f"https://{host}:{port}"

    async def stop(self):
        for http in self.clients:
            await http.aclose()
        self.clients.clear()
        await self._open.aclose()

    async def restart(self):
        await self.stop()
        await self.start()

    async def client(self, issued):
        """Return an HTTP client that shows a certificate."""
        context = ssl.create_default_context(cafile=str(self.pki.ca.crt))
        context.load_cert_chain(issued.crt, issued.pem)
        http = httpx.AsyncClient(base_url=self.url, verify=context, timeout=60)
        self.clients.append(http)
        return http

    async def known(self, issued, name="device"):
        """Let the operator know a device by its certificate; return its principal."""
        body = {"kind": "device", "name": name, "roles": ["device"]}
        made = (await self.world.op.post("/principals", json=body)).json()
        path = f"/principals/{made['id']}/known-certificates"
        answer = await self.world.op.post(path, json={"certificate": issued.crt.read_text()})
        assert answer.status_code == 201, answer.text
        assert answer.json()["sha256"].startswith(issued.lfdi)
        return made["id"]

    async def thing(self, principal, lfdi, *, model=PV, name="", **connection):
        """Register the Thing that an EndDevice is, and wait until it is served."""
        made = name or f"urn:example:der-{lfdi[:6].lower()}"
        body = {
            "id": made, "title": "Rooftop", "model": model, "adapter": "ieee2030_5", "devices": [principal],
            "connection": {"lfdi": lfdi, "pin": 111115, **connection},
        }  # fmt: skip
        answer = await self.world.op.post("/things", json=body)
        assert answer.status_code == 201, answer.text
        return made

    async def site(self, *things, **more):
        answer = await self.world.op.post("/sites", json={"title": "House", "things": things, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def programme(self, subject, *, modes=MODES, kind="site", **more):
        """Make a programme that a site or Thing takes part in; return its id and the enrolment's."""
        body = {"title": "Summer peaks", "modes": modes, **more}
        made = await self.world.op.post("/programmes", json=body)
        assert made.status_code == 201, made.text
        programme = made.json()["id"]
        body = {kind: subject, "until": "2099-01-01T00:00:00Z"}
        enrolled = await self.world.op.post(f"/programmes/{programme}/enrolments", json=body)
        assert enrolled.status_code == 201, enrolled.text
        return programme, enrolled.json()["id"]

    async def event(self, programme, control, *, start_s=-5, duration_s=600, **more):
        from gridspine.kernel.time import US, format_rfc3339

        now_us = self.world.node.clock.now_us() // US * US
        begins_us = now_us + start_s * US
        times = {"from": format_rfc3339(begins_us), "until": format_rfc3339(begins_us + duration_s * US)}
        body = {"title": "Peak", "intervals": [{**times, "control": control}], **more}
        answer = await self.world.op.post(f"/programmes/{programme}/events", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]


@contextlib.asynccontextmanager
async def serving(folder, listener=None, **settings):
    """Yield a node that serves; it is started in ``folder``, and again by `Utility.restart`."""
    more = listener or {}
    pki = Pki(folder / "pki")
    listener = {
        "tls": True, "client": "required", "ca": [str(pki.ca.crt)], "certificate": str(pki.server.crt),
        "key": str(pki.server.pem), **more,
    }  # fmt: skip
    made = Utility(pki, folder, {"server": listener, "pen": 12345, **settings})
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def xml(answer, status=200):
    """Return the document of an answer."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    return ElementTree.fromstring(answer.content)


def href(document, name):
    """Return where a link leads."""
    found = document.find(f".//{SEP}{name}")
    found = document.find(f".//{CSIP}{name}") if found is None else found
    return None if found is None else found.get("href")


async def until(ask, timeout_s=40.0):
    """Return what ``ask`` returns once it is something."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = await ask()
            if found is not None and found is not False:
                return found
            await asyncio.sleep(0.02)
