"""A whole node that serves IEEE 2030.5 over mutual TLS; certificates of an authority of its own."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_FILES = (
    ("running_node", HERE.parents[1] / "apps" / "running.py"),
    ("hosted_node", HERE.parents[1] / "apps" / "hosted.py"),
    ("csip_pki", HERE / "pki.py"),
    ("csip_utility", HERE / "utility.py"),
    ("csip_device", HERE / "registered.py"),
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


@pytest.fixture
async def utility(tmp_path):
    async with sys.modules["csip_utility"].serving(tmp_path) as made:
        yield made
