"""The package an adapter comes in, looked at without running a line of it: version, what it asks for, its fingerprint.

The fingerprint is SHA-256 over the names and hashes of the package's files, as its installer recorded them (``RECORD``,
PyPA "Recording installed projects"), and the files are compared with it. It tells that a package is the one somebody
looked at, not who made it; and it covers the package alone, not what it depends on.
"""

import base64
import hashlib
import json
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, PackagePath, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from gridspine.things.adapter import ENTRY_POINT_GROUP

_LEFT_OUT = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})
"""What an installer writes of its own accord, and otherwise each time."""


class AdapterPackage(msgspec.Struct, frozen=True):
    """An installed adapter: its entry point (``target``), distribution and ``version``, the folder of its module,
    and what its ``quality.toml`` asks for (empty without one). ``editable``: a source tree: nothing is recorded."""

    name: str
    target: str
    distribution: str
    version: str
    folder: str
    asks: dict[str, Any]
    editable: bool


def packages() -> dict[str, AdapterPackage]:
    """Return the packages of the installed adapters by the adapter's name; nothing is imported."""
    return {point.name: _package(point) for point in entry_points(group=ENTRY_POINT_GROUP)}


def fingerprint(name: str) -> tuple[str, list[str]]:
    """Return the fingerprint of the package of adapter ``name``, and which of its files are not what was recorded.

    The fingerprint is "" where nothing is recorded: an adapter that is not installed, or a source tree.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        if point.dist is not None and not _is_editable(point.dist):
            found, changed = _fingerprint(point.dist)
            return found, [*_elsewhere(point), *changed]
    return "", []


def refusal(name: str, pinned: str) -> str:
    """Return why an adapter must not run that is pinned to a fingerprint; "" when it may."""
    brought = [point.dist.name for point in entry_points(group=ENTRY_POINT_GROUP, name=name) if point.dist is not None]
    if len(brought) > 1:
        return (
            f"{name} is pinned, and in more than one package ({' and '.join(sorted(brought))}): uninstall all but one"
        )
    found, changed = fingerprint(name)
    if not found:
        return (
            f"{name} is pinned, and nothing is recorded of its package: it is not installed, or as a source tree only"
        )
    if changed:
        return f"{name} is pinned, and files of its package are not what was installed: {', '.join(changed[:3])}"
    if found != pinned:
        return (
            f"{name} is pinned to {pinned[:20]}…, and its package is {found}: look at what changed, then pin it anew"
            " (gridspine adapter list shows it)"
        )
    return ""


def _package(point: EntryPoint) -> AdapterPackage:
    distribution = point.dist
    assert distribution is not None
    folder = _folder(distribution, point.module)
    return AdapterPackage(
        point.name, point.value, distribution.name, distribution.version, str(folder or ""), _asks(folder),
        _is_editable(distribution),
    )  # fmt: skip


def _folder(distribution: Distribution, module: str) -> Path | None:
    """Return where ``quality.toml`` lies: beside the module, in the installed package or the source tree of one."""
    roots = [Path(str(distribution.locate_file("")))]
    source = _source(distribution)
    if source is not None:
        roots += [source / "src", source]
    parts = module.split(".")
    for root in roots:
        for folder in (root.joinpath(*parts), root.joinpath(*parts[:-1])):
            if (folder / "quality.toml").is_file():
                return folder
    return None


def _asks(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    try:
        asks: Any = tomllib.loads((folder / "quality.toml").read_text()).get("permissions", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    return asks if isinstance(asks, dict) else {}


def _direct(distribution: Distribution) -> dict[str, Any]:
    try:
        said = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _is_editable(distribution: Distribution) -> bool:
    return bool(_direct(distribution).get("dir_info", {}).get("editable"))


def _source(distribution: Distribution) -> Path | None:
    url = urlsplit(str(_direct(distribution).get("url", "")))
    return Path(unquote(url.path)) if url.scheme == "file" and _is_editable(distribution) else None


def _fingerprint(distribution: Distribution) -> tuple[str, list[str]]:
    total, changed = hashlib.sha256(), []
    for path in sorted(_recorded(distribution), key=str):
        assert path.hash is not None
        total.update(f"{path} {path.hash.mode}={path.hash.value}\n".encode())
        if _hash(path) != path.hash.value:
            changed.append(str(path))
    return f"sha256:{total.hexdigest()}", changed


def _elsewhere(point: EntryPoint) -> list[str]:
    """Return the adapter's module where it is none of its own package's, or another would be imported in its place."""
    assert point.dist is not None
    path = point.module.replace(".", "/")
    recorded = {str(one) for one in _recorded(point.dist)}
    if not recorded & {f"{path}.py", f"{path}/__init__.py"}:
        return [f"{path}, which is not in the package"]
    spec = find_spec(point.module.partition(".")[0])  # of a package itself: nothing is imported
    root = Path(str(point.dist.locate_file(""))).resolve()
    if spec is None or spec.origin is None or not Path(spec.origin).resolve().is_relative_to(root):
        return [f"{path}, in whose place another lies on the path"]
    return []


def _recorded(distribution: Distribution) -> Iterator[PackagePath]:
    for path in distribution.files or ():
        if path.hash is not None and path.name not in _LEFT_OUT and path.suffix != ".pyc":
            yield path


def _hash(path: PackagePath) -> str:
    assert path.hash is not None
    try:
        digest = hashlib.new(path.hash.mode, Path(str(path.locate())).read_bytes()).digest()
    except (OSError, ValueError):
        return ""
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
