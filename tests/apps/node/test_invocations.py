"""Actions that are not commands: what the node does not live to see the end of is given up when it stops."""

import asyncio
from typing import Any

from running_node import BATTERY, World, settings_for


async def test_a_node_that_stops_gives_up_what_still_runs(tmp_path):
    world = await World.start(tmp_path / "data", settings_for())
    try:
        await world.thing("urn:example:b1", BATTERY, adapter="none")

        async def endless() -> Any:
            await asyncio.Event().wait()

        running = world.node.invocations.begin("urn:example:b1", "readNow", world.op_id, endless)
        await asyncio.sleep(0)
    finally:
        await world.stop()
    assert (running.status, running.error and running.error["detail"]) == ("failed", "it was cancelled")
    assert not world.node.invocations._running
