"""Every adapter folder looks alike, arrives by its entry point, and its claims name tests that exist."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridspine.kernel.errors import Invalid
from gridspine.testing.judge import level_of
from gridspine.testing.quality import complaints as quality_complaints
from gridspine.testing.quality import read_quality
from gridspine.testing.rules import rules

ROOT = Path(__file__).parents[2]
UNCHECKED = {name for name, rule in rules().items() if not rule.check}
GAPS = {"fuzzed": "later", "killed-while-busy": "later", "tested-with-strange-hardware": "none at hand"}
SOUND = 'protocol = "Morse"\nversions = ["1"]\nlevel = "silver"\n' + "".join(
    f'[rules.{name}]\nstatus = "todo"\nreason = "{GAPS[name]}"\n'
    if name in GAPS
    else f'[rules.{name}]\nstatus = "done"\n' + ('test = "test_wire.py::test_dots"\n' if name in UNCHECKED else "")
    for name in rules()
)
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
    """Yield what of a quality.toml does not stand: a rule of which nothing is said, a test that is not there."""
    try:
        quality = read_quality(path.read_text())
    except Invalid as error:
        yield error.detail
        return
    yield from quality_complaints(quality, path.parent, tests)
    if quality.level != level_of(quality):
        yield f"claims to be {quality.level}, and is {level_of(quality)}"


def test_every_adapter_keeps_the_shape() -> None:
    assert complaints(ROOT) == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder, tests = tmp_path / "src/gridspine/adapters/morse", tmp_path / "tests/adapters/morse"
    folder.mkdir(parents=True)
    tests.mkdir(parents=True)
    for name in (*FILES, "__init__.py"):
        (folder / name).write_text(SOUND if name == "quality.toml" else "")
    (tests / "test_wire.py").write_text("def test_dots() -> None: ...\n")
    (tmp_path / "pyproject.toml").write_text('[project.entry-points."gridspine.adapters"]\nmorse = "x"\n')
    return tmp_path


def test_what_is_planted_is_found(tree: Path) -> None:
    folder = tree / "src/gridspine/adapters/morse"
    assert complaints(tree) == []
    (folder / "session.py").unlink()
    assert complaints(tree) == ["morse: no session.py"]
    (folder / "session.py").write_text("")
    told = SOUND.replace('[rules.fuzzed]\nstatus = "todo"\nreason = "later"\n', "")
    told = told.replace('reason = "none at hand"', 'reason = ""').replace("test_dots", "test_dashes", 1)
    told = told.replace('level = "silver"', 'level = "gold"')
    told += (
        '[own.a]\nstatus = "done"\n[rules.nice]\nstatus = "done"\n[own.b]\nstatus = "done"\ndocument = "README.md#x"\n'
    )
    (folder / "quality.toml").write_text(told)
    assert sorted(complaints(tree)) == [
        "morse: a: done, and no test or document that shows it",
        "morse: b: names README.md#x, which is not there",
        "morse: claims to be gold, and is silver",
        "morse: fuzzed: nothing is said of this rule",
        "morse: nice: done, and no test or document that shows it",
        "morse: nice: no such rule; rules of the adapter's own stand under [own]",
        "morse: reversion-in-device: names test_wire.py::test_dashes, which is not there",
        "morse: tested-with-strange-hardware: todo, and no reason",
    ]
    (folder / "quality.toml").write_text(SOUND + "[nonsense]\n")
    assert complaints(tree) == ["morse: quality.toml: Object contains unknown field `nonsense`"]
    (folder / "quality.toml").write_text(SOUND)
    (tree / "tests/adapters/morse/test_wire.py").unlink()
    (tree / "pyproject.toml").write_text('[project.entry-points."gridspine.adapters"]\nother = "x"\n')
    assert [one for one in complaints(tree) if "names test_" not in one] == [
        "other: an entry point without a folder",
        "morse: no entry point",
        "morse: no tests",
    ]
