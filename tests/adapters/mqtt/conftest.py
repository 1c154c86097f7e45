"""Loads ``device.py``, the devices of these tests, under a name of its own."""

import importlib.util
import sys
from pathlib import Path

if "mqtt_device" not in sys.modules:
    _specification = importlib.util.spec_from_file_location("mqtt_device", Path(__file__).parent / "device.py")
    assert _specification is not None
    assert _specification.loader is not None
    _module = importlib.util.module_from_spec(_specification)
    sys.modules["mqtt_device"] = _module
    _specification.loader.exec_module(_module)
