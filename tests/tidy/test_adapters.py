"""Every adapter folder looks alike, arrives by its entry point, and its claims name tests that exist."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("wire.py", "session.py", "driver.py", "quality.toml", "README.md")


def complaints(root: Path) -> list[str]:
    """Return what the adapters under ``root`` lack."""
    points = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]["gridspine.adapters"]
    folders = [path for path in (root / "src/gridspine/adapters").iterdir() if (path / "__init__.py").is_file()]
    found = [f"{name}: an entry point without a folder" for name in points if name not in {f.name for f in folders}]
    for folder in sorted(folders):
        name = folder.name
        found += [f"{name}: no {file}" for file in FILES if not (folder / file).is_file()]
        if name not in points:
            found.append(f"{name}: no entry point")
        tests = root / "tests" / "adapters" / name
        if not list(tests.glob("test_*.py")):
            found.append(f"{name}: no tests")
        if (folder / "quality.toml").is_file():
            found += [f"{name}: {words}" for words in _claims(folder / "quality.toml", tests)]
    return found


def _claims(path: Path, tests: Path) -> Iterator[str]:
    """Yield the claims of a quality.toml that do not stand: a test that is not there, a gap without its reason."""
    for rule, claim in _rules(tomllib.loads(path.read_text())):
        if isinstance(claim, str):
            if not claim.strip():
                yield f"{rule} says nothing"
            continue
        file, _, name = str(claim.get("test", "")).partition("::")
        if file and not ((tests / file).is_file() and f"def {name}(" in (tests / file).read_text()):
            yield f"{rule} names {claim['test']}, which is not there"
        if claim.get("status") not in {"done", "todo", "exempt"}:
            yield f"{rule} is neither done nor todo nor exempt"
        if claim.get("status") in {"todo", "exempt"} and not claim.get("reason"):
            yield f"{rule} gives no reason"


def _rules(quality: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for section in ("rules", "todo", "exempt"):
        yield from quality.get(section, {}).items()


def test_every_adapter_keeps_the_shape() -> None:
    assert complaints(ROOT) == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder, tests = tmp_path / "src/gridspine/adapters/morse", tmp_path / "tests/adapters/morse"
    folder.mkdir(parents=True)
    tests.mkdir(parents=True)
    for name in (*FILES, "__init__.py"):
        (folder / name).write_text("")
    (tests / "test_wire.py").write_text("def test_dots() -> None: ...\n")
    (tmp_path / "pyproject.toml").write_text('[project.entry-points."gridspine.adapters"]\nmorse = "x"\n')
    return tmp_path


def test_what_is_planted_is_found(tree: Path) -> None:
    folder = tree / "src/gridspine/adapters/morse"
    assert complaints(tree) == []
    (folder / "session.py").unlink()
    assert complaints(tree) == ["morse: no session.py"]
    (folder / "session.py").write_text("")
    (folder / "quality.toml").write_text(
        '[rules.a]\nstatus = "done"\ntest = "test_wire.py::test_dots"\n[rules.b]\nstatus = "done"\n'
        'test = "test_wire.py::test_dashes"\n[rules.c]\nstatus = "todo"\n[rules.d]\nstatus = "nice"\n[todo]\ne = ""\n'
    )
    assert complaints(tree) == [
        "morse: b names test_wire.py::test_dashes, which is not there",
        "morse: c gives no reason",
        "morse: d is neither done nor todo nor exempt",
        "morse: e says nothing",
    ]
    (folder / "quality.toml").write_text("")
    (tree / "tests/adapters/morse/test_wire.py").unlink()
    (tree / "pyproject.toml").write_text('[project.entry-points."gridspine.adapters"]\nother = "x"\n')
    assert complaints(tree) == [
        "other: an entry point without a folder",
        "morse: no entry point",
        "morse: no tests",
    ]
