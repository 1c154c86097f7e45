"""Loads ``commanding.py`` beside this file under the name by which tests import it."""

import importlib.util
import sys
from pathlib import Path

if "things_commanding" not in sys.modules:
    _specification = importlib.util.spec_from_file_location(
        "things_commanding", Path(__file__).parent / "commanding.py"
    )
    assert _specification is not None
    assert _specification.loader is not None
    _module = importlib.util.module_from_spec(_specification)
    sys.modules["things_commanding"] = _module
    _specification.loader.exec_module(_module)
