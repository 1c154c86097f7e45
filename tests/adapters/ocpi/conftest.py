"""Helpers of these tests, loaded once under names of their own."""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
for _name, _path in (
    ("running_node", HERE.parents[1] / "apps/running.py"), ("ocpi_pairing", HERE / "pairing.py"),
    ("ocpi_charge_point", HERE / "charge_point.py"), ("ocpi_operator", HERE / "cpo_world.py"),
):  # fmt: skip
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _path)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
