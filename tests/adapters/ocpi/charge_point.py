"""A charge point of OCPP 1.6 with one connector, as far as roaming needs one: it charges 5 kWh, and obeys profiles."""

import asyncio
import base64
import contextlib
import datetime
import json

import websockets

METER_START, TAKEN_WH = 1_000, 5_000


class ChargePoint:
    """Connected to a node; ``asked`` are the calls it got."""

    def __init__(self, socket):
        self.socket, self.asked, self.limit_a = socket, [], 32.0
        self.meter, self.transaction = METER_START, None
        self._answers: dict = {}
        self._number = 0

    async def call(self, action, **payload):
        self._number += 1
        id_ = str(self._number)
        future = self._answers[id_] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps([2, id_, action, payload]))
        return await asyncio.wait_for(future, 60)

    async def state(self, status):
        await self.call("StatusNotification", connectorId=1, errorCode="NoError", status=status)

    async def start(self, token):
        await self.state("Preparing")
        answer = await self.call(
            "StartTransaction", connectorId=1, idTag=token, meterStart=self.meter, timestamp=now(-3600)
        )
        self.transaction = answer["transactionId"]
        await self.state("Charging")
        return answer["idTagInfo"]["status"]

    async def stop(self):
        self.meter += TAKEN_WH
        await self.call("StopTransaction", transactionId=self.transaction, meterStop=self.meter, timestamp=now(0))
        self.transaction = None
        await self.state("Available")

    async def listen(self):
        async with asyncio.TaskGroup() as group:
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    kind, id_, *rest = json.loads(await self.socket.recv())
                    if kind == 3:
                        self._answers.pop(id_).set_result(rest[0])
                        continue
                    action, said = rest
                    self.asked.append((action, said))
                    await self.socket.send(json.dumps([3, id_, self.obey(action, said)]))
                    if action == "RemoteStartTransaction":
                        group.create_task(self.start(said["idTag"]))
                    elif action == "RemoteStopTransaction":
                        group.create_task(self.stop())

    def obey(self, action, said):
        if action == "SetChargingProfile":
            profile = said["csChargingProfiles"]
            if profile["stackLevel"] > 0:
                self.limit_a = profile["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]
            return {"status": "Accepted"}
        if action == "ClearChargingProfile":
            self.limit_a = 32.0
            return {"status": "Accepted"}
        if action == "GetCompositeSchedule":
            period = {"startPeriod": 0, "limit": self.limit_a, "numberPhases": 3}
            schedule = {"chargingRateUnit": said.get("chargingRateUnit", "A"), "chargingSchedulePeriod": [period]}
            return {"status": "Accepted", "connectorId": 1, "scheduleStart": now(0), "chargingSchedule": schedule}
        if action == "UnlockConnector":
            return {"status": "Unlocked"}
        return {"status": "Accepted"}


def now(seconds):
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


@contextlib.asynccontextmanager
async def charging(world, thing, name="CP1"):
    """Make a Thing of a charge point, connect it, and yield it."""
    device, _ = world.client("northside-networks", "device", kind="device")
    password = world.node.identity.new_device_password(device)
    await world.thing(
        thing, "https://gridspine.org/models/ev_charger", adapter="ocpp", devices=[device],
        connection={"station": name, "device": device, "evse": 1},
    )  # fmt: skip
    host, port = world.node.adapters.listening["ocpp.ocpp"]
    word = base64.b64encode(f"{name}:{password}".encode()).decode()
    url = f"ws://{host}:{port}/ocpp/{name}"
    for attempt in range(50):
        try:
            socket = await websockets.connect(
                url, subprotocols=["ocpp1.6"], additional_headers={"authorization": f"Basic {word}"}
            )
            break
        except websockets.InvalidStatus:
            assert attempt < 49
            await asyncio.sleep(0.1)
    point = ChargePoint(socket)
    listening = asyncio.create_task(point.listen())
    try:
        await point.call("BootNotification", chargePointVendor="A", chargePointModel="B")
        await point.state("Available")
        yield point
    finally:
        await socket.close()
        await asyncio.wait([listening])
