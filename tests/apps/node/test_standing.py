"""What a device holds open ends when what it proved itself by does: a whole node with its broker, and a real client."""

import asyncio
import contextlib

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from running_node import running, settings_for, until

from gridspine.infra.runtime.settings import Adapters

THING = "urn:example:m1"


@contextlib.contextmanager
def connected(address: tuple[str, int], username: str, password: str):
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="d", clean_session=True)
    client.username_pw_set(username, password)
    seen: list[str] = []
    client.on_connect = lambda *given: seen.append("refused" if given[3].is_failure else "in")
    client.on_disconnect = lambda *_: seen.append("out")
    client.reconnect_delay_set(60, 60)
    client.connect_async(*address)
    client.loop_start()
    try:
        yield seen
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("how", ["device-password", "deactivate", "sign-out", "roles"])
async def test_a_devices_open_connection_ends_with_its_standing(tmp_path, how) -> None:
    settings = settings_for(adapters=Adapters(allow=["mqtt"], settings={"mqtt": {"mqtt": {"port": 0}}}))
    async with running(tmp_path / "data", settings) as world:
        asked = {"kind": "device", "name": "d", "roles": ["device"], "password": True}
        device = (await world.op.post("/principals", json=asked)).json()
        await world.thing(THING, adapter="mqtt", devices=[device["id"]])
        await until(lambda: "mqtt.mqtt" in world.node.adapters.listening)
        address = world.node.adapters.listening["mqtt.mqtt"]
        with connected(address, device["id"], device["password"]) as seen:
            await until(lambda: seen == ["in"])
            await asyncio.sleep(0.1)
            assert seen == ["in"]
            body = {"roles": ["device", "auditor"]} if how == "roles" else None
            assert (await world.op.post(f"/principals/{device['id']}/{how}", json=body)).status_code == 200
            if how == "roles":  # nothing it needs was taken: it stays
                await asyncio.sleep(0.3)
                assert seen == ["in"]
                return
            await until(lambda: seen == ["in", "out"])
