"""A start that fails leaves what was there as it was."""

import time
from pathlib import Path

import pytest
from running_node import METER, SENML, World

from gridspine.apps.node import node as node_module


async def test_the_twins_survive_a_start_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    world = await World.start(folder)
    assert (
        await world.op.post("/things", json={"id": "urn:example:one", "title": "M", "model": METER})
    ).status_code == 201
    item = {"n": "urn:example:one/activePower", "v": 7.0, "t": time.time()}
    assert (await world.op.post("/readings", json=[item], headers=SENML)).json()["accepted"] == 1
    await world.stop()
    before = (folder / "twins.npz").read_bytes()

    def broken(*_given: object, **_more: object) -> int:
        raise OSError("the disk does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(node_module, "restore_twins", broken)
        with pytest.raises(OSError, match="does not answer"):
            await World.start(folder)
    assert (folder / "twins.npz").read_bytes() == before

    world = await World.start(folder)
    values = {one["name"]: one["value"] for one in (await world.op.get("/things/urn:example:one/properties")).json()}
    assert values["activePower"] == 7.0
    await world.stop()
