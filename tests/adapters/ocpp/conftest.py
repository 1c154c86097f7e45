"""Loads the helpers beside this file under a name of their own: ``ocpp_bench``."""

import importlib.util
import sys
from pathlib import Path

if "ocpp_bench" not in sys.modules:
    _specification = importlib.util.spec_from_file_location("ocpp_bench", Path(__file__).parent / "bench.py")
    assert _specification is not None
    assert _specification.loader is not None
    _module = importlib.util.module_from_spec(_specification)
    sys.modules["ocpp_bench"] = _module
    _specification.loader.exec_module(_module)
