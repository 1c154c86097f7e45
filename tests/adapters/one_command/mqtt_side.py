"""A device that takes orders over MQTT: packets as in MQTT 3.1.1, and the JSON that the adapter's README states."""

import asyncio
import contextlib
import datetime
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

from mqtt_device import raw
from one_command import THING, WORDS, Side, binding

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.testing.node import FakeNode

PUBLISH, PUBACK = 3, 4
PASSWORD = "open-sesame-21"


def moment_us(text: str) -> int:
    found = datetime.datetime.fromisoformat(text)
    since = found - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(microseconds=1)


class MqttSide(Side):
    """It holds a value until its end and then goes to its fallback; by a schedule, where it gets one."""

    point = "activePowerSetpoint"
    value, fallback, other_fallback, older = -2_222.6, -700.4, -700.4, 900.0
    step = 1e-6
    schedules = True
    thing, user, password = THING, THING, PASSWORD

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self._order: dict[str, Any] = {}
        self._subscribed = False

    def adapter(self) -> Any:
        return MqttAdapter()

    def node(self, clock: VirtualClock) -> FakeNode:
        node = FakeNode([binding({"schedules": True} if self.schedules else {})], clock=clock)
        node.add_user(THING, PASSWORD, THING)
        return node

    @property
    def ready(self) -> bool:
        return self._subscribed

    @contextlib.asynccontextmanager
    async def connected(self, node: FakeNode) -> AsyncIterator[None]:
        await node.until(lambda: "mqtt" in node.address)
        async with raw(node.address["mqtt"]) as device:
            await device.connect(self.user, self.password)
            assert await device.subscribe(f"gridspine/{self.thing}/commands") == [1]
            self._subscribed = True
            listening = asyncio.create_task(self._listen(device))
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.wait([listening])

    async def _listen(self, device: Any) -> None:
        while packet := await device.receive():
            if packet.kind != PUBLISH or self.silent:
                continue
            length = struct.unpack("!H", packet.body[:2])[0]
            body = packet.body[4 + length :]
            await device.send(PUBACK, packet.body[2 + length : 4 + length])
            word = {"command": json.loads(body)["command"], "state": "acknowledged"}
            if self.refuses:
                word |= {"state": "rejected", "reason": WORDS}
            else:
                self.take(body)
            await device.publish(f"gridspine/{self.thing}/acknowledgements", json.dumps(word).encode(), qos=0)

    def take(self, body: bytes) -> None:
        self.said += body
        order = json.loads(body)
        if order["sequence"] < self._order.get("sequence", 0):
            return
        self._order = order
        self.told_end_us = moment_us(order["until"])
        self.told_start_us = moment_us(order["from"]) if "from" in order else None
        self.told_plan = tuple((moment_us(one["from"]), one["value"]) for one in order.get("schedule", ()))
        self.told_sequence = order["sequence"]
        self.told_chance = any("random" in key.lower() for key in order)

    def holds(self, at_us: int) -> float:
        order, value = self._order, None
        if not order:
            return 0.0
        if order["value"] is None:
            return float(order["fallback"])
        if at_us < moment_us(order["until"]):
            value = order["value"]
        for from_us, later in self.told_plan:
            value = later if from_us <= at_us else value
        return float(order["fallback"] if value is None else value)


class WithoutSchedules(MqttSide):
    """A device whose binding does not say that it holds schedules."""

    schedules = False


LANGUAGES = {"MQTT": (MqttSide, WithoutSchedules)}
