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
    "hosted_node": HERE.parents[1] / "apps" / "hosted.py",
    "csip_pki": HERE.parent / "ieee2030_5" / "pki.py",
    "csip_utility": HERE.parent / "ieee2030_5" / "utility.py",
    "csip_device": HERE.parent / "ieee2030_5" / "registered.py",
    "openadr3_said": HERE.parent / "openadr3" / "said.py",
    "openadr3_serving": HERE.parent / "openadr3" / "serving.py",
    "openadr2_vtn": HERE.parent / "openadr2" / "vtn.py",
    "one_event": HERE / "event_side.py",
}
for _name, _file in _FILES.items():
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _file)
        assert _specification is not None
        assert _specification.loader is not None
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
