"""What is installed is what was locked: hashes for everything, from one index, under licences we may pass on."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INDEX = "https://pypi.org/simple"
ALLOWED = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|0BSD|Zlib|HPND|CC0|EPL|EDL|Eclipse)\b",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|SSPL|BUSL|Commons Clause)\b", re.IGNORECASE)
STATED = {
    "cedarpy": "Apache-2.0",
}
"""Licences of packages that do not say theirs in a form one can read; looked up by hand."""
BY_CHOICE = {"zeroconf": "LGPL-2.1-or-later"}
"""Packages under the LGPL that only who asks for an extra gets, as a library of their own that can be replaced."""


def locked() -> list[dict[str, Any]]:
    return list(tomllib.loads((ROOT / "uv.lock").read_text())["package"])


def unhashed(packages: list[dict[str, Any]]) -> list[str]:
    """Return what could be swapped under us: a file without a hash, or from elsewhere."""
    bad = []
    for package in packages:
        source = package["source"]
        if "editable" in source or "virtual" in source:
            continue
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        if source.get("registry") != INDEX or not files:
            bad.append(f"{package['name']}: {source}")
        bad += [
            f"{package['name']}: {file.get('url')}"
            for file in files
            if not str(file.get("hash", "")).startswith("sha256:")
        ]
    return bad


def test_every_locked_file_has_a_hash_and_comes_from_the_index() -> None:
    assert len(locked()) > 50
    assert unhashed(locked()) == []


@pytest.mark.parametrize(
    "planted",
    [
        {"name": "a", "source": {"registry": INDEX}, "wheels": [{"url": "u"}]},
        {"name": "a", "source": {"registry": INDEX}, "wheels": [{"url": "u", "hash": "md5:x"}]},
        {"name": "a", "source": {"git": "https://example.org/a"}, "wheels": [{"url": "u", "hash": "sha256:x"}]},
        {"name": "a", "source": {"registry": "https://example.org"}, "wheels": [{"url": "u", "hash": "sha256:x"}]},
        {"name": "a", "source": {"registry": INDEX}},
    ],
)
def test_what_is_planted_is_found(planted: dict[str, Any]) -> None:
    assert unhashed([planted])


def run_time(*, extras: bool = True) -> list[str]:
    """Return the packages that a user (of any extra) gets, by following the lock from the project itself."""
    packages = {package["name"]: package for package in locked()}
    wanted, seen = ["gridspine"], set()
    while wanted:
        name = wanted.pop()
        if name in seen or name not in packages:
            continue
        seen.add(name)
        package = packages[name]
        more = [*package.get("dependencies", ())]
        for extra in package.get("optional-dependencies", {}).values() if extras or name != "gridspine" else ():
            more += extra
        wanted += [one["name"] for one in more]
    return sorted(seen - {"gridspine"})


def licence_of(name: str) -> str:
    metadata = distribution(name).metadata
    classifiers = [value for value in metadata.get_all("Classifier") or () if value.startswith("License ::")]
    text = (metadata.get("License") or "").strip().splitlines()
    return STATED.get(name) or "; ".join([metadata.get("License-Expression") or "", *classifiers, *text[:1]])


def test_every_licence_may_be_passed_on() -> None:
    bad, looked_at = {}, 0
    for name in run_time():
        try:
            said = licence_of(name)
        except PackageNotFoundError:
            continue  # another platform's or another Python's
        looked_at += 1
        if (not ALLOWED.search(said) or FORBIDDEN.search(said)) and BY_CHOICE.get(name) != said:
            bad[name] = said
    assert looked_at > 30
    assert bad == {}


def test_what_is_under_another_licence_comes_by_choice_only() -> None:
    assert {"litestar", "zeroconf"} <= set(run_time())
    assert not BY_CHOICE.keys() & set(run_time(extras=False))


@pytest.mark.parametrize(
    "said", ["GPL-3.0-only", "License :: OSI Approved :: GNU Affero General Public License v3", "BUSL-1.1", ""]
)
def test_a_licence_we_may_not_pass_on_is_found(said: str) -> None:
    assert FORBIDDEN.search(said) or not ALLOWED.search(said)
