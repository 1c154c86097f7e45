"""Helpers for tests of real faults, loaded once for all: the warm interpreter they share, and counts of what they did.

The counts are for docs/reliability.md; they are written only when ``GRIDSPINE_TALLY`` names a file.
"""

import importlib.util
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def _load(name: str, file: str) -> None:
    specification = importlib.util.spec_from_file_location(name, Path(__file__).parent / file)
    assert specification is not None
    assert specification.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)


for _name, _file in (
    ("running_node", "../apps/running.py"),
    ("running_streams", "../apps/streams.py"),
    ("killing", "killing.py"),
    ("adapter_node", "../adapters/node.py"),
    ("mqtt_authority", "../adapters/mqtt/authority.py"),
    ("mqtt_device", "../adapters/mqtt/device.py"),
    ("mqtt_brokering", "../adapters/mqtt/brokering.py"),
):
    if _name not in sys.modules:
        _load(_name, _file)


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with sys.modules["killing"].Nursery(tmp_path_factory.mktemp("nursery")) as made:
        yield made


_COUNTS: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))


@pytest.fixture
def tally() -> Callable[[str, str, int], None]:
    """Return a function that counts: ``tally(fault, where, times)``. Call it at a test's end, when all held."""

    def count(fault: str, where: str, times: int) -> None:
        _COUNTS[fault][where] += times

    return count


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write what was counted in this run over what the file says; a run with a failure writes nothing."""
    path = os.environ.get("GRIDSPINE_TALLY")
    if path and exitstatus == 0:
        known = json.loads(Path(path).read_text()) if Path(path).exists() else {}
        for fault, counts in _COUNTS.items():
            known[fault] = known.get(fault, {}) | counts
        Path(path).write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Any]:
    async with sys.modules["running_node"].running(tmp_path / "data") as made:
        yield made
