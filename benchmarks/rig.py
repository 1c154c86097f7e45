"""A real node for the benchmarks: a child process on a data directory of its own, its clients, and what it weighs.

The node is started as anybody starts it (``python -m gridspine.apps.cli up``); only its settings differ: a free port,
and the demo profile, which takes plain bearer tokens on loopback, so that a load generator need not sign each request.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from gridspine.apps.cli.connect import check
from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.cli.signing import SigningAuth
from gridspine.apps.node.paths import Paths
from gridspine.apps.node.topics import TOPICS
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.datadir import DataDirectory
from gridspine.things.directory import MAX_AT_ONCE, Directory, Thing
from gridspine.things.model import ThingModel
from gridspine.things.point import PointTable

HERE = Path(__file__).parent
ORGANISATION, READER = "bench", "reader"
PURPOSE = "measuring"
SETTINGS = 'organisation = "Bench"\ndemo = true\nlog_level = "warning"\n[http]\nport = 0\nrequests_per_s = 0\n'


def thing_id(number: int) -> str:
    """Return the URN of the benchmark's Thing ``number``."""
    return f"urn:dev:ops:32473-meter-{number:06}"


def report(name: str, goal: str, figure: float, unit: str, conditions: str) -> None:
    """Print one figure as a line of JSON."""
    line = {"name": name, "goal": goal, "figure": figure, "unit": unit, "conditions": conditions}
    print(json.dumps(line, ensure_ascii=False), flush=True)


class Rig:
    """A node process on a temporary data directory. ``profile`` names a file for a sampled profile of it."""

    def __init__(self, settings: str = SETTINGS, *, profile: str = "") -> None:
        self.data = Path(tempfile.mkdtemp(prefix="gridspine-bench-"))
        (self.data / "settings.toml").write_text(settings)
        self.url = ""
        self.ready_s = 0.0
        self._profile = profile
        self._process: subprocess.Popen[str] | None = None
        self._operator: httpx.Client | None = None

    @property
    def operator(self) -> httpx.Client:
        """A signing client that may do everything."""
        if self._operator is None:
            auth = SigningAuth(read_client_file(self.data / "clients" / "operator.json"), node=self.url)
            self._operator = httpx.Client(base_url=self.url, auth=auth, timeout=120.0)
        return self._operator

    def start(self, *command: str) -> None:
        """Start the node and wait until it is ready; ``command`` replaces the usual one."""
        runner = [str(HERE / "sampled.py"), self._profile] if self._profile else ["-m", "gridspine.apps.cli"]
        words = [sys.executable, *(command or runner), "up", "--data", str(self.data)]
        began = time.perf_counter()
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.ready_s = time.perf_counter() - began
        if "ready at" not in line:
            raise RuntimeError(f"the node did not start: {line!r}")
        self.url = (self.data / "address").read_text().strip()

    def stop(self) -> None:
        """Stop the node."""
        if self._operator is not None:
            self._operator.close()
            self._operator = None
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def close(self) -> None:
        """Stop the node and remove its data."""
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def processes(self) -> list[psutil.Process]:
        """Return the node's process and its children."""
        assert self._process is not None
        node = psutil.Process(self._process.pid)
        return [node, *node.children(recursive=True)]

    def pss_bytes(self) -> int:
        """Return the proportional set size of all the node's processes [bytes]."""
        return sum(process.memory_full_info().pss for process in self.processes())

    def cpu_s(self) -> float:
        """Return the processor time all the node's processes took so far [s]."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def principal(self, name: str, roles: Sequence[str], organisation: str = ORGANISATION) -> str:
        """Make an application of ``organisation`` and return its bearer token."""
        known = {one["id"] for one in check(self.operator.get("/organisations")).json()}
        if organisation not in known:
            check(self.operator.post("/organisations", json={"id": organisation, "name": organisation.title()}))
        asked = {"kind": "application", "name": name, "roles": list(roles), "organisation": organisation}
        return str(check(self.operator.post("/principals", json=asked)).json()["bearer"])

    def status(self) -> dict[str, Any]:
        """Return the node's status."""
        return dict(check(self.operator.get("/status")).json())

    def publish(self, points: Sequence[str]) -> str:
        """Publish ``points`` as a data product and return its id."""
        contract = {"licence": "CC-BY-4.0", "purposes": [PURPOSE]}
        asked = {"title": "Everything", "points": list(points), "contract": contract}
        return str(check(self.operator.post("/products", json=asked)).json()["id"])

    def share(self, points: Sequence[str]) -> tuple[str, str]:
        """Publish ``points`` and grant them to another organisation; return the product and a consumer's token."""
        consumer = self.principal("subscriber", ["consumer"], READER)
        product = self.publish(points)
        asked = {"product": product, "purpose": PURPOSE, "until": "2100-01-01T00:00:00Z"}
        headers = {"Authorization": f"Bearer {consumer}"}
        grant = check(httpx.post(f"{self.url}/grants", json=asked, headers=headers)).json()["id"]
        check(self.operator.post(f"/grants/{grant}/approve", json={}))
        return product, consumer


def meter(number: int, model: ThingModel) -> Thing:
    """Return the benchmark's Thing ``number``: of no adapter."""
    return Thing(thing_id(number), ORGANISATION, f"Meter {number}", model.id)


def seed(data: Path, model: ThingModel, count: int, make: Callable[[int, ThingModel], Thing] = meter) -> float:
    """Register ``count`` Things in a data directory no node runs on, as the node does; return the time it took [s]."""
    began = time.perf_counter()
    asyncio.run(_seed(data, model, count, make))
    return time.perf_counter() - began


async def _seed(data: Path, model: ThingModel, count: int, make: Callable[[int, ThingModel], Thing]) -> None:
    clock, paths = SystemClock(), Paths(data)
    lock = DataDirectory(data)
    log = SqliteEventLog(paths.log, TOPICS)
    registry = SqlRegistry(sqlite_url(paths.registry), clock, log)
    points = PointTable()
    points.add_model(model)
    directory = Directory(registry, points, clock)
    await directory.load(log)
    for start in range(0, count, MAX_AT_ONCE):
        numbers = range(start, min(start + MAX_AT_ONCE, count))
        await directory.register_all([make(number, model) for number in numbers], actor="benchmark")
    directory.save(log, paths.things)
    registry.close()
    log.close()
    lock.close()


@contextlib.contextmanager
def child(script: str, *arguments: str, secret: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a script beside this one in a process of its own; ``secret`` reaches it by ``BENCH_TOKEN``."""
    environment = os.environ | {"BENCH_TOKEN": secret}
    words = [sys.executable, str(HERE / script), *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
        assert process.stdout is not None and process.stdin is not None
        process.stdin.close()
        process.stdout.close()


def answer(process: subprocess.Popen[str], *, ask: bool = False) -> dict[str, Any]:
    """Return the next line of JSON that a child says; ``ask`` it for one."""
    assert process.stdout is not None and process.stdin is not None
    if ask:
        process.stdin.write("\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args} ended without a word")
    return dict(json.loads(line))
