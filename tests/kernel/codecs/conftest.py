"""Makes ``strategies.py`` beside this file importable as ``codec_strategies``."""

import importlib.util
import sys
from pathlib import Path

if "codec_strategies" not in sys.modules:
    specification = importlib.util.spec_from_file_location("codec_strategies", Path(__file__).parent / "strategies.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["codec_strategies"] = module
    specification.loader.exec_module(module)
