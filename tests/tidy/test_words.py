"""Words that must not be in the house: relative imports, paths of somebody's machine, work left for later."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "benchmarks", "sim", "cases", "docs", ".ci")
FILES = ("README.md", "CHANGELOG.md", "ARCHITECTURE.md", "Makefile", "pyproject.toml", ".importlinter")
SUFFIXES = {".py", ".md", ".toml", ".json", ".cedar", ".html", ".css", ".conf", ".yaml", ".yml", ".txt", ""}
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/|/tmp/(?:brief|bash)"),
    "work left for later": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b"),
    "a relative import": re.compile(r"^\s*from \.+\w* import ", re.MULTILINE),
    "a star import": re.compile(r"^\s*from \S+ import \*", re.MULTILINE),
}
OURS = {"tests/tidy/test_words.py"}
"""This file plants what it looks for."""


def files(root: Path) -> Iterator[Path]:
    """Yield the text files of the house; what others wrote (``static/vendor``, ``node_modules``) is theirs."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            others = {"__pycache__", "node_modules", "static"} & set(path.parts)
            if path.is_file() and path.suffix in SUFFIXES and not others:
                yield path
    yield from (root / name for name in FILES if (root / name).is_file())


def found_words(root: Path) -> list[str]:
    """Return ``path: why`` for each forbidden word."""
    found = []
    for path in files(root):
        name = path.relative_to(root).as_posix()
        text = path.read_text(errors="replace")
        found += [f"{name}: {why}" for why, word in FORBIDDEN.items() if name not in OURS and word.search(text)]
    return found


def test_no_forbidden_words() -> None:
    assert found_words(ROOT) == []


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("src/a.py", "from . import b\n", "a relative import"),
        ("src/a.py", "    from ..b import c\n", "a relative import"),
        ("tests/a.py", "from b import *\n", "a star import"),
        ("docs/a.md", "see /work/main/x\n", "a path of one machine"),
        ("benchmarks/a.py", "# measured in /home/ann/x\n", "a path of one machine"),
        ("src/a.py", "# TODO: finish\n", "work left for later"),
        ("Makefile", "x:\n\tcd /root/x\n", "a path of one machine"),
    ],
)
def test_what_is_planted_is_found(tmp_path: Path, name: str, text: str, why: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert found_words(tmp_path) == [f"{name}: {why}"]


@pytest.mark.parametrize("text", ["from b import c\n", "https://example.org/work/x\n", "at /tmp/x\n", 'x["todo"]\n'])
def test_what_is_allowed_is_not_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text(text)
    assert found_words(tmp_path) == []
