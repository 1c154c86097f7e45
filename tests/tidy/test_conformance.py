"""Every assertion of W3C WoT Discovery has a test that exists, or says why it is not had; the page says so too."""

import ast
import copy
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("conformance_page", ROOT / "tools" / "conformance_page.py")
conformance = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(conformance)
IDS = re.compile(r"\b(?:tdd|introduction|exploration|discoverer)-[a-z0-9]+(?:-[a-z0-9]+)*")


def of(table):
    return {id_: one for section in table["sections"].values() for id_, one in section.items()}


@cache
def functions(path):
    """Return the names of the test functions of a file; none when it does not exist."""
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def faults(table):
    """Return what is wrong with the table of assertions."""
    found = [] if len(of(table)) == table["assertions"] else [f"there are {len(of(table))} assertions"]
    for id_, one in of(table).items():
        if set(one) not in ({"level", "tests"}, {"level", "not"}) or one["level"] not in conformance.LEVELS:
            found.append(f"{id_}: needs a level, and either tests or a reason")
        if not one.get("tests", [one.get("not")]) or len(one.get("not", "a reason of words")) < 10:
            found.append(f"{id_}: says nothing")
        for test in one.get("tests", ()):
            path, _, name = test.partition("::")
            if not name.startswith("test_") or name not in functions(path):
                found.append(f"{id_}: there is no {test}")
    return found


def test_each_assertion_is_held_by_a_test_that_exists_or_says_why_not():
    assert faults(conformance.read()) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"level": "MUST"}, "needs a level"),
        ({"level": "MUST", "tests": []}, "says nothing"),
        ({"level": "MUST", "not": "no"}, "says nothing"),
        ({"level": "PERHAPS", "not": "for no good reason"}, "needs a level"),
        ({"level": "MUST", "tests": ["tests/apps/api/test_directory.py::test_nothing"]}, "there is no"),
        ({"level": "MUST", "tests": ["tests/none.py::test_it"]}, "there is no"),
    ],
)
def test_a_planted_fault_is_found(change, fault):
    table = copy.deepcopy(conformance.read())
    table["sections"]["7.3.2.1.2 Retrieval"]["tdd-things-retrieve"] = change
    assert any(fault in one and "tdd-things-retrieve:" in one for one in faults(table))


def test_an_assertion_that_went_is_missed():
    table = copy.deepcopy(conformance.read())
    del table["sections"]["7.3.2.1.2 Retrieval"]["tdd-things-retrieve"]
    assert faults(table) == [f"there are {table['assertions'] - 1} assertions"]


def test_assertions_that_tests_and_code_cite_exist():
    known, cited = set(of(conformance.read())), {}
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests" / "apps").rglob("*.py")]:
        for id_ in IDS.findall(path.read_text()):
            cited.setdefault(id_, path.name)
    assert {"tdd-http-head", "tdd-things-list-only"} <= cited.keys()
    unknown = {id_ for id_ in cited if id_ not in known and not any(one.startswith(f"{id_}-") for one in known)}
    assert {id_: cited[id_] for id_ in unknown} == {}


def test_the_page_is_up_to_date():
    assert conformance.PAGE.read_text() == conformance.page(conformance.read()), "run: make docs"
