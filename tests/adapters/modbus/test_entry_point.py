"""The adapter arrives by the same door as a stranger's, and its folder keeps its promises."""

import tomllib
from importlib import metadata, resources

from gridspine.things.adapter import ENTRY_POINT_GROUP


def test_the_adapter_is_found_by_its_entry_point():
    (entry,) = (entry for entry in metadata.entry_points(group=ENTRY_POINT_GROUP) if entry.name == "modbus")
    assert entry.load()().name == "modbus"


def test_the_quality_file_says_what_is_done_and_why_not():
    told = tomllib.loads((resources.files("gridspine.adapters.modbus") / "quality.toml").read_text())
    assert set(told["rules"].values()) == {"done"}
    assert all(len(reason) > 20 for part in ("todo", "exempt") for reason in told[part].values())
