"""``make mutants``: plant each small fault, run the tests that should notice it, and write the score.

::

    this process: libraries loaded once ── fork ──► a mutant's module instead of the real one, then pytest
                                                     exit 0: it survived · else: killed · too long: killed

Runs on one module or all (``run.py things/lease.py``); the score of each goes to ``docs/data/mutation.json``. With
``--again`` only what survived the last time is tried, where the module is still the same: tests were added since.
"""

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import tomllib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "data" / "mutation.json"
EXCUSED = Path(__file__).with_name("excused.toml")
THINGS, SHARING = "tests/things/test_", "tests/sharing/test_"
TESTS = {
    "sharing/grant.py": [SHARING + name for name in ("edges.py", "grant.py", "gate.py", "access.py")],
    "sharing/gate.py": [SHARING + name for name in ("edges.py", "gate.py", "grant.py", "delivery.py")],
    "things/lease.py": [
        THINGS + name
        for name in ("lease.py", "lease_edges.py", "fleet.py", "command.py", "commander.py", "commander_machine.py")
    ],
    "things/screen.py": [THINGS + name for name in ("screen_edges.py", "screen.py", "held.py", "flap.py", "intake.py")],
}
"""Module → the tests that must notice a fault in it, the closest first."""


class _Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module's import the mutant's source."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self._source = name, source

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, f"<mutant of {self._name}>", "exec"), module.__dict__)


def survives(module: str, source: str, tests: Sequence[str], cpu_s: int) -> bool:
    """Whether the tests pass with ``source`` in the place of ``module``; ``cpu_s`` [s] bounds them."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(_wait(child, cpu_s * 10)) == 0
    code = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        sys.meta_path.insert(0, _Planted(f"gridspine.{module.removesuffix('.py').replace('/', '.')}", source))
        code = _pytest(tests)
    finally:
        os._exit(code)


def _pytest(tests: Sequence[str]) -> int:
    import hypothesis
    import pytest

    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("mutants")
    loaded = "ignore::pytest.PytestAssertRewriteWarning"  # plugins were, before the fork
    return int(pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-W", loaded, *tests]))


def _wait(child: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def measure(module: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Plant every fault of ``module``, or those that survived ``before``; return its score and the survivors."""
    path = ROOT / "src" / "gridspine" / module
    source, tests = path.read_text(), TESTS[module]
    begin = time.monotonic()
    if not survives(module, source, tests, 600):
        raise SystemExit(f"{module}: its tests fail before any fault is planted")
    cpu_s = 20 + int(3 * (time.monotonic() - begin))
    excused = tomllib.loads(EXCUSED.read_text()).get(module, {})
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    if before is not None and before["source"] != digest:
        raise SystemExit(f"{module} has changed since it was measured: run it without --again")
    killed, equivalent, alive = 0 if before is None else before["killed"], 0, []
    for mutant in _mutants(source):
        if (
            before is not None
            and mutant.name not in excused
            and f"{mutant.line}: {mutant.name}" not in before["survivors"]
        ):
            continue
        if mutant.name in excused:
            equivalent += 1
        elif survives(module, mutant.source, tests, cpu_s):
            alive.append(f"{mutant.line}: {mutant.name}")
            print(f"  survived  {module}:{alive[-1]}", flush=True)
        else:
            killed += 1
    score = round(killed / max(killed + len(alive), 1), 4)
    print(f"{module}: {killed} killed, {len(alive)} survived, {equivalent} excused: {score:.1%}", flush=True)
    return {
        "killed": killed, "survived": len(alive), "excused": equivalent, "score": score, "source": digest,
        "survivors": alive,
    }  # fmt: skip


def _mutants(source: str):  # type: ignore[no-untyped-def]
    specification = importlib.util.spec_from_file_location("mutation_mutate", Path(__file__).with_name("mutate.py"))
    assert specification is not None and specification.loader is not None
    sys.modules["mutation_mutate"] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.mutants(source)


def main(modules: Sequence[str]) -> None:
    """Measure ``modules`` (all, when none is named) and keep the scores."""
    os.chdir(ROOT)
    import hypothesis.stateful
    import msgspec
    import numpy
    import pytest
    import structlog  # loaded before the forks: each mutant would load them again

    assert all((hypothesis.stateful, msgspec, numpy, pytest, structlog))
    again = "--again" in modules
    for module in [name for name in modules if name != "--again"] or TESTS:
        known = json.loads(OUT.read_text()) if OUT.exists() else {}
        found = measure(module, known[module] if again else None)
        known = json.loads(OUT.read_text()) if OUT.exists() else {}
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps({**known, module: found}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
