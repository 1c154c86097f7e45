"""Helpers of the matrix beside this file."""

import importlib.util
import sys
from pathlib import Path

for _name in ("table", "programmes", "requests", "tokens"):
    _full = f"matrix_{_name}"
    if _full not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_full, Path(__file__).parent / f"{_name}.py")
        assert _specification is not None
        assert _specification.loader is not None
        sys.modules[_full] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
