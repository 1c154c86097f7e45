"""Who is to be judged: an installed adapter by its name, or one in a folder with a pyproject.toml."""

import importlib
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gridspine.kernel.errors import Invalid, NotFound
from gridspine.testing.quality import FILE, Quality, read_quality
from gridspine.testing.rig import Rig
from gridspine.things.adapter import ENTRY_POINT_GROUP, Adapter
from gridspine.things.adapter_package import packages


class Candidate(msgspec.Struct, frozen=True):
    """An adapter to judge: how it and its rig are made, where its files and its tests are (None: not known)."""

    name: str
    package: str
    version: str
    make: Callable[[], Adapter]
    make_rig: Callable[[], Rig] | None
    quality: Quality
    folder: Path
    tests: Path | None


def find(named: str) -> list[Candidate]:
    """Return the installed adapter ``named``, or all of the package in the folder ``named``.

    A folder's adapters run from its source; its tests are then known. Raises `NotFound`, and `Invalid` for what
    cannot be judged.
    """
    if (Path(named) / "pyproject.toml").is_file():
        return _in_folder(Path(named).resolve())
    installed = packages()
    if named not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise NotFound(
            f"no adapter {named!r} is installed, and no folder with a pyproject.toml; installed are: {known}"
        )
    found = installed[named]
    if not found.folder:
        raise Invalid(f"{named}: its package has no {FILE} beside {found.target}")
    return [_candidate(named, found.target, found.distribution, found.version, Path(found.folder), None)]


def _in_folder(root: Path) -> list[Candidate]:
    project = tomllib.loads((root / "pyproject.toml").read_text()).get("project", {})
    points = project.get("entry-points", {}).get(ENTRY_POINT_GROUP, {})
    if not points:
        raise Invalid(f"{root}/pyproject.toml names no entry point of the group {ENTRY_POINT_GROUP}")
    source = root / "src" if (root / "src").is_dir() else root
    if str(source) not in sys.path:
        sys.path.insert(0, str(source))
    package, version = str(project.get("name", "")), str(project.get("version", ""))
    return [
        _candidate(
            name, target, package, version, source.joinpath(*target.partition(":")[0].split(".")), root / "tests"
        )
        for name, target in points.items()
    ]


def _candidate(name: str, target: str, package: str, version: str, folder: Path, tests: Path | None) -> Candidate:
    folder = folder if folder.is_dir() else folder.parent
    module, _, attribute = target.partition(":")
    try:
        make: Any = getattr(importlib.import_module(module), attribute)
        quality = read_quality((folder / FILE).read_text())
    except (ImportError, AttributeError) as error:
        raise Invalid(f"{name}: {target} cannot be loaded: {error}") from error
    except OSError as error:
        raise Invalid(f"{name}: {folder / FILE} cannot be read: {error.strerror}") from error
    return Candidate(name, package, version, make, _rig(module, folder), quality, folder, tests)


def _rig(module: str, folder: Path) -> Callable[[], Rig] | None:
    if not (folder / "rig.py").is_file():
        return None
    name = module if folder.name == module.rpartition(".")[2] else module.rpartition(".")[0]
    made: Callable[[], Rig] = importlib.import_module(f"{name}.rig").rig
    return made
