"""ocpp-rpc, from npm, is a charge point of a running node: another codec, another validator, another WebSocket."""

import asyncio
import datetime
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from running_node import running, settings_for, until

from gridspine.infra.runtime.settings import Adapters

HERE = Path(__file__).parent / "ocpp"
THING, CHARGER = "urn:example:charger", "https://gridspine.org/models/ev_charger"
pytestmark = pytest.mark.skipif(
    not shutil.which("node") or not shutil.which("npm"), reason="node and npm are not installed"
)


@pytest.fixture(scope="module", autouse=True)
def installed():
    """Install exactly what is locked, unless that is there."""
    if not (HERE / "node_modules" / ".package-lock.json").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, check=True, env=os.environ, timeout=240)


class Stranger:
    """The stranger's process: one call at a time; the profiles it was given are kept."""

    def __init__(self, process):
        self.process, self.profiles = process, []

    @classmethod
    async def start(cls, port, version, password):
        process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "point.cjs"), f"ws://127.0.0.1:{port}/ocpp", "CP1", version,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        made = cls(process)
        process.stdin.write(f"{password}\n".encode())
        return made

    async def hears(self, what):
        """Return the next thing of that name which it says."""
        while True:
            said = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 60))
            if "profile" in said:
                self.profiles.append(said["profile"])
            if what in said:
                return said[what]
            assert "profile" in said, said

    async def call(self, action, payload, what="answer"):
        self.process.stdin.write(json.dumps({"action": action, "payload": payload}).encode() + b"\n")
        return await self.hears(what)

    async def stop(self):
        self.process.stdin.close()
        await self.process.wait()


def now(by_s=0.0):
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=by_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def charges_16(stranger):
    assert (await stranger.call("BootNotification", {"chargePointVendor": "a", "chargePointModel": "b"}))["interval"]
    status = {"connectorId": 1, "errorCode": "NoError", "status": "Charging", "timestamp": now()}
    assert await stranger.call("StatusNotification", status) == {}
    start = {"connectorId": 1, "idTag": "CAFE01", "meterStart": 1000, "timestamp": now(-5)}
    id_ = (await stranger.call("StartTransaction", start))["transactionId"]
    stop = {"transactionId": id_, "meterStop": 2500, "timestamp": now()}
    assert await stranger.call("StopTransaction", stop) == {}


async def charges_201(stranger):
    boot = {"chargingStation": {"model": "a", "vendorName": "b"}, "reason": "PowerUp"}
    assert (await stranger.call("BootNotification", boot))["status"] == "Accepted"
    for number, (kind, wh) in enumerate((("Started", 1000), ("Ended", 2500))):
        event = {
            "eventType": kind, "timestamp": now(number), "triggerReason": "Trigger", "seqNo": number,
            "transactionInfo": {"transactionId": "t1", "chargingState": "Charging"}, "evse": {"id": 1},
            "meterValue": [{"timestamp": now(number), "sampledValue": [{"value": wh}]}],
        }  # fmt: skip
        assert await stranger.call("TransactionEvent", event) == {}


@pytest.mark.parametrize(("version", "charges"), [("1.6", charges_16), ("2.0.1", charges_201)])
async def test_ocpp_rpc_charges_and_obeys(tmp_path, version, charges):
    section = {"tokens": [{"id": "CAFE01"}], "ocpp": {"port": 0}}
    settings = settings_for(adapters=Adapters(allow=["ocpp"], settings={"ocpp": section}))
    async with running(tmp_path / "data", settings) as world:
        asked = {"kind": "device", "name": "CP1", "roles": ["device"], "password": True}
        device = (await world.op.post("/principals", json=asked)).json()
        connection = {"station": "CP1", "device": device["id"]}
        await world.thing(THING, CHARGER, adapter="ocpp", devices=[device["id"]], connection=connection)
        await until(lambda: "ocpp.ocpp" in world.node.adapters.listening)
        port = world.node.adapters.listening["ocpp.ocpp"][1]
        stranger = await Stranger.start(port, version, device["password"])
        try:
            assert await stranger.hears("connected") == f"ocpp{version}"
            await charges(stranger)
            body = {"thing": THING, "point": "currentLimit", "value": 10, "until": now(600)}
            command = (await world.op.post("/commands", json=body)).json()["id"]
            async with asyncio.timeout(30):
                while (await world.op.get(f"/commands/{command}")).json()["state"] != "applied":
                    await asyncio.sleep(0.05)
            assert await stranger.call("ClearedChargingLimit", {}, "error")  # not of 1.6, and incomplete in 2.0.1
            assert [one["stackLevel"] for one in stranger.profiles] == [0, 1]
            for point, value in (("activeEnergyImport", 2500), ("connectorState", 3), ("currentLimit", 10)):
                assert (await world.op.get(f"/things/{THING}/properties/{point}")).json()["value"] == value, point
        finally:
            await stranger.stop()


async def test_ocpp_rpc_with_a_wrong_password_stays_outside(tmp_path):
    settings = settings_for(adapters=Adapters(allow=["ocpp"], settings={"ocpp": {"ocpp": {"port": 0}}}))
    async with running(tmp_path / "data", settings) as world:
        await until(lambda: "ocpp.ocpp" in world.node.adapters.listening)
        stranger = await Stranger.start(world.node.adapters.listening["ocpp.ocpp"][1], "1.6", "wrong")
        try:
            assert "Unauthorized" in await stranger.hears("failed")
        finally:
            await stranger.stop()
