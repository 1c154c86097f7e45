"""One order by HTTP, to a whole node: a device of each of three adapters holds it, and ends it by its own clock."""

import contextlib
from types import SimpleNamespace

import pytest
from one_command import moment
from one_modbus import Limited
from one_mqtt import MqttSide
from one_ocpp import Ocpp201Side
from running_node import running, settings_for, until

from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.settings import Adapters
from gridspine.kernel.time import US

LIMIT_W, FALLBACK_W = 2_500.5, 3_700.0
APPLIANCE, PV = (f"https://gridspine.org/models/{name}" for name in ("appliance", "pv_inverter"))
PLUG, CHARGER, INVERTER = (f"urn:example:{name}" for name in ("plug", "charger", "inverter"))
ADAPTERS = Adapters(
    allow=["mqtt", "ocpp", "modbus"],
    settings={"mqtt": {"mqtt": {"port": 0}}, "ocpp": {"ocpp": {"port": 0}}, "modbus": {"allow": ["127.0.0.0/8"]}},
)


class Devices:
    """A plug by MQTT, a charge point by OCPP 2.0.1 on one phase, a SunSpec inverter by Modbus."""

    def __init__(self, world):
        self.world, clock = world, SystemClock()
        self.plug, self.charger, self.inverter = MqttSide(clock), Ocpp201Side(clock), Limited(clock)

    async def register(self):
        for side, name in ((self.plug, "plug"), (self.charger, "CP001")):
            body = {"kind": "device", "name": name, "roles": ["device"], "password": True}
            made = (await self.world.op.post("/principals", json=body)).json()
            side.user, side.password = made["id"], made["password"]
        self.plug.thing, self.charger.volts = PLUG, 230.0
        station = {"station": "CP001", "device": self.charger.user, "phases": 1}
        inverter = {"host": "127.0.0.1", "port": self.inverter._tcp.port, "intervalS": 1, "timeoutS": 2}
        await self.world.thing(PLUG, APPLIANCE, adapter="mqtt", devices=[self.plug.user])
        await self.world.thing(CHARGER, APPLIANCE, adapter="ocpp", devices=[self.charger.user], connection=station)
        await self.world.thing(INVERTER, PV, adapter="modbus", connection=inverter)

    @contextlib.asynccontextmanager
    async def there(self):
        listening = self.world.node.adapters.listening
        await until(lambda: {"mqtt.mqtt", "ocpp.ocpp"} <= listening.keys())

        async def wait(condition):
            await until(condition)

        node = SimpleNamespace(
            address={"mqtt": listening["mqtt.mqtt"], "ocpp": listening["ocpp.ocpp"]}, until=wait
        )  # fmt: skip
        async with contextlib.AsyncExitStack() as stack:
            for side in (self.plug, self.charger):
                await stack.enter_async_context(side.connected(node))
            await until(lambda: self.plug.ready and self.charger.ready)
            yield

    def hold(self, at_us):
        return [side.holds(at_us) for side in (self.plug, self.charger, self.inverter)]


async def test_one_order_to_three_languages(tmp_path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        world = await stack.enter_async_context(running(tmp_path / "data", settings_for(adapters=ADAPTERS)))
        devices = Devices(world)
        await stack.enter_async_context(devices.inverter.listening(SimpleNamespace(set_bindings=lambda _: None)))
        await devices.register()
        await stack.enter_async_context(devices.there())
        now_us = SystemClock().now_us()
        until_us = now_us // US * US + 600_400_000
        order = {"point": "activePowerLimit", "value": LIMIT_W, "until": moment(until_us)}
        answer = await world.op.post("/commands/batch", json=[{"thing": t, **order} for t in (PLUG, CHARGER, INVERTER)])
        assert answer.status_code == 200, answer.text
        await until(lambda: devices.plug.told_end_us and devices.charger.told_end_us and devices.inverter.told_end_us)
        held, over = devices.hold(now_us + 60 * US), devices.hold(until_us + 5 * US)
        ends = [side.told_end_us - until_us for side in (devices.plug, devices.charger, devices.inverter)]
    assert held == [LIMIT_W, pytest.approx(10.8 * 230), pytest.approx(0.416 * 6000)], "exact; 0.1 A down; 0.1 % down"
    assert over == [FALLBACK_W, pytest.approx(16.0 * 230), 6_000.0], "each by its own clock"
    assert ends[0] == 0
    assert ends[1] == 600_000
    assert ends[2] > 0
