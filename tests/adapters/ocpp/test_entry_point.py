"""The adapter arrives by the same door as a stranger's, says what it lacks, and minds its settings."""

from importlib import metadata

import pytest
from ocpp_bench import make_node

from gridspine.adapters.ocpp import OcppAdapter, schema
from gridspine.adapters.ocpp.settings import read_settings
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.things.adapter import ENTRY_POINT_GROUP


def test_the_adapter_is_found_by_its_entry_point():
    (entry,) = (entry for entry in metadata.entry_points(group=ENTRY_POINT_GROUP) if entry.name == "ocpp")
    assert entry.load()().name == "ocpp"


@pytest.mark.parametrize(
    "settings",
    [
        {"colour": "red"},
        {"path": "ocpp"},
        {"versions": []},
        {"versions": ["1.5"]},
        {"tokens": [{"id": "a", "expires": "tomorrow"}]},
        {"tokens": [{}]},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(Invalid, match=r"ocpp|RFC 3339"):
        read_settings(settings)


def test_the_listeners_section_is_the_nodes():
    assert read_settings({"ocpp": {"port": 8887, "tls": True}}) == read_settings({})


async def test_without_the_schemas_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(schema, "find_spec", lambda _: None)
    schema.schemas.cache_clear()
    with pytest.raises(Unavailable, match="extra ocpp"):
        await OcppAdapter().run(make_node())
    schema.schemas.cache_clear()
