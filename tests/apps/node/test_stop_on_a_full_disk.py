"""A node stops whole, and lets go of its data, when there is no room for what it would write last."""

import errno
import os

import pytest
from running_node import running

from gridspine.things.twin import TwinState


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_node_without_room_for_its_snapshots_stops_and_starts_again(tmp_path, monkeypatch):
    async with running(tmp_path / "data") as world:
        thing = await world.thing()
        answer = await world.send(f"{thing}/activeEnergyImport", [1.0, 2.0])
        assert answer["accepted"] == 2
        monkeypatch.setattr(world.node.twins, "save", full)
        for checkpoints in world.node.checkpoints.values():
            monkeypatch.setattr(type(checkpoints), "save", full)
    monkeypatch.undo()
    async with running(tmp_path / "data") as world:
        assert world.node.twins.get(world.node.points.number(f"{thing}/activeEnergyImport")).value == 2.0


def test_half_a_snapshot_takes_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        TwinState().save(tmp_path / "twins.npz", {})
    assert list(tmp_path.iterdir()) == []
