"""Loads the helpers beside this file, and those of the adapters' own tests, under names of their own."""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
_FILES = {
    "mqtt_device": HERE.parent / "mqtt" / "device.py",
    "ocpp_bench": HERE.parent / "ocpp" / "bench.py",
    "running_node": HERE.parents[1] / "apps" / "running.py",
    "one_command": HERE / "command.py",
    "one_mqtt": HERE / "mqtt_side.py",
    "one_modbus": HERE / "modbus_side.py",
    "one_ocpp": HERE / "ocpp_side.py",
}
for _name, _file in _FILES.items():
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _file)
        assert _specification is not None
        assert _specification.loader is not None
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
