"""Where things lie in a data directory, one file says: another that joins names by itself would miss a change."""

import ast
from pathlib import Path

from gridspine.apps.node.paths import Paths

APPS = Path(__file__).parents[2] / "src" / "gridspine" / "apps"
PARTS = [one for one in vars(Paths) if isinstance(vars(Paths)[one], property)]
NAMES = {path.name for one in PARTS if isinstance(path := getattr(Paths(Path("data")), one), Path)}


def joined(text):
    """Return the lines of ``text`` that join the name of something in the data directory to a path."""
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        if isinstance(node.right, ast.Constant) and node.right.value in NAMES
        if "data" in ast.unparse(node.left) or "root" in ast.unparse(node.left)
    )


def test_every_part_of_the_data_directory_is_named_in_one_file():
    files = [path for room in ("node", "doctor", "cli", "api", "portal") for path in (APPS / room).rglob("*.py")]
    found = {str(path): lines for path in files if (lines := joined(path.read_text())) and path.name != "paths.py"}
    assert found == {}
    assert len(joined((APPS / "node" / "paths.py").read_text())) == len(NAMES) > 15


def test_what_is_planted_is_found():
    assert joined('a = patient.data / "registry.db"\nb = self._root / "log" / topic\nc = folder / "log"') == [1, 2]
