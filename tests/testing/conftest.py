"""Loads ``drop.py``, the adapter with faults, and the running node of ``tests/apps``, under names of their own."""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent

for _name, _file in (("judged_drop", HERE / "drop.py"), ("running_node", HERE.parent / "apps" / "running.py")):
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _file)
        assert _specification is not None
        assert _specification.loader is not None
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
