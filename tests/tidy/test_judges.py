"""Who judges the node, what they found, and the page that says so: the three agree, and the counting can fail."""

import copy
import importlib.util
import json
from types import SimpleNamespace

import pytest

from tests import judged

_spec = importlib.util.spec_from_file_location("judges_page", judged.ROOT / "tools" / "judges_page.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)
FIELDS = {"title", "protocol", "role", "version", "judged", "tests"}
MORE = {"counted", "data"}


def faults(table):
    """Return what is wrong with the judges."""
    found = []
    for name, judge in table.items():
        if not FIELDS <= set(judge) <= FIELDS | MORE or not all(judge.values()):
            found.append(f"{name}: has {sorted(judge)}")
        for test in judge.get("tests", ()):
            path, _, function = test.partition("::")
            file = judged.ROOT / path
            if not file.is_file() or (function and f"def {function.partition('[')[0]}(" not in file.read_text()):
                found.append(f"{name}: there is no {test}")
    return found


def test_every_judge_says_what_it_judges_and_its_tests_exist() -> None:
    assert faults(judged.judges()) == []
    bad = {"a": {"title": "A"}, "b": dict.fromkeys(FIELDS, "x") | {"tests": ["tests/none.py", "tests/judged.py::test"]}}
    assert [one.partition(":")[0] for one in faults(bad)] == ["a", "b", "b"]


def test_what_was_found_is_of_a_judge_and_of_its_tests() -> None:
    table = judged.judges()
    for path in pages.DATA.glob("*.json"):
        said = json.loads(path.read_text())
        assert set(said) == {"version", "tests"}, path
        assert set(said["tests"]) <= set(table[path.stem]["tests"]), f"{path}: run: make conformance"
        assert said["version"], f"{path}: who judged?"


def test_the_page_is_what_was_found() -> None:
    table, cactus = pages.judges(), json.loads(pages.CACTUS.read_text())
    found = pages.found(table)
    text = pages.PAGE.read_text()
    assert text == pages.page(table, found, cactus), "run: make docs"
    cactus = copy.deepcopy(cactus)
    cactus["procedures"][0]["passed"] = False
    assert text != pages.page(table, found, cactus)
    found["merkle"]["tests"] = {}
    assert "| not run | proofs | 0 | 0 | 0 | 1 |" in pages.page(table, found, cactus)


def report(node, when="call", outcome="passed", said=(), **more):
    properties = [("judged", one) for one in said]
    flags = {name: name == outcome for name in ("passed", "failed", "skipped")}
    return SimpleNamespace(nodeid=node, when=when, user_properties=properties, **flags, **more)


@pytest.mark.parametrize(
    ("reports", "counts"),
    [
        ([report("tests/a.py::test_a"), report("tests/a.py::test_a", "teardown")], (1, 0, 0)),
        ([report("tests/a.py::test_a[1]"), report("tests/a.py::test_a[2]")], (2, 0, 0)),
        ([report("tests/a.py::test_ab"), report("tests/aa.py::test_a")], None),
        ([report("tests/a.py::test_a", said=[{"passed": 41}, {"passed": 2, "skipped": 3}])], (43, 0, 3)),
        ([report("tests/a.py::test_a", said=[{"skipped": 3}])], (0, 0, 3)),
        ([report("tests/a.py::test_a", outcome="failed", said=[{"passed": 4, "failed": 0}])], (4, 1, 0)),
        ([report("tests/a.py::test_a", "setup", "failed")], (0, 1, 0)),
        ([report("tests/a.py::test_a", when, "failed") for when in ("call", "teardown")], (0, 1, 0)),
        ([report("tests/a.py::test_a", "setup", "skipped")], (0, 0, 1)),
        ([report("tests/a.py::test_a", outcome="skipped", wasxfail="known")], (0, 1, 0)),
    ],
)  # fmt: skip
def test_counts(tmp_path, reports, counts) -> None:
    table = {"j": {"version": "pypi:pytest", "tests": ["tests/a.py::test_a"]}}
    tally = judged.Tally(tmp_path, table)
    for one in reports:
        tally.pytest_runtest_logreport(one)
    tally.pytest_sessionfinish()
    if counts is None:
        assert not (tmp_path / "j.json").exists()
        return
    said = json.loads((tmp_path / "j.json").read_text())
    assert said["version"] == pytest.__version__
    assert tuple(said["tests"]["tests/a.py::test_a"].values()) == counts


def test_a_part_of_a_run_keeps_the_rest_unless_the_judge_changed(tmp_path) -> None:
    table = {"j": {"version": "pypi:pytest", "tests": ["tests/a.py", "tests/b.py"]}}
    file = tmp_path / "j.json"
    for version, kept in (("0", ["tests/b.py"]), (pytest.__version__, ["tests/a.py", "tests/b.py"])):
        old = {"passed": 7, "failed": 0, "skipped": 0}
        file.write_text(json.dumps({"version": version, "tests": {"tests/a.py": old, "tests/gone.py": old}}))
        tally = judged.Tally(tmp_path, table)
        tally.pytest_runtest_logreport(report("tests/b.py::test_b"))
        tally.pytest_sessionfinish()
        assert list(json.loads(file.read_text())["tests"]) == kept


def test_versions_are_read_from_the_judge(tmp_path) -> None:
    folder = tmp_path / "node_modules" / "@a" / "b"
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"version": "1.2.3"}')
    inside = tmp_path / "venv/lib/python3.12/site-packages/morse-4.5.dist-info"
    inside.mkdir(parents=True)
    (inside / "METADATA").write_text("Metadata-Version: 2.1\nName: morse\nVersion: 4.5\n")
    (tmp_path / "data.json").write_text("{}")
    for source, version in (
        ("npm:@a/b@.", "1.2.3"), ("npm:c@.", ""), ("pypi:morse@venv", "4.5"), ("pypi:morse", ""),
        ("command:echo it is 6.7-8, really", "6.7-8"), ("command:no-such-program -V", ""),
        ("file:data.json", "sha256 44136fa355b3"), ("file:none.json", ""),
    ):  # fmt: skip
        assert judged.version_of(source, tmp_path) == version, source
    with pytest.raises(AssertionError, match="no such way"):
        judged.version_of("somewhere:x")
    assert judged.versions(["pypi:pytest", "pypi:no-such"]) == f"pytest {pytest.__version__}, no-such is not here"
