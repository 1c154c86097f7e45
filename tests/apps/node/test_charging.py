"""A charge point and a whole node: readings, commands, actions, transactions, and restarts in the middle of them."""

import asyncio
import base64
import contextlib
import datetime
import json

import pytest
import websockets
from running_node import running, settings_for, until

from gridspine.infra.runtime.settings import Adapters

THING = "urn:example:charger"
CHARGER = "https://gridspine.org/models/ev_charger"
SETTINGS = {"tokens": [{"id": "CAFE01"}], "ocpp": {"port": 0}}

ACTIONS = f"/things/{THING}/actions"


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
                    if (answer := self.obey(frame[2], frame[3])) is not None:
                        await self.socket.send(json.dumps([3, frame[1], answer]))
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
        async with asyncio.timeout(60):
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

            async with asyncio.timeout(60):
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


@pytest.fixture
def settings():
    return settings_for(adapters=Adapters(allow=["ocpp"], settings={"ocpp": SETTINGS}))


async def charge_point(world):
    asked = {"kind": "device", "name": "CP1", "roles": ["device"], "password": True}
    device = (await world.op.post("/principals", json=asked)).json()
    connection = {"station": "CP1", "device": device["id"]}
    await world.thing(THING, CHARGER, adapter="ocpp", devices=[device["id"]], connection=connection)
    return device


async def invoke(world, name, given=None):
    answer = await world.op.post(f"{ACTIONS}/{name}", json={} if given is None else given)
    assert answer.status_code == 201, answer.text
    return answer.json()["href"]


async def ended(world, href):
    path = "/things/" + href.partition("/things/")[2]
    async with asyncio.timeout(60):
        while (status := (await world.op.get(path)).json())["status"] == "running":
            await asyncio.sleep(0.01)
    return status


async def receipts(world):
    found = (await world.op.get("/receipts", params={"subject": THING})).json()
    return {one["type"] for one in found}


async def test_a_charge_point_is_asked_and_its_answer_told(tmp_path, settings):
    async with running(tmp_path / "data", settings) as world:
        device = await charge_point(world)
        await until(lambda: world.node.adapters.requests.served("ocpp"))
        async with plugged(world, device) as charger:
            await charger.call("Heartbeat", {})
            charger.obey = lambda action, said: {"status": "Unlocked" if action == "UnlockConnector" else "Rejected"}
            found = await ended(world, await invoke(world, "unlock"))
            assert (found["status"], found["output"]) == ("completed", {"status": "Unlocked"})
            refused = await ended(world, await invoke(world, "clearCache"))
            async with asyncio.timeout(60):  # the ledger follows the log
                while "action.refused" not in (noted := await receipts(world)):
                    await asyncio.sleep(0.05)
            assert {"action.requested", "action.done", "action.refused"} <= noted
            assert (refused["status"], refused["error"]["status"]) == ("failed", 409)
            assert refused["error"]["detail"] == "the charge point answers Rejected"
            document = (await world.op.get(f"/things/{THING}", params={"exposed": "true"})).json()
            assert {"remoteStart", "reset", "hold"} <= document["actions"].keys()
            assert document["actions"]["getVariables"]["safe"] is True
            # Who may read may not ask, and a tag that hangs keeps whatever changes the Thing away.
            _, reader = world.client("northside-networks", "auditor")
            assert (await reader.post(f"{ACTIONS}/unlock")).status_code == 403
            tag = {"reason": "the electrician works here"}
            assert (await world.op.post(f"/things/{THING}/tags", json=tag)).status_code == 201
            blocked = await ended(world, await invoke(world, "unlock"))
            assert "electrician" in blocked["error"]["detail"]
            assert (await ended(world, await invoke(world, "station")))["status"] == "completed", "that is safe"
        gone = await ended(world, await invoke(world, "getLocalListVersion"))
        assert gone["error"]["detail"] == "the charge point is not connected: nothing was sent"


async def test_a_stop_in_the_middle_leaves_what_was_asked_and_asks_no_second_time(tmp_path, settings):
    async with running(tmp_path / "data", settings) as world:
        device = await charge_point(world)
        await until(lambda: world.node.adapters.requests.served("ocpp"))
        async with plugged(world, device) as charger:
            await charger.call("Heartbeat", {})
            asked = asyncio.Event()
            charger.obey = lambda *_: asked.set()  # and no answer
            href = await invoke(world, "clearCache")
            await asyncio.wait_for(asked.wait(), 60)
            assert (await world.op.get("/things/" + href.partition("/things/")[2])).json()["status"] == "running"
    async with running(tmp_path / "data", settings) as world, plugged(world, device) as charger:
        heard = []
        charger.obey = lambda action, said: heard.append(action) or {"status": "Rejected"}
        await until(lambda: world.node.adapters.requests.served("ocpp"))
        await charger.call("Heartbeat", {})
        await charger.call("Heartbeat", {})
        assert "ClearCache" not in heard
        assert (await world.op.get("/things/" + href.partition("/things/")[2])).status_code == 404


async def test_transactions_are_listed_and_their_signed_values_handed_out(tmp_path, settings):
    async with running(tmp_path / "data", settings) as world:
        device = await charge_point(world)
        await world.thing("urn:example:m9")
        await until(lambda: world.node.adapters.requests.served("ocpp"))
        async with plugged(world, device) as charger:
            start = {"connectorId": 1, "idTag": "CAFE01", "meterStart": 1000, "timestamp": now(-30)}
            id_ = (await charger.call("StartTransaction", start))["transactionId"]
            signed = [{"timestamp": now(), "sampledValue": [{"value": "OCMF|x", "format": "SignedData"}]}]
            stop = {"transactionId": id_, "meterStop": 3500, "timestamp": now(), "transactionData": signed}
            await charger.call("StopTransaction", stop)
        where = f"/things/{THING}/transactions"
        (one,) = (await world.op.get(where)).json()["transactions"]
        assert (one["id"], one["energyWh"], one["token"], one["signed"]) == (str(id_), 2500, "CAFE01", True)
        answer = await world.op.get(f"{where}/{id_}/signed-values")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.json()["values"] == [{"timestamp": signed[0]["timestamp"],
                                            "sampledValue": signed[0]["sampledValue"][0]}]  # fmt: skip
        assert (await world.op.get(f"{where}/7/signed-values")).status_code == 404
        assert (await world.op.get("/things/urn:example:m9/transactions")).status_code == 409
        assert (await world.co.get(where)).status_code == 403
        # Who plugged in is told to who may command the charging point, and to nobody else who may read it.
        _, reader = world.client("northside-networks", "auditor")
        (seen,) = (await reader.get(where)).json()["transactions"]
        assert ("token" in seen, seen["energyWh"]) == (False, 2500)
        assert (await reader.get(f"{where}/{id_}/signed-values")).status_code == 403
        invoked = await invoke(world, "transactions")
        assert "CAFE01" in json.dumps(await ended(world, invoked))
        for path in ("/things/" + invoked.partition("/things/")[2], ACTIONS):
            answer_ = await reader.get(path)
            assert (answer_.status_code, "completed" in answer_.text, "CAFE01" in answer_.text) == (200, True, False)
        assert json.loads(answer.text)["thing"] == THING


async def test_a_charge_point_nobody_knows_is_a_thing_after_one_approval(tmp_path):
    installer = "urn:example:newcomers"
    settings = settings_for(adapters=Adapters(allow=["ocpp"], settings={"ocpp": SETTINGS | {"newcomers": installer}}))
    boot = {"chargePointVendor": "Acme", "chargePointModel": "Wall", "firmwareVersion": "1.2"}
    async with running(tmp_path / "data", settings) as world:
        asked = {"id": installer, "kind": "device", "name": "new", "roles": ["device"], "password": True}
        device = (await world.op.post("/principals", json=asked)).json()
        async with plugged(world, device) as charger:
            for _ in range(2):
                assert (await charger.call("BootNotification", boot))["status"] == "Pending"
            (waiting,) = (await world.op.get("/announcements")).json()
            assert (waiting["make"], waiting["serial"], waiting["adapter"]) == ("Acme", "CP1", "ocpp")
            answer = await world.op.post(f"/announcements/{waiting['id']}/accept", json={"id": THING})
            assert answer.status_code == 200, answer.text
            await asyncio.wait_for(charger.task, 60)  # it is cut
        async with plugged(world, device) as charger:
            assert (await charger.call("BootNotification", boot))["status"] == "Accepted"
            status = {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": now()}
            await charger.call("StatusNotification", status)
            assert await value(world, "connectorState") == 1
