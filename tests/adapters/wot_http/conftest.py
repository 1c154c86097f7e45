"""Loads the cloud of these tests under a name of its own."""

import importlib.util
import sys
from pathlib import Path

if "oauth_cloud" not in sys.modules:
    _specification = importlib.util.spec_from_file_location("oauth_cloud", Path(__file__).parent / "oauth_cloud.py")
    assert _specification is not None
    assert _specification.loader is not None
    sys.modules["oauth_cloud"] = _module = importlib.util.module_from_spec(_specification)
    _specification.loader.exec_module(_module)
