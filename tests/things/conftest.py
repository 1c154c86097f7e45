"""Loads the helpers beside this file under the names by which tests import them."""

import importlib.util
import sys
from pathlib import Path

for _name in ("commanding", "fleet", "plant", "slow_screen", "intake_rig"):
    if f"things_{_name}" not in sys.modules:
        _specification = importlib.util.spec_from_file_location(
            f"things_{_name}", Path(__file__).parent / f"{_name}.py"
        )
        assert _specification is not None
        assert _specification.loader is not None
        _module = importlib.util.module_from_spec(_specification)
        sys.modules[f"things_{_name}"] = _module
        _specification.loader.exec_module(_module)
