"""Each kind of device emulated by the node itself, at its Thing's address: what it says is whole, and emulated."""

import asyncio
from typing import Any

from running_node import World

from gridspine.apps.cli.connect import check
from gridspine.energy.emulators.mix import KINDS


async def test_a_twin_of_every_kind_is_emulated(world: World) -> None:
    things = {kind: f"urn:example:inside:{kind}" for kind in KINDS}
    for kind, thing in things.items():
        await world.thing(thing, KINDS[kind].MODEL)
    wanted = {"form": "emulator", "seed": 3, "stepS": 0.5, "things": list(things.values())}
    views = check(await world.op.post("/things/form", json=wanted)).json()
    assert [(view["form"], view["problem"]) for view in views] == [("emulator", "")] * len(KINDS)
    for kind, thing in things.items():
        told: dict[str, Any] = {}
        while not set(KINDS[kind].POINTS) <= set(told):
            channels = check(await world.op.get(f"/things/{thing}/channels")).json()
            assert all(view["reported"] is None for view in channels)
            told = {view["name"]: view["emulated"]["value"] for view in channels if view["emulated"]}
            await asyncio.sleep(0.05)
        assert set(told) == set(KINDS[kind].POINTS)
