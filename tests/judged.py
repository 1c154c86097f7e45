"""What judges of other parties found: a run of the tests counts it, by judge, for docs/reference/conformance.md.

A judge is a file ``tests/judges/<name>.toml``: of which protocol and role, where its version is read, what it judges,
and the tests it judges in. ``GRIDSPINE_TALLY`` with the name of a folder has what came of those tests written there,
``<name>.json`` for each; what a run does not run stays as an earlier one found it, while the judge's version is the
same. A test case counts one, unless it says ``record_property("judged", {"passed": 41})`` with any of passed, failed
and skipped, as often as it likes. A skip is not a pass.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
JUDGES = ROOT / "tests" / "judges"
OUTCOMES = ("passed", "failed", "skipped")
_VERSION = re.compile(r"\d+(?:\.\d+)+[\w.+-]*")


def judges(folder=JUDGES):
    """Return the judges by name."""
    return {path.stem: tomllib.loads(path.read_text()) for path in sorted(folder.glob("*.toml"))}


def is_of(entry, node):
    """Return whether a test case is of a file, test or case that a judge names."""
    return node == entry or node.startswith((f"{entry}::", f"{entry}["))


def version_of(source, root=ROOT):
    """Return the version of a judge, read from itself; "" when it is not here.

    ``source`` is ``pypi:NAME``, ``pypi:NAME@FOLDER`` of a virtual environment, ``npm:NAME@FOLDER`` that has
    node_modules, ``command:WORDS`` that say the version, or ``file:PATH`` for what has none: its digest then.
    """
    kind, _, rest = source.partition(":")
    name, _, folder = rest.rpartition("@") if kind == "npm" else (*rest.partition("@"),)
    if kind == "pypi":
        if not folder:
            return _installed(importlib.metadata.distributions(name=name))
        places = [str(path) for path in (root / folder).glob("lib/python3*/site-packages")]
        return _installed(importlib.metadata.distributions(name=name, path=places))
    if kind == "npm":
        file = root / folder / "node_modules" / name / "package.json"
        return json.loads(file.read_text())["version"] if file.is_file() else ""
    if kind == "command":
        words = shlex.split(rest)
        if not shutil.which(words[0]):
            return ""
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        found = _VERSION.search(done.stdout + done.stderr)
        return found[0] if found else ""
    assert kind == "file", f"{source}: no such way to find a version"
    file = root / rest
    return f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:12]}" if file.is_file() else ""


def versions(sources):
    """Return the version of one source, or those of several, each with its name."""
    if isinstance(sources, str):
        return version_of(sources)
    named = [(re.split(r"[:/]", one.partition("@")[0])[-1].removesuffix(".json"), version_of(one)) for one in sources]
    return ", ".join(f"{name} {version or 'is not here'}" for name, version in named)


def _installed(found):
    return next((one.version for one in found), "")


class Tally:
    """Counts one run of the tests, those of its workers too, and writes what came of it to a folder."""

    def __init__(self, folder, table=None):
        self.folder = folder
        self.entries = {}
        """By what a judge names: counts, and the cases that failed already."""
        for judge in (judges() if table is None else table).values():
            for entry in judge["tests"]:
                self.entries.setdefault(entry, [dict.fromkeys(OUTCOMES, 0), set()])
        self.table = judges() if table is None else table

    def pytest_runtest_logreport(self, report):
        for entry, (counts, failed) in self.entries.items():
            if is_of(entry, report.nodeid):
                self._count(report, counts, failed)

    def _count(self, report, counts, failed):
        if report.failed or hasattr(report, "wasxfail"):  # what is known not to hold does not hold
            if report.nodeid in failed:
                return
            failed.add(report.nodeid)
            said = _said(report)
            counts["failed"] += max(1, said["failed"])
            counts["passed"] += said["passed"]
            counts["skipped"] += said["skipped"]
        elif report.skipped:
            counts["skipped"] += 1
        elif report.when == "call":
            said = _said(report)
            for outcome in OUTCOMES:
                counts[outcome] += said[outcome]
            counts["passed"] += not sum(said.values())

    def pytest_sessionfinish(self):
        for name, judge in self.table.items():
            ran = {one: self.entries[one][0] for one in judge["tests"] if sum(self.entries[one][0].values())}
            if ran:
                self._write(self.folder / f"{name}.json", judge, ran)

    def _write(self, path, judge, ran):
        version = versions(judge["version"])
        before = json.loads(path.read_text()) if path.is_file() else {}
        kept = before.get("tests", {}) if before.get("version") == version else {}
        tests = {one: ran.get(one, kept.get(one)) for one in sorted(judge["tests"]) if one in ran or one in kept}
        path.write_text(json.dumps({"version": version, "tests": tests}, indent=1) + "\n")


def _said(report):
    """Return what a test said of itself, summed."""
    given = [dict(value) for name, value in report.user_properties if name == "judged"]
    return {outcome: sum(int(one.get(outcome, 0)) for one in given) for outcome in OUTCOMES}


def tally():
    """Return what counts this run, None when nobody asked for it."""
    named = Path(os.environ.get("GRIDSPINE_TALLY", ""))
    return Tally(named.resolve()) if named.name and named.is_dir() else None
