"""Files of at most 400 lines, bodies of at most 70; what is longer stands in ``lengths.json`` and may only shrink.

``python tests/tidy/test_length.py`` lowers the numbers of that file to the present ones; it never raises one.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = Path(__file__).with_name("lengths.json")
FOLDERS = ("src", "tests", "benchmarks", "sim")
MAX_FILE, MAX_BODY = 400, 70


def sources(root: Path) -> Iterator[tuple[str, str]]:
    """Yield path and text of every Python file of the house."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text()


def too_long(root: Path) -> dict[str, int]:
    """Return the lines of each file and body over its limit; a body is named ``path::function``."""
    found: dict[str, int] = {}
    for name, text in sources(root):
        lines = len(text.splitlines())
        if lines > MAX_FILE:
            found[name] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_BODY:
                    key = f"{name}::{node.name}"
                    found[key] = max(length, found.get(key, 0))
    return found


def complaints(present: dict[str, int], allowed: dict[str, int]) -> list[str]:
    """Return what is longer than it may be, and what has shrunk without its number following."""
    grown = [f"{name}: {n} lines" for name, n in present.items() if n > allowed.get(name, 0)]
    shrunk = [f"{name}: lower {n} to {present.get(name, 0)}" for name, n in allowed.items() if present.get(name, 0) < n]
    return grown + shrunk


def test_nothing_grows_too_long() -> None:
    assert complaints(too_long(ROOT), json.loads(ALLOWED.read_text())) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pass\n" * 400, {}),
        ("pass\n" * 401, {"src/a.py": 401}),
        ("def f():\n" + "    pass\n" * 69, {}),
        ("def f():\n" + "    pass\n" * 70, {"src/a.py::f": 71}),
        ("class A:\n    async def f(self):\n" + "        pass\n" * 70, {"src/a.py::f": 71}),
    ],
)
def test_what_is_planted_is_found(tmp_path: Path, text: str, found: dict[str, int]) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text(text)
    assert too_long(tmp_path) == found


def test_the_ratchet_turns_one_way() -> None:
    assert complaints({"a": 500}, {}) == ["a: 500 lines"]
    assert complaints({"a": 501}, {"a": 500}) == ["a: 501 lines"]
    assert complaints({"a": 500}, {"a": 500}) == []
    assert complaints({"a": 450}, {"a": 500}) == ["a: lower 500 to 450"]
    assert complaints({}, {"a": 500}) == ["a: lower 500 to 0"]


if __name__ == "__main__":
    now, before = too_long(ROOT), json.loads(ALLOWED.read_text())
    kept = {name: min(n, now[name]) for name, n in sorted(before.items()) if name in now}
    ALLOWED.write_text(json.dumps(kept, indent=2) + "\n")
    sys.stdout.write("\n".join(complaints(now, kept)) + "\n")
