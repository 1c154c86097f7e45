"""A whole node that serves OpenADR 3, and clients of it: who runs programmes, and VENs."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_FILES = {"running_node": HERE.parents[1] / "apps/running.py", "openadr3_said": HERE / "said.py"}
_FILES |= {"openadr3_serving": HERE / "serving.py", "openadr3_home": HERE / "home.py"}
_FILES |= {"mqtt_device": HERE.parent / "mqtt/device.py"}
for _name, _path in _FILES.items():
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _path)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)


@pytest.fixture
async def vtn(tmp_path):
    from openadr3_serving import serving

    async with serving(tmp_path / "data") as made:
        yield made


@pytest.fixture
def served():
    from openadr3_serving import serving

    return serving
