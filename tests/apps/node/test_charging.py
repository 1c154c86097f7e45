"""A charge point and a whole node: its readings, a command to it, and a restart in mid-transaction."""

import asyncio
import base64
import contextlib
import datetime
import json

import websockets
from running_node import running, settings_for, until

from gridspine.infra.runtime.settings import Adapters

THING = "urn:example:charger"
CHARGER = "https://gridspine.org/models/ev_charger"
SETTINGS = {"tokens": [{"id": "CAFE01"}], "ocpp": {"port": 0}}


def now(by_s: float = 0.0) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=by_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Charger:
    """A charge point of 1.6 that obeys profiles, by its own clock."""

    def __init__(self, socket):
        self.socket = socket
        self.limits = {0: 32.0}
        self.answers: asyncio.Queue = asyncio.Queue()
        self.task = asyncio.create_task(self.run())

    async def run(self):
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                frame = json.loads(await self.socket.recv())
                if frame[0] == 2:
                    await self.socket.send(json.dumps([3, frame[1], self.obey(frame[2], frame[3])]))
                else:
                    self.answers.put_nowait(frame)

    def obey(self, action, said):
        if action == "SetChargingProfile":
            profile = said["csChargingProfiles"]
            limit = profile["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]
            self.limits[profile["stackLevel"]] = limit
            return {"status": "Accepted"}
        if action == "ClearChargingProfile":
            self.limits.pop(1, None)
            return {"status": "Accepted"}
        period = {"startPeriod": 0, "limit": self.limits[max(self.limits)]}
        schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
        return {"status": "Accepted", "connectorId": 1, "scheduleStart": now(), "chargingSchedule": schedule}

    async def call(self, action, payload):
        await self.socket.send(json.dumps([2, action, action, payload]))
        async with asyncio.timeout(20):
            type_, id_, answer, *_ = await self.answers.get()
        assert (type_, id_) == (3, action), answer
        return answer


@contextlib.asynccontextmanager
async def plugged(world, device):
    await until(lambda: "ocpp.ocpp" in world.node.adapters.listening)
    host, port = world.node.adapters.listening["ocpp.ocpp"]
    secret = base64.b64encode(f"CP1:{device['password']}".encode()).decode()
    async with websockets.connect(
        f"ws://{host}:{port}/ocpp/CP1",
        subprotocols=["ocpp1.6"],
        additional_headers={"Authorization": f"Basic {secret}"},
    ) as socket:
        charger = Charger(socket)
        yield charger
    await charger.task


async def value(world, point):
    answer = await world.op.get(f"/things/{THING}/properties/{point}")
    return answer.json()["value"] if answer.status_code == 200 else None


async def test_a_charge_point_from_plug_to_bill(tmp_path):
    settings = settings_for(adapters=Adapters(allow=["ocpp"], settings={"ocpp": SETTINGS}))
    start = {"connectorId": 1, "idTag": "CAFE01", "meterStart": 1000, "timestamp": now(-30)}
    async with running(tmp_path / "data", settings) as world:
        asked = {"kind": "device", "name": "CP1", "roles": ["device"], "password": True}
        device = (await world.op.post("/principals", json=asked)).json()
        connection = {"station": "CP1", "device": device["id"], "evse": 1}
        await world.thing(THING, CHARGER, adapter="ocpp", devices=[device["id"]], connection=connection)
        async with plugged(world, device) as charger:
            boot = {"chargePointVendor": "Acme", "chargePointModel": "Wall"}
            assert (await charger.call("BootNotification", boot))["status"] == "Accepted"
            id_ = (await charger.call("StartTransaction", start))["transactionId"]
            assert await value(world, "activeEnergyImport") == 1000
            until_ = now(600)
            body = {"thing": THING, "point": "currentLimit", "value": 10, "until": until_}
            command = (await world.op.post("/commands", json=body)).json()

            async def state():
                return (await world.op.get(f"/commands/{command['id']}")).json()["state"]

            async with asyncio.timeout(20):
                while await state() != "applied":
                    await asyncio.sleep(0.02)
            assert charger.limits == {0: 32, 1: 10}
            assert await value(world, "currentLimit") == 10
    async with running(tmp_path / "data", settings) as world, plugged(world, device) as charger:
        # The answer may have been lost with the node: the same transaction, and the lease is told again.
        assert (await charger.call("StartTransaction", start))["transactionId"] == id_
        await until(lambda: charger.limits == {0: 32, 1: 10})
        stop = {"transactionId": id_, "meterStop": 9000, "timestamp": now(), "idTag": "CAFE01"}
        assert await charger.call("StopTransaction", stop) == {"idTagInfo": {"status": "Accepted"}}
        assert await value(world, "activeEnergyImport") == 9000
