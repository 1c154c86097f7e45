"""docs/reliability.md is what its data say; write it anew with ``python tests/faults/page.py``."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def _module() -> ModuleType:
    specification = importlib.util.spec_from_file_location("faults_page", ROOT / "tests" / "faults" / "page.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_is_what_its_data_say() -> None:
    module = _module()
    assert module.PAGE.read_text() == module.page()


def test_every_test_it_names_is_there() -> None:
    module = _module()
    named = [test for *_, test in module.INVARIANTS] + [test for _, test in module.ALSO]
    assert [test for test in named if not (ROOT / test).exists()] == []


def test_every_count_it_shows_is_counted_somewhere() -> None:
    module = _module()
    texts = "".join(path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py"))
    counted = [count for _, counts, _ in module.INVARIANTS for count in counts]
    assert [count for count in counted if f'tally("{count[0]}", "{count[1]}"' not in texts] == []
