"""The page on security says what ran, and the tests it names exist."""

import ast
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")

FEWER = {"openadr2-messages", "openadr2-signed"}
"""Fuzzed a hundred thousand times, and not yet a million."""


def tool() -> ModuleType:
    specification = importlib.util.spec_from_file_location("security_page", ROOT / "tools" / "security_page.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def missing(text: str) -> list[str]:
    """Return the tests that ``text`` names and that are not there."""
    bad = []
    for path, test in NAMED.findall(text):
        file = ROOT / path
        if not file.is_file():
            bad.append(path)
            continue
        names = {
            node.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        if test and test not in names:
            bad.append(f"{path}::{test}")
    return bad


def test_every_test_that_is_named_exists() -> None:
    text = PAGE.read_text()
    assert len(NAMED.findall(text)) > 30
    assert missing(text) == []


@pytest.mark.parametrize("planted", ["`tests/none.py`", "`tests/tidy/test_security_page.py::test_nothing`"])
def test_a_test_that_is_not_there_is_found(planted: str) -> None:
    assert missing(planted)


def test_the_page_says_what_the_data_say() -> None:
    made = tool()
    text = PAGE.read_text()
    assert set(made.parts()) == {name for _, name, _ in made.MARK.findall(text)}
    assert made.page(text, made.parts()) == text, "run: make security"


def test_every_control_has_a_test_beside_it() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [STRIDE](, [STRIDE])*: ", line)]
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row)] == []


def test_what_was_fuzzed_was_a_million_times_and_without_a_fault() -> None:
    """What was not yet, the page itself names; `FEWER` were a hundred thousand times at least."""
    fuzzed = json.loads((ROOT / "docs" / "data" / "security-fuzz.json").read_text())["decoders"]
    assert len(tool().targets()) > 20
    assert set(fuzzed) <= tool().targets()
    least = {name: 100_000 if name in FEWER else 1_000_000 for name in fuzzed}
    assert [name for name, one in fuzzed.items() if one["inputs"] < least[name] or one["faults"]] == []
