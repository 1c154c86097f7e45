"""Helpers of these tests, under names of their own."""

import importlib.util
import sys
from pathlib import Path

import pytest_asyncio

HERE = Path(__file__).parent
_FILES = (
    ("running_node", HERE.parents[1] / "apps" / "running.py"),
    ("hosted_node", HERE.parents[1] / "apps" / "hosted.py"),
    ("csip_pki", HERE.parent / "ieee2030_5" / "pki.py"),
    ("csip_utility", HERE.parent / "ieee2030_5" / "utility.py"),
    ("openadr2_said", HERE / "said.py"),
    ("openadr2_vtn", HERE / "vtn.py"),
    ("openadr2_home", HERE / "home.py"),
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vtn(tmp_path_factory):
    async with sys.modules["openadr2_vtn"].serving(
        tmp_path_factory.mktemp("vtn"), report_s=2, signature="verified"
    ) as made:
        yield made
