"""A node that serves the embedded broker, for two meters."""

import contextlib
from collections.abc import AsyncIterator

from adapter_node import FakeNode
from mqtt_device import OTHER, PASSWORD, THING

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.things.adapter import Binding


def binding(thing: str, **connection: object) -> Binding:
    return Binding(thing, "Meter", "org", "urn:model", dict(connection))


def make_node(**options: object) -> FakeNode:
    node = FakeNode([binding(THING), binding(OTHER)], **options)  # type: ignore[arg-type]
    node.add_user(THING, PASSWORD, THING)
    node.add_user(OTHER, PASSWORD, OTHER)
    return node


@contextlib.asynccontextmanager
async def serving(node: FakeNode) -> AsyncIterator[MqttAdapter]:
    adapter = MqttAdapter()
    async with node.running(adapter):
        await node.until(lambda: "mqtt" in node.address)
        yield adapter
