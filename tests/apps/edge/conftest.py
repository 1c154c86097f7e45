"""An edge in this process beside a whole node, with an adapter whose devices are lists."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from running_node import BATTERY, World

from gridspine.apps.cli.keys import register_client
from gridspine.apps.edge.edge import Edge
from gridspine.apps.edge.proof import EdgeKey
from gridspine.apps.edge.settings import EdgeSettings
from gridspine.infra.runtime.clock import Clock, SystemClock
from gridspine.kernel.readings import named_readings
from gridspine.things.adapter import AdapterContext, Order, Outcome

BATTERY_ID = "urn:example:battery"
SETPOINT = f"{BATTERY_ID}/activePowerSetpoint"
POWER = f"{BATTERY_ID}/activePower"


class Wire:
    """An adapter that notes its orders and says to each that the device has taken it."""

    name = "wire"

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.context: AdapterContext | None = None
        self.answer = "acknowledged"

    async def run(self, context: AdapterContext) -> None:
        self.context = context
        async for order in context.orders():
            self.orders.append(order)
            await context.progress(order.command, self.answer, sequence=order.sequence)  # type: ignore[arg-type]

    @property
    def value(self) -> float | None:
        """What the device was told last."""
        return self.orders[-1].value if self.orders else None

    async def read(self, *rows: tuple[str, int, float], backfill: bool = False) -> Outcome:
        """Hand readings in: point id, observed [µs], value."""
        assert self.context is not None
        readings = named_readings([(point, "", at_us, value, 0) for point, at_us, value in rows])
        return await self.context.intake(readings, self.context.source_of(BATTERY_ID), backfill=backfill)


class Beside:
    """An edge beside a world: its principal, its files, its wire."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder, self.clock = world, folder, SystemClock()
        identity = world.node.identity
        self.id = register_client(
            identity, world.node.clock, folder / "edge.json", organisation="northside-networks", kind="device",
            name="edge", roles=("device",),
        ).id  # fmt: skip
        self.wire = Wire()
        self.edge: Edge | None = None

    async def thing(self, id: str = BATTERY_ID, model: str = BATTERY) -> str:
        """Register a Thing that the edge serves."""
        connection = {"edge": self.id, "adapter": "wire", "connection": {"host": "somewhere"}}
        return await self.world.thing(id, model, adapter="edge", connection=connection, devices=[self.id])

    def make(self, clock: Clock | None = None, *, node: str = "", **settings: Any) -> Edge:
        """Make an edge on this folder."""
        file = EdgeSettings(
            node=node or self.world.url, key="", data=str(self.folder / "edge"), adapters=("wire",), **settings
        )
        adapters: Mapping[str, Any] = {"wire": lambda: self.wire}
        return Edge(file, EdgeKey.read(self.folder / "edge.json"), clock or self.clock, adapters=adapters)

    async def start(self, clock: Clock | None = None, **settings: Any) -> Edge:
        """Start an edge; a new wire when one ran before."""
        if self.edge is not None:
            await self.edge.stop()
            self.wire = Wire()
        self.edge = self.make(clock, **settings)
        await self.edge.start()
        return self.edge

    async def command(self, value: float, **more: Any) -> str:
        """Command the battery; return the command's id."""
        body = {"thing": BATTERY_ID, "point": "activePowerSetpoint", "value": value} | ({"durationS": 60} | more)
        answer = await self.world.op.post("/commands", json=body)
        assert answer.status_code == 201, answer.text
        assert answer.json()["state"] != "refused", answer.text
        return str(answer.json()["id"])

    async def state(self, command: str) -> str:
        """Return the state of a command at the node."""
        return str((await self.world.op.get(f"/commands/{command}")).json()["state"])

    async def becomes(self, command: str, state: str) -> None:
        """Wait until a command has a state at the node."""
        async with asyncio.timeout(60):
            while await self.state(command) != state:
                await asyncio.sleep(0.02)

    async def view(self) -> dict[str, Any]:
        """Return how the node sees the edge."""
        answer = await self.world.op.get(f"/edges/{self.id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def stop(self) -> None:
        """Stop the edge."""
        if self.edge is not None:
            await self.edge.stop()
            self.edge = None


@pytest.fixture
async def beside(world, tmp_path):
    made = Beside(world, tmp_path)
    yield made
    await made.stop()


@pytest.fixture(autouse=True)
def until():
    return sys.modules["running_node"].until
