"""A stranger's Modbus device, from its description to readings and a lease, by the whole node over a real socket."""

import asyncio
import json

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from running_node import World, settings_for, until

from gridspine.infra.runtime.settings import Adapters

TD = {"content-type": "application/td+json"}
ID = "urn:example:boiler"
LEASE = {
    "role": "setpoint", "minimum": 0, "maximum": 6000, "fallback": 0, "confirmPoint": "setpoint", "tolerance": 1,
    "maxDurationS": 3600,
}  # fmt: skip


def described(port, reversion):
    holding = {"modv:entity": "HoldingRegister", "modv:type": "xsd:short", "modv:pollingTime": 1000}
    heat = {
        "href": "4",
        "op": "readproperty",
        "modv:entity": "InputRegister",
        "modv:type": "xsd:short",
        "gs:factor": 0.1,
    }
    return {
        "@context": "https://www.w3.org/2022/wot/td/v1.1", "id": ID, "title": "Boiler",
        "base": f"modbus+tcp://127.0.0.1:{port}/7/", "security": "none",
        "securityDefinitions": {"none": {"scheme": "nosec"}},
        "properties": {
            "heat": {"type": "number", "unit": "degC", "forms": [heat]},
            "setpoint": {"type": "integer", "unit": "W", "gs:lease": {**LEASE, "reversion": reversion},
                         "forms": [{"href": "1", "op": ["readproperty", "writeproperty"], **holding}]},
            "label": {"type": "string", "forms": [{"href": "9", "modv:entity": "HoldingRegister"}]},
        },
    }  # fmt: skip


@pytest.fixture
async def boiler():
    words = [0, 0, 0, 605, 0, 0, 0, 0]

    async def access(function, start, address, count, registers, values):
        if values:
            words[address : address + count] = values
        registers[: len(words)] = words
        return await asyncio.sleep(0)

    data = SimData(0, values=list(words), datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(id=7, simdata=[data], action=access), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    yield words, server.transport.sockets[0].getsockname()[1]
    await server.shutdown()


@pytest.fixture
async def world(tmp_path):
    adapters = Adapters(allow=["modbus"], settings={"modbus": {"allow": ["127.0.0.0/8"]}})
    made = await World.start(tmp_path / "data", settings_for(adapters=adapters))
    yield made
    await made.stop()


async def test_a_described_device_is_read_commanded_and_let_go(world, boiler):
    words, port = boiler
    answer = await world.op.put(f"/things/{ID}", content=json.dumps(described(port, "safe-to-persist")), headers=TD)
    assert answer.status_code == 201, answer.text
    report = (await world.op.get(f"/things/{ID}/report")).json()
    assert (report["adapter"], report["working"]) == ("modbus", ["heat", "setpoint"])
    assert [left["affordance"] for left in report["left"]] == ["properties.label"]
    await until(lambda: world.node.twins.get(world.node.points.number(f"{ID}/heat")).value == 60.5)
    shown = (await world.op.get(f"/things/{ID}/properties/heat")).json()
    assert (shown["value"], shown["unit"]) == (60.5, "degC")
    body = {"thing": ID, "point": "setpoint", "value": 2500, "durationS": 600}
    command = (await world.op.post("/commands", json=body)).json()["id"]
    await until(lambda: world.node.commands.commander.command(command).state == "applied")
    assert words[0] == 2500
    assert (await world.op.post(f"/commands/{command}/cancel", json={})).status_code == 200
    await until(lambda: words[0] == 0)


async def test_a_lease_that_nobody_would_end_is_rejected_and_the_report_says_so(world, boiler):
    words, port = boiler
    answer = await world.op.put(f"/things/{ID}", content=json.dumps(described(port, "device")), headers=TD)
    assert answer.status_code == 201, answer.text
    left = {one["affordance"]: one["reason"] for one in (await world.op.get(f"/things/{ID}/report")).json()["left"]}
    assert "nobody would end a lease" in left["properties.setpoint"]
    body = {"thing": ID, "point": "setpoint", "value": 2500, "durationS": 600}
    command = (await world.op.post("/commands", json=body)).json()["id"]
    await until(lambda: world.node.commands.commander.command(command).state == "rejected")
    assert "nobody would end the lease" in world.node.commands.commander.command(command).reason
    assert words[0] == 0
