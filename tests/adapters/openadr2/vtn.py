"""A node that is a VTN, what an operator does there, and VENs with their certificates."""

import asyncio
import contextlib

from csip_pki import Pki
from csip_utility import METER, Utility
from hosted_node import hosting

from gridspine.adapters.openadr2 import OpenAdr2Adapter, wire
from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.session import SERVICES
from gridspine.kernel.time import US, format_rfc3339
from tests.ports import free_port

SERVICE = {kind: name for name, handlers in SERVICES.items() for kind in handlers}
MODES = ["importLimitW", "exportLimitW", "targetW"]
XML = {"content-type": "application/xml"}


class Watched(OpenAdr2Adapter):
    def __init__(self):
        super().__init__()
        self.there, self.context = asyncio.Event(), None

    async def run(self, context):
        self.context = context
        self.there.set()
        await super().run(context)


class Ven:
    """A VEN of these tests: what it says, and what it is answered."""

    def __init__(self, vtn, http, thing, principal, issued, ven_id):
        self.vtn, self.http, self.thing, self.principal = vtn, http, thing, principal
        self.issued, self.id, self.registration = issued, ven_id, ""
        self.heard = b""

    async def post(self, service, body, **headers):
        return await self.http.post(f"/OpenADR2/Simple/2.0b/{service}", content=body, headers={**XML, **headers})

    async def say(self, message, service="", body=b""):
        answer = await self.post(service or SERVICE[type(message)], body or wire.write(message))
        assert answer.status_code == 200, answer.text
        self.heard = answer.content
        return wire.read(answer.content)

    async def register(self, **more):
        made = await self.say(m.CreatePartyRegistration(request_id="r0", **{"http_pull": True, **more}))
        assert made.response.code == 200, made
        assert made.ven_id == self.id
        self.registration = made.registration_id
        return made

    async def poll(self):
        return await self.say(m.Poll(ven_id=self.id))

    async def events(self):
        made = await self.say(m.RequestEvent(request_id="e1", ven_id=self.id))
        assert made.response.code == 200, made
        return [one.event for one in made.events]

    async def answer(self, event, opt="optIn", code=200, number=None):
        said = event.descriptor
        event = m.QualifiedEvent(
            event_id=said.event_id, modification_number=said.modification_number if number is None else number
        )
        one = m.EventResponse(code=code, request_id="e1", event=event, opt=opt)
        return await self.say(
            m.CreatedEvent(response=m.Response(request_id="e1"), responses=(one,), ven_id=self.id), "EiEvent"
        )

    async def offer(self, *descriptions, name="METADATA_TELEMETRY_USAGE"):
        report = r.Report(
            descriptions=descriptions, request_id="0", specifier_id="spec", name=name, created_us=1_770_000_000 * US
        )
        return await self.say(r.RegisterReport(request_id="rr", reports=(report,), ven_id=self.id))

    async def report(self, request_id, *rows, specifier="spec"):
        """Send rows of (rID, time [µs], value, quality)."""
        intervals = tuple(
            r.ReportInterval(start_us=at_us, payloads=(r.ReportPayload(rid=rid, value=value, quality=quality),))
            for rid, at_us, value, quality in rows
        )
        report = r.Report(
            start_us=rows[0][1],
            intervals=intervals,
            request_id=request_id,
            specifier_id=specifier,
            created_us=rows[0][1],
        )
        return await self.say(r.UpdateReport(request_id="u1", reports=(report,), ven_id=self.id))


class Vtn(Utility):
    made = 0

    async def start(self):
        hosted = hosting(self.folder / "data", self.section, Watched())
        self.world, self.context = await self._open.enter_async_context(hosted)
        listening = self.world.node.adapters.listening
        async with asyncio.timeout(40):
            while "openadr2.vtn" not in listening:
                await asyncio.sleep(0.01)
        host, port = listening["openadr2.vtn"]
        self.url = f"https://{host}:{port}"

    async def ven(self, *, model=METER, **connection):
        """Make a VEN with its Thing, certificate and client."""
        self.made += 1
        name = f"ven-{self.made}"
        issued = self.pki.device(name)
        principal = await self.known(issued, name)
        thing = await self.own(name, principal, model=model, **connection)
        made = Ven(self, await self.client(issued), thing, principal, issued, name)
        async with asyncio.timeout(40):
            while not await self._there(made):
                await asyncio.sleep(0.02)
        return made

    async def _there(self, made):
        answer = await made.say(m.QueryRegistration(request_id="q"))
        if answer.response.code != 200:
            return "messages of this VEN are signed" in answer.response.description
        answer = await made.say(m.CancelPartyRegistration(request_id="q", registration_id="none", ven_id=made.id))
        return answer.response.code == 463 and "registered" in answer.response.description

    async def own(self, name, principal, *, model=METER, thing="", **connection):
        made = thing or f"urn:example:{name}"
        body = {
            "id": made, "title": "VEN", "model": model, "adapter": "openadr2", "devices": [principal],
            "connection": {"venID": name, **connection},
        }  # fmt: skip
        answer = await self.world.op.post("/things", json=body)
        assert answer.status_code == 201, answer.text
        return made

    async def opts(self, programme):
        (one,) = (await self.world.op.get(f"/programmes/{programme}/enrolments")).json()
        return one["optOuts"]

    async def value(self, thing, name):
        answer = await self.world.op.get(f"/things/{thing}/properties/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    async def reported(self, thing, name):
        answer = await self.world.op.get(f"/things/{thing}/properties/{name}")
        return answer.json()["value"] if answer.status_code == 200 else None

    async def enrolled(self, thing, *, modes=MODES, **more):
        return await self.programme(thing, kind="thing", modes=modes, **more)

    async def publish(self, programme, *intervals, **more):
        """Publish an event of (from [s from now], until, what it says); return its id."""
        now_us = self.world.node.clock.now_us() // US * US
        body = {
            "title": "Peak",
            "intervals": [
                {"from": format_rfc3339(now_us + a * US), "until": format_rfc3339(now_us + b * US), **said}
                for a, b, said in intervals
            ],
            **more,
        }
        answer = await self.world.op.post(f"/programmes/{programme}/events", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]


@contextlib.asynccontextmanager
async def serving(folder, **settings):
    """Yield a node that serves; it is started in ``folder``, and again by `restart`."""
    pki = Pki(folder / "pki")
    port = free_port()  # the same after a restart
    listener = {
        "port": port,
        "tls": True, "client": "required", "ca": [str(pki.ca.crt)], "certificate": str(pki.server.crt),
        "key": str(pki.server.pem),
    }  # fmt: skip
    made = Vtn(pki, folder, {"vtn": listener, **settings})
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
