"""Strangers: programs of other parties that use a node as anyone could. Helpers of the applications' tests are lent."""

import importlib.util
import sys
from pathlib import Path

if "running_node" not in sys.modules:
    _file = Path(__file__).parents[1] / "apps" / "running.py"
    _specification = importlib.util.spec_from_file_location("running_node", _file)
    assert _specification is not None
    assert _specification.loader is not None
    sys.modules["running_node"] = _module = importlib.util.module_from_spec(_specification)
    _specification.loader.exec_module(_module)
