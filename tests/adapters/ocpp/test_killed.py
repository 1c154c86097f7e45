"""``kill -9`` amid transactions: all that was answered is found after the restart, once, and the transactions go on."""

import asyncio
import base64
import datetime
import importlib.util
import json
import sqlite3
import sys
from pathlib import Path

import httpx
import msgspec
import pytest
import websockets
from ocpp_bench import basic

from gridspine.adapters.ocpp.transaction import Record

if "running_node" not in sys.modules:
    _file = Path(__file__).parents[2] / "apps" / "running.py"
    _specification = importlib.util.spec_from_file_location("running_node", _file)
    sys.modules["running_node"] = _module = importlib.util.module_from_spec(_specification)
    _specification.loader.exec_module(_module)
from running_node import Child, pull_own

POINTS = 6
ADAPTERS = "[adapters]\nallow = ['ocpp']\n[adapters.settings.ocpp.ocpp]\nport = 0\n"


class Charging(Child):
    """A node that takes charge points in."""

    def settings(self):
        super().settings()
        path = self.folder / "settings.toml"
        path.write_text(path.read_text() + ADAPTERS)

    async def port(self, http):
        while True:
            found = (await http.get("/status")).json()["listening"].get("ocpp.ocpp")
            if found:
                return int(found.rpartition(":")[2])
            await asyncio.sleep(0.02)


class Point:
    """A charge point in one long transaction: its register rises by one with each event; ``answered`` counts them."""

    def __init__(self, number):
        self.number, self.answered, self.sent = number, 0, None

    def event(self, kind=None):
        """Return what was not answered yet, word for word, or the next."""
        self.sent = self.sent or self.next(kind)
        return self.sent

    def next(self, kind):
        now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
        kind = kind or ("Updated" if self.answered else "Started")
        return {
            "eventType": kind, "timestamp": now, "triggerReason": "MeterValuePeriodic", "seqNo": self.answered,
            "transactionInfo": {"transactionId": f"t{self.number}"}, "evse": {"id": 1},
            "meterValue": [{"timestamp": now, "sampledValue": [{"value": self.answered + 1}]}],
        }  # fmt: skip

    async def charge(self, port, password, until, more=1 << 60):
        """Send events until the node is gone, or so many; the last one that was not answered comes again."""
        name = f"CP{self.number}"
        try:
            async with websockets.connect(
                f"ws://127.0.0.1:{port}/ocpp/{name}", subprotocols=["ocpp2.0.1"], compression=None,
                additional_headers=basic(name, password),
            ) as socket:  # fmt: skip
                while more:
                    await self.call(socket, self.event("Ended" if more == 1 and until is None else None))
                    more -= 1
                    if until is not None and self.answered > until[0]:
                        until[1].set()
        except (OSError, EOFError, websockets.WebSocketException):
            assert until is not None

    async def call(self, socket, event):
        await socket.send(json.dumps([2, "e", "TransactionEvent", event]))
        while True:
            frame = json.loads(await socket.recv())
            if frame[0] == 3:
                self.answered, self.sent = self.answered + 1, None
                return
            assert frame[0] == 2, frame
            await socket.send(json.dumps([4, frame[1], "NotSupported", "", {}]))


async def prepare(http):
    """Register the charge points; return the device's password and a product of their registers."""
    asked = {"kind": "device", "name": "CPs", "roles": ["device"], "password": True}
    device = (await http.post("/principals", json=asked)).json()
    for number in range(POINTS):
        connection = {"station": f"CP{number}", "device": device["id"]}
        thing = {
            "id": f"urn:example:cp{number}", "title": "C", "model": "https://gridspine.org/models/ev_charger",
            "adapter": "ocpp", "devices": [device["id"]], "connection": connection,
        }  # fmt: skip
        answer = await http.post("/things", json=thing)
        assert answer.status_code == 201, answer.text
    names = [f"urn:example:cp{number}/activeEnergyImport" for number in range(POINTS)]
    product = {"title": "P", "points": names, "contract": {"licence": "x", "purposes": ["a"]}}
    return device["password"], (await http.post("/products", json=product)).json()["id"]


async def check(http, product, points):
    """All registers that were answered are there, each once."""
    found = {}
    for record in await pull_own(http, product):
        found.setdefault(record["n"].partition("/")[0], []).append(record["v"])
    for point in points:
        values = found.get(f"urn:example:cp{point.number}", [])
        assert set(range(1, point.answered + 1)) <= set(values)
        assert len(values) == len(set(values))


def record(folder, number):
    with sqlite3.connect(f"file:{folder / 'registry.db'}?mode=ro", uri=True) as database:
        row = database.execute(
            "SELECT body FROM document WHERE kind = 'AdapterNote' AND id = ?",
            (f"ocpp/station/northside-networks/CP{number}",),
        ).fetchone()
    database.close()
    return msgspec.json.decode(base64.b64decode(json.loads(row[0])["value"]), type=Record)


@pytest.mark.slow
async def test_a_killed_node_has_all_it_answered_and_its_transactions_go_on(tmp_path):
    folder, points = tmp_path / "data", [Point(number) for number in range(POINTS)]
    password = product = ""
    for at in range(4):
        child = Charging(folder)
        try:
            http: httpx.AsyncClient = await child.ready()
            if not password:
                password, product = await prepare(http)
            await check(http, product, points)
            port = await child.port(http)
            if at == 3:
                await asyncio.gather(*(point.charge(port, password, None, 3) for point in points))
            else:
                busy = points[0].answered + 5 * (at + 1), asyncio.Event()
                charging = [asyncio.ensure_future(point.charge(port, password, busy)) for point in points]
                await asyncio.wait_for(busy[1].wait(), 60)
                child.kill()
                await asyncio.gather(*charging)
            if at == 3:
                await check(http, product, points)
            await http.aclose()
        finally:
            child.stop()
    for point in points:
        (transaction,) = record(folder, point.number).recent
        assert transaction.seen == ((0, point.answered - 1),)
        assert (transaction.meter_start_wh, transaction.meter_stop_wh) == (1, point.answered)
