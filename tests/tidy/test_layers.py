"""Who may know whom: the contracts of ``.importlinter`` hold, and each of them can fail."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACT = re.compile(r"^(?P<name>.+?) (?P<state>KEPT|BROKEN)(?: \(.*\))?$", re.MULTILINE)


def lint_imports(root: Path) -> dict[str, str]:
    """Return KEPT or BROKEN for each contract of ``root``'s package ``src/gridspine``."""
    program = Path(sys.executable).parent / "lint-imports"
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    done = subprocess.run(
        [program, "--no-cache"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    states = {found["name"]: found["state"] for found in CONTRACT.finditer(done.stdout)}
    assert states, done.stdout + done.stderr
    assert (done.returncode == 0) == (set(states.values()) == {"KEPT"}), done.stdout
    return states


def test_the_contracts_hold() -> None:
    states = lint_imports(ROOT)
    assert len(states) == 7
    assert [name for name, state in states.items() if state != "KEPT"] == []


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that a test may spoil."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", root)
    return root


@pytest.mark.parametrize(
    ("module", "planted", "broken"),
    [
        ("kernel/planted.py", "import gridspine.infra.runtime.clock", "Layers"),
        ("infra/planted.py", "import gridspine.things.model", "Layers"),
        ("things/planted.py", "import gridspine.sharing", "Layers"),
        ("sharing/planted.py", "import gridspine.things.model", "Layers"),
        ("energy/planted.py", "import gridspine.apps.api", "Layers"),
        ("newroom/__init__.py", "", "Layers"),
        ("adapters/mqtt/planted.py", "import gridspine.infra.log.port", "Adapters know"),
        ("adapters/mqtt/planted.py", "import gridspine.things.model", "Adapters know"),
        ("adapters/mqtt/planted.py", "import gridspine.apps.api", "Adapters know"),
        ("adapters/mqtt/planted.py", "import gridspine.adapters.modbus.wire", "Adapters do not"),
        ("apps/planted.py", "import gridspine.adapters.mqtt", "Nobody imports"),
        ("things/planted.py", "import litestar", "Web frameworks"),
        ("adapters/modbus/planted.py", "from uvicorn import Server", "Web frameworks"),
        ("sharing/planted.py", "from sqlalchemy import select", "Databases"),
        ("energy/planted.py", "def work() -> None:\n    import duckdb", "Databases"),
        ("kernel/planted.py", "import socket", "The kernel"),
    ],
)
def test_each_contract_catches_what_is_planted(copy: Path, module: str, planted: str, broken: str) -> None:
    path = copy / "src" / "gridspine" / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'"""Planted."""\n\n{planted}\n')
    try:
        states = lint_imports(copy)
    finally:
        path.unlink()
        if path.name == "__init__.py":
            shutil.rmtree(path.parent)
    (name,) = [name for name, state in states.items() if state == "BROKEN"]
    assert name.startswith(broken)
