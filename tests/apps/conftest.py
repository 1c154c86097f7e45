"""Helpers for tests of the applications: the files named below, beside this one, each loaded once."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load(name, file):
    specification = importlib.util.spec_from_file_location(name, Path(__file__).parent / file)
    assert specification is not None
    assert specification.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)


_FILES = ("running_node", "running.py"), ("running_streams", "streams.py"), ("both_ways", "both.py")
for _name, _file in (*_FILES, ("hosted_node", "hosted.py")):
    if _name not in sys.modules:
        _load(_name, _file)


@pytest.fixture
async def world(tmp_path):
    async with sys.modules["running_node"].running(tmp_path / "data") as made:
        yield made
