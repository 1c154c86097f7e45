"""Helpers for adapter tests: the `FakeNode` lives in ``node.py`` beside this file, loaded here once for everybody."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def _load(name: str, path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


if "adapter_node" not in sys.modules:
    _load("adapter_node", Path(__file__).parent / "node.py")
