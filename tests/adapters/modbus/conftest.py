"""Loads ``bench.py`` and ``serial_line.py``, the devices of these tests, under names of their own; starts devices."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for _name, _file in (("modbus_bench", "bench.py"), ("modbus_line", "serial_line.py")):
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, Path(__file__).parent / _file)
        assert _specification is not None
        assert _specification.loader is not None
        _module = importlib.util.module_from_spec(_specification)
        sys.modules[_name] = _module
        _specification.loader.exec_module(_module)


@pytest.fixture
def start_device() -> Iterator[Any]:
    """Return a function that starts ``inverter`` or ``battery`` with options, and end all it started."""
    started: list[Any] = []

    def start(kind: str, *options: str) -> Any:
        command = [sys.executable, "-m", f"gridspine.apps.demo.{kind}", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{kind} ended with {process.wait(10)}"
        device = sys.modules["modbus_bench"].DeviceProcess(kind, options, process, json.loads(line))
        started.append(device)
        return device

    yield start
    for device in started:
        device.kill()
