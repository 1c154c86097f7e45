"""``kill -9`` of either node amid a session: it is neither lost nor billed twice."""

import asyncio
import base64
import contextlib

import pytest
import websockets
from ocpi_charge_point import TAKEN_WH, ChargePoint
from ocpi_pairing import PARTNER
from running_node import Child

from tests.ports import free_port

CHARGER, CPO, EMSP = "urn:example:charger", "urn:example:cpo-partner", "urn:example:msp-partner"
CHARGER_MODEL = "https://gridspine.org/models/ev_charger"
COMMON = """
[adapters]
allow = ['ocpi', 'ocpp']
[adapters.settings.ocpp.ocpp]
port = 0
[adapters.settings.ocpi]
name = 'x'
plain = true
allow = ['127.0.0.0/8']
"""
AS_CPO = """
country_code = 'NL'
party_id = 'CPO'
roles = ['CPO']
[[adapters.settings.ocpi.tariffs]]
id = 'T'
currency = 'EUR'
elements = [{price_components = [{type = 'ENERGY', price = 0.4, step_size = 1}]}]
[[adapters.settings.ocpi.locations]]
id = 'HOME'
address = 'a'
city = 'c'
country = 'NLD'
latitude = '52.1'
longitude = '4.35'
time_zone = 'Europe/Amsterdam'
evses = [{thing = 'urn:example:charger', uid = 'E1', tariff_ids = ['T']}]
"""
AS_EMSP = """
country_code = 'DE'
party_id = 'MSP'
roles = ['EMSP']
tokens = [{uid = 'RFID1', contract_id = 'DE-MSP-1'}]
"""


class Node(Child):
    """A node that roams, as a process of its own; ``begin`` starts it, also again."""

    def __init__(self, folder, section, port):
        self.section, self.port = section, port
        super().__init__(folder)

    def settings(self):
        super().settings()
        path = self.folder / "settings.toml"
        listener = f"http = {{port = {self.port}}}\n"
        path.write_text(path.read_text() + COMMON + listener + self.section)

    async def act(self, http, thing, action, given=None):
        answer = await http.post(f"/things/{thing}/actions/{action}", json=given)
        assert answer.status_code == 201, answer.text
        async with asyncio.timeout(60):
            while (found := (await http.get(answer.json()["href"])).json())["status"] in {"running", "pending"}:
                await asyncio.sleep(0.05)
        assert found["status"] == "completed", found
        return found.get("output")

    async def listening(self, http, name):
        async with asyncio.timeout(60):
            while not (found := (await http.get("/status")).json()["listening"].get(name)):
                await asyncio.sleep(0.05)
        return found


@contextlib.asynccontextmanager
async def connected(node, http, password, known=None):
    """Connect the charge point; one that was cut off goes on where it was."""
    address = await node.listening(http, "ocpp.ocpp")
    word = base64.b64encode(f"CP1:{password}".encode()).decode()
    headers = {"authorization": f"Basic {word}"}
    wire = await websockets.connect(
        f"ws://127.0.0.1:{address.rpartition(':')[2]}/ocpp/CP1", subprotocols=["ocpp1.6"], additional_headers=headers
    )
    point = ChargePoint(wire)
    if known is not None:
        point.meter, point.transaction = known.meter, known.transaction
    listening = asyncio.create_task(point.listen())
    try:
        await point.call("BootNotification", chargePointVendor="A", chargePointModel="B")
        yield point
    finally:
        await wire.close()
        await asyncio.wait([listening])


async def kept(node, http, thing, action, member, condition):
    """Return what of sessions or records meets a condition, and how many there are."""
    async with asyncio.timeout(60):
        while True:
            found = (await node.act(http, thing, action))[member]
            if any(condition(one) for one in found):
                return next(one for one in found if condition(one)), len(found)
            await asyncio.sleep(0.1)


async def prepare(cpo, emsp, theirs, ours):
    """Make the Things and register; return the charge point's password."""
    asked = {"kind": "device", "name": "CP", "roles": ["device"], "password": True}
    device = (await theirs.post("/principals", json=asked)).json()
    charger = {
        "id": CHARGER, "title": "C", "model": CHARGER_MODEL, "adapter": "ocpp", "devices": [device["id"]],
        "connection": {"station": "CP1", "device": device["id"], "evse": 1},
    }  # fmt: skip
    partner = {"title": "P", "model": PARTNER, "adapter": "ocpi", "connection": {"partner": "other"}}
    for http, body in ((theirs, charger), (theirs, {"id": EMSP, **partner}), (ours, {"id": CPO, **partner})):
        assert (answer := await http.post("/things", json=body)).status_code == 201, answer.text
    for node, http in ((cpo, theirs), (emsp, ours)):
        await node.listening(http, "ocpi.http")
    invitation = await cpo.act(theirs, EMSP, "invite", {"party": "DE MSP"})
    await emsp.act(ours, CPO, "register", invitation)
    return device["password"]


@pytest.mark.slow
async def test_a_session_outlasts_kills_of_both_nodes_and_is_billed_once(tmp_path) -> None:
    ports = free_port(), free_port()
    nodes = [Node(tmp_path / "cpo", AS_CPO, ports[0]), Node(tmp_path / "emsp", AS_EMSP, ports[1])]
    try:
        theirs, ours = [await one.ready() for one in nodes]
        password = await prepare(*nodes, theirs, ours)
        async with connected(nodes[0], theirs, password) as point:
            while (await point.call("Authorize", idTag="RFID1"))["idTagInfo"]["status"] != "Accepted":
                await asyncio.sleep(0.1)  # the token is on its way
            assert await point.start("RFID1") == "Accepted"
            session, _ = await kept(nodes[1], ours, CPO, "sessions", "sessions", lambda one: one["status"] == "ACTIVE")
            for one in nodes:
                one.kill()
        for http in (theirs, ours):
            await http.aclose()
        nodes[0] = Node(tmp_path / "cpo", AS_CPO, ports[0])
        theirs = await nodes[0].ready()
        async with connected(nodes[0], theirs, password, point) as point:
            await point.stop()  # and the partner is not there to be told
            own, count = await kept(nodes[0], theirs, EMSP, "records", "ours", lambda one: one["id"] == session["id"])
            assert (own["energy_wh"], own.get("told", False), count) == (TAKEN_WH, False, 1)
            nodes[0].kill()
        await theirs.aclose()
        nodes = [Node(tmp_path / "cpo", AS_CPO, ports[0]), Node(tmp_path / "emsp", AS_EMSP, ports[1])]
        theirs, ours = [await one.ready() for one in nodes]
        async with connected(nodes[0], theirs, password):  # its last transactions are told of again
            record, count = await kept(nodes[1], ours, CPO, "records", "records", lambda one: True)
            assert (record["session_id"], record["total_energy"], count) == (session["id"], TAKEN_WH / 1000, 1)
            assert record["total_cost"]["before_taxes"] == 2.0
            _, count = await kept(nodes[1], ours, CPO, "sessions", "sessions", lambda one: one["status"] == "COMPLETED")
            own, ends = await kept(nodes[0], theirs, EMSP, "records", "ours", lambda one: one.get("told"))
            assert (count, ends, own["id"]) == (1, 1, session["id"])
        for http in (theirs, ours):
            await http.aclose()
    finally:
        for one in nodes:
            one.stop()
