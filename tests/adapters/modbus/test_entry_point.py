"""The adapter arrives by the same door as a stranger's."""

from importlib import metadata

from gridspine.things.adapter import ENTRY_POINT_GROUP


def test_the_adapter_is_found_by_its_entry_point():
    (entry,) = (entry for entry in metadata.entry_points(group=ENTRY_POINT_GROUP) if entry.name == "modbus")
    assert entry.load()().name == "modbus"
